"""The environment variables under which tests run: no client finds credentials, or a server, that a test did not give.

Applying them is left to ``conftest.py``: before a client library is imported, because some read them at import.

::

    for name in ambient_variables():
        del os.environ[name]
    os.environ.update(isolated_environment())
"""

from __future__ import annotations

import os
from collections.abc import Iterable

# A port of the loopback interface on which nothing listens, so that a look-up of a metadata address fails at once.
NOWHERE = "127.0.0.1:9"
AMBIENT_PREFIXES = (
    "AWS_",
    "AZURE_",
    "BOTO_",
    "CLOUDSDK_",
    "DATAJOINT_",
    "DJ_",
    "FSSPEC_",
    "GCE_METADATA_",
    "GCSFS_",
    "GOOGLE_",
    "IDENTITY_",
    "MSI_",
    "S3FS_",
)
AMBIENT_NAMES = ("IMDS_ENDPOINT", "STORAGE_EMULATOR_HOST")
_AWS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "us-east-1",
}
_GCS = {
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks for a bucket's kind over gRPC, which no emulator has
    "NO_GCE_CHECK": "true",
    "GCE_METADATA_HOST": NOWHERE,
    "GCE_METADATA_IP": NOWHERE,
    "GCE_METADATA_TIMEOUT": "1",
    "GCE_METADATA_DETECT_RETRIES": "1",
    "CLOUDSDK_CONFIG": "/nonexistent",
}
_AZURE = {
    "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{NOWHERE}",
}
_OTHERS = {
    "FSSPEC_CONFIG_DIR": "/nonexistent",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}


def isolated_environment() -> dict[str, str]:
    """Return the variables to set."""
    return {**_AWS, **_GCS, **_AZURE, **_OTHERS}


def ambient_variables(names: Iterable[str] | None = None) -> list[str]:
    """Return those of the names, by default of this process's environment, that are to be unset first.

    >>> ambient_variables(["AWS_PROFILE", "HOME", "DJ_HOST", "DJF_TEST_MYSQL", "PATH"])
    ['AWS_PROFILE', 'DJ_HOST']
    """
    return [name for name in (list(os.environ) if names is None else names) if _is_ambient(name)]


def _is_ambient(name: str) -> bool:
    return name.startswith(AMBIENT_PREFIXES) or name in AMBIENT_NAMES

"""Engine selection: obstore where it can do what the settings ask for, fsspec everywhere else.

How obstore is told what to do is in `connecting`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import ConfigurationError

_HOME = os.getpid()
"""The process that imported this module. obstore's threads do not survive a fork, and its calls in a child hang."""

_ANYTHING: Mapping[str, Any] = {}

EXPRESSIBLE: dict[str, Mapping[str, Any]] = {
    "s3": {
        "requester_pays": _ANYTHING,
        "max_concurrency": _ANYTHING,
        "client_kwargs": {"verify": _ANYTHING, "region_name": _ANYTHING, "endpoint_url": _ANYTHING},
        "config_kwargs": {
            "connect_timeout": _ANYTHING,
            "retries": {"max_attempts": _ANYTHING, "total_max_attempts": _ANYTHING},
            "s3": {"addressing_style": _ANYTHING, "payload_signing_enabled": _ANYTHING},
        },
        "s3_additional_kwargs": {"ServerSideEncryption": _ANYTHING, "SSEKMSKeyId": _ANYTHING},
    },
    "gcs": {},
    "azure": {},
}
"""Options of fsspec that obstore can express equally, by backend; an empty table stands for a value."""


def is_at_home() -> bool:
    """Tell whether this process may use obstore: it is no child made by a fork of the one that began to."""
    return os.getpid() == _HOME


def engine_of(storage: StorageSettings) -> str:
    """Return the engine for *storage*: ``"obstore"`` or ``"fsspec"``. No I/O.

    Raises
    ------
    ConfigurationError
        If ``engine = "obstore"`` is asked for and cannot do what the settings say; it names what, and what can.
    """
    if storage.engine == "fsspec" or storage.backend not in EXPRESSIBLE:
        return "fsspec"
    hindrance = next(_hindrances(storage), None)
    if hindrance is None:
        return "obstore"
    if storage.engine == "obstore":
        raise ConfigurationError(
            f'{storage.where} engine = "obstore": {hindrance}; allowed: engine = "fsspec" or "auto"'
        )
    return "fsspec"


def _hindrances(storage: StorageSettings) -> Iterator[str]:
    """Give what keeps obstore from doing what *storage* says."""
    if sys.version_info < (3, 11):
        yield "obstore needs Python 3.11 or later"
    if not _is_installed():
        yield "obstore is not installed: `pip install obstore`"
    for option in _unknown(storage.options, EXPRESSIBLE[storage.backend]):
        yield f"only fsspec knows [storage.options] {option}"
    if storage.backend == "gcs" and storage.endpoint_url and storage.engine == "auto":
        yield "obstore speaks Google's XML interface, which other servers at an endpoint_url seldom have"


def _is_installed() -> bool:
    return importlib.util.find_spec("obstore") is not None


def _unknown(options: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if name not in known:
            yield name
        elif known[name]:
            below = _unknown(value, known[name]) if isinstance(value, Mapping) else ["as it is given"]
            yield from (f"{name}.{option}" for option in below)

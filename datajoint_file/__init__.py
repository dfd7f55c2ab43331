"""A managed ``file`` attribute for DataJoint: rows and their files stay together, on disk, S3, GCS or Azure.

Importing this package makes bare ``file`` a type in table definitions.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datajoint_file import startup  # before DataJoint, which speaks while it is imported

if TYPE_CHECKING:
    from datajoint_file import gc
    from datajoint_file.errors import DataJointFileError, OutcomeUnknownError
    from datajoint_file.fileref import FileRef
    from datajoint_file.host.downloads import download, prefetch
    from datajoint_file.host.outcomes import Outcome, resolve
    from datajoint_file.host.pipelines import configure
    from datajoint_file.host.staged import Staged
    from datajoint_file.host.staging import stage
    from datajoint_file.host.verify import verify
    from datajoint_file.metadata import FileMetadata
    from datajoint_file.sources import File
    from datajoint_file.verification import VerifyReport

__version__ = "0.1.0"

__all__ = [
    "DataJointFileError",
    "File",
    "FileMetadata",
    "FileRef",
    "Outcome",
    "OutcomeUnknownError",
    "Staged",
    "VerifyReport",
    "configure",
    "download",
    "gc",
    "prefetch",
    "resolve",
    "stage",
    "verify",
]

_HOMES = {
    "DataJointFileError": "errors",
    "File": "sources",
    "FileMetadata": "metadata",
    "FileRef": "fileref",
    "Outcome": "host.outcomes",
    "OutcomeUnknownError": "errors",
    "Staged": "host.staged",
    "VerifyReport": "verification",
    "configure": "host.pipelines",
    "download": "host.downloads",
    "prefetch": "host.downloads",
    "resolve": "host.outcomes",
    "stage": "host.staging",
    "verify": "host.verify",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use, for its cost alone: most programs never collect or verify anything."""
    if name == "gc":
        return import_module("datajoint_file.gc")
    if name not in _HOMES:
        raise AttributeError(f"module 'datajoint_file' has no attribute {name!r}", name=name)
    value = globals()[name] = getattr(import_module(f"datajoint_file.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not startup.is_command():  # which hooks into DataJoint when it needs it: `datajoint-file --help` does not
    from datajoint_file.host import install

    install()

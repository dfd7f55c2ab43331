"""A managed ``file`` attribute for DataJoint: rows and their files stay together, on disk, S3, GCS or Azure.

Importing this package makes bare ``file`` a type in table definitions.
"""

from datajoint_file import startup  # noqa: F401 - before DataJoint, which speaks while it is imported

# isort: split
from datajoint_file import gc
from datajoint_file.errors import DataJointFileError, OutcomeUnknownError
from datajoint_file.fileref import FileRef
from datajoint_file.host import Outcome, Staged, configure, install, resolve, stage
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
    "gc",
    "resolve",
    "stage",
    "verify",
]

install()

"""Every exception of the package that a user meets, and how errors and warnings are worded and shown.

It holds no policy: the module that meets a problem decides which error it is.

::

    DataJointFileError (DataJointError)
    ├── ConfigurationError (ValueError)           datajoint.toml or an environment variable is wrong
    │   ├── ConfigurationNotFoundError (FileNotFoundError)   there is no datajoint.toml
    │   └── UnknownProjectError (LookupError)     a row belongs to a project this configuration does not name
    │       └── UnknownRootError                   a link lies below no root that this configuration names
    ├── HostVersionError (RuntimeError)           DataJoint's internals are not the ones we know
    ├── DeclarationError (ValueError)             a `file` attribute that cannot be declared
    ├── InvalidKeyError (ValueError)              a primary key that cannot name an object
    ├── UnsupportedValueError (TypeError)         a value that is not a file
    ├── UnsafeNameError (ValueError)              a file name that no backend could hold
    ├── RuleError (ValueError)                    a rule for paths that cannot be used
    ├── PathMismatchError (ValueError)            a path does not give the values that a rule asks for
    ├── QueryError (ValueError)                   what is asked about files has no answer, or no such form
    ├── IndexingError (RuntimeError)              an index on files cannot be made or dropped
    ├── ExchangeError (ValueError)                rows that cannot be exported, or an export that cannot be used
    ├── SourceError (OSError)                     what the user gave cannot be read
    │   ├── SourceNotFoundError (FileNotFoundError)
    │   ├── SourceAccessError (PermissionError)
    │   ├── SourceIsDirectoryError (IsADirectoryError)
    │   ├── SourceNotRegularError                 FIFO, socket, device
    │   └── SourceChangedError                    changed while it was being read
    ├── MetadataError (ValueError)                the row's JSON cannot be trusted or understood
    │   └── UnsafePathError                       its path leaves the project
    ├── StorageError (OSError)                    a backend could not do its work; `.key` names the object
    │   ├── ObjectNotFoundError (FileNotFoundError)
    │   ├── ObjectExistsError (FileExistsError)
    │   ├── BucketNotFoundError (FileNotFoundError)
    │   ├── StorageAccessError (PermissionError)
    │   ├── StorageUnavailableError (ConnectionError)
    │   │   └── StorageMissingError                the directory of the project is not there
    │   ├── UploadCorruptedError                  the store got other bytes than were sent
    │   ├── ReadOnlyStorageError (PermissionError)
    │   └── SigningError (NotImplementedError)    this store, or these credentials, make no links
    ├── MemberNotFoundError (FileNotFoundError)   a stored directory has no file of this path
    ├── VerificationError (ValueError)            bytes are not the bytes of the row
    │   ├── SizeMismatchError
    │   ├── HashMismatchError
    │   └── FileChangedError                      a linked file has other bytes than when it was linked
    ├── FormatError (ValueError)                  a format cannot bring an object back as it is, or load a file
    │   └── UnsafeContentError                    loading it would run code, read other files, or fill the memory
    ├── MissingLibraryError (ImportError)         the library of a format is not installed
    ├── DestinationError (OSError)                a download cannot be written
    │   ├── DestinationExistsError (FileExistsError)
    │   └── CacheError                            the local cache cannot be written, or its disk is full
    ├── QuotaExceededError (OSError)              more would be stored than [quota] allows
    ├── LeaseLostError (TimeoutError)             an upload was given up, or taken over, before its row was inserted
    ├── RowVanishedError (LookupError)            the row to update is not there any more
    ├── RowChangedError (RuntimeError)            somebody else has changed the row to update
    ├── StatementTooLargeError (ValueError)       the database takes no statement of this size
    ├── OutcomeUnknownError (LostConnectionError) nobody can say yet whether a commit happened
    ├── JobError (RuntimeError)                   what a job has made cannot be taken, or it has failed
    │   ├── OutputMissingError (FileNotFoundError)   a file or directory that was named was not made
    │   ├── NothingMatchesError (LookupError)     a pattern matches nothing that was made
    │   ├── OutputConflictError (FileExistsError)    two files under one name
    │   ├── ProgramError (ChildProcessError)      a program or notebook of the job has failed
    │   └── ScratchError (OSError)                there is no scratch directory to be had, or its disk is full
    ├── AlreadyWatchedError (BlockingIOError)     somebody watches the directory for this attribute
    ├── DrillError (RuntimeError)                 a backup cannot be tried: a program or a right is missing
    │   └── DrillRefusedError                      the server or store that was given is the real one, or is in use
    ├── WorkerError (RuntimeError)                an executor lost a worker, or takes no work
    └── CollectionRefusedError (RuntimeError)     the collector cannot prove what is unused

Each leaf is also the builtin a caller would expect, and each survives a pickle (``populate(processes=2)`` sends
errors between processes).
"""

from __future__ import annotations

import functools
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from datajoint.errors import DataJointError as DataJointError
from datajoint.errors import LostConnectionError

from datajoint_file.startup import escaped

_Error = TypeVar("_Error", bound="DataJointFileError")
_P = ParamSpec("_P")
_Result = TypeVar("_Result")


def brief(value: object, length: int = 80) -> str:
    """Show *value*, which may be anything and of any size, on one short line of a message.

    Examples
    --------
    >>> brief({"size": -1}), brief("x" * 1000)[-10:]
    ("{'size': -1}", 'xxxxxxx...')
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - nested too deeply, too many digits, a broken __repr__: the message matters more
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= length else f"{text[: length - 3]}..."


def printable(text: str) -> str:
    r"""Return *text*, escaped if it holds characters that break a line of a log or hide what it says.

    Examples
    --------
    >>> printable("a.dat"), printable("a.dat\nERROR")
    ('a.dat', "'a.dat\\nERROR'")
    """
    return text if text.isprintable() else ascii(text)


def reason_of(error: OSError | ValueError) -> str:
    """Return why a path could not be used, without the path that the operating system puts behind it."""
    if isinstance(error, UnicodeEncodeError):
        return (
            f"file names are {error.encoding} here, which lacks some of its characters; set PYTHONUTF8=1, or a UTF-8 "
            "locale such as LC_ALL=C.UTF-8"
        )
    return str(getattr(error, "strerror", None) or error)


def driver_message(error: Exception) -> str:
    """Return what a database's driver says, on one line; some put a number before it."""
    return " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__


def server_message(error: Exception) -> str:
    """Return the same where DataJoint may have put an error of its own, which says less, in place of the driver's."""
    return driver_message(error.__cause__ if isinstance(error.__cause__, Exception) else error)


_CONTEXT: Any = BaseException.__dict__["__context__"]


class _Told(BaseException):
    """What is said on terminals and in logs, whatever names of a database are in it."""

    def __str__(self) -> str:
        return escaped(super().__str__())


class DataJointFileError(_Told, DataJointError):
    """Base of every error this package raises."""

    def within(self: _Error, context: str) -> _Error:
        """Return the same error with *context* in front of its message.

        The layer that met the problem knows the object; the layer above knows the table, attribute and key.

        Examples
        --------
        >>> str(UnsafeNameError("'..' is not a file name").within("lab.Recording.raw_data"))
        "lab.Recording.raw_data: '..' is not a file name"
        """
        located = type(self)(f"{context}: {self}")
        located.__dict__.update(self.__dict__)
        return located

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew from its arguments: where Dask pickles errors, it cannot tell which builtin has to make it."""
        return type(self), self.args, self.__dict__

    @property
    def __context__(self) -> BaseException | None:
        """What was being handled, unless ``from`` says what to show instead.

        Tracebacks leave out what is not to be shown, but Dask has it pickled; it may be a client's error that shows
        a credential.
        """
        context: BaseException | None = _CONTEXT.__get__(self)
        return None if self.__suppress_context__ else context

    @__context__.setter
    def __context__(self, context: BaseException | None) -> None:
        _CONTEXT.__set__(self, context)


class ConfigurationError(DataJointFileError, ValueError):
    """A value of ``datajoint.toml`` or of an overriding environment variable is missing or wrong."""


class ConfigurationNotFoundError(ConfigurationError, FileNotFoundError):
    """No ``datajoint.toml`` was found where one is needed."""


class UnknownProjectError(ConfigurationError, LookupError):
    """A row belongs to a project that the configuration does not say how to read."""


class UnknownRootError(UnknownProjectError):
    """A file stays where it is, and that lies below no root that the configuration names."""


class HostVersionError(DataJointFileError, RuntimeError):
    """The installed DataJoint differs from the versions this package knows how to extend."""


class DeclarationError(DataJointFileError, ValueError):
    """A ``file`` attribute is declared in a way that cannot work. Raised before any DDL."""


class InvalidKeyError(DataJointFileError, ValueError):
    """A primary-key value is missing or malformed, so that no object can be named after it."""


class UnsupportedValueError(DataJointFileError, TypeError):
    """A value given for a ``file`` attribute is none of the kinds that are accepted."""


class UnsafeNameError(DataJointFileError, ValueError):
    """A file name that no backend could hold, or that would leave its directory."""


class RuleError(DataJointFileError, ValueError):
    """A rule for paths is malformed, names no attribute of the table, or leaves one of its key out."""


class PathMismatchError(DataJointFileError, ValueError):
    """A path does not give the values that a rule asks for, gives them in several ways, or is not the only one to."""


class QueryError(DataJointFileError, ValueError):
    """What is asked about files cannot be asked of this query, or is written in a form that does not exist."""


class IndexingError(DataJointFileError, RuntimeError):
    """An index on files cannot be made or dropped: by this user, on this server, or as long as others use the table."""


class ExchangeError(DataJointFileError, ValueError):
    """Rows cannot be exported as they are, or an export is damaged, malformed, or in conflict with what is there."""


class SourceError(DataJointFileError, OSError):
    """The file or stream that was to be stored cannot be read."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """The path to be stored does not exist."""


class SourceAccessError(SourceError, PermissionError):
    """The path to be stored may not be read by this user."""


class SourceIsDirectoryError(SourceError, IsADirectoryError):
    """The path to be stored is a directory."""


class SourceNotRegularError(SourceError):
    """The path to be stored is a FIFO, a socket or a device."""


class SourceChangedError(SourceError):
    """The source changed while it was being read, or since a job has made it, as its size, times or inode tell.

    Nothing was stored.

    What a program stores through a mapping of the file (``mmap``) can go unnoticed.
    """


class MetadataError(DataJointFileError, ValueError):
    """The JSON of a row is not metadata this version can use."""


class UnsafePathError(MetadataError):
    """The path in a row is not an object key inside a project."""


class StorageError(DataJointFileError, OSError):
    """A storage backend failed; ``key`` is the object key concerned, if there is one."""

    key: str = ""

    def of(self: StorageErrorT, key: str) -> StorageErrorT:
        """Return this error, now naming the object key it is about."""
        self.key = key
        return self


StorageErrorT = TypeVar("StorageErrorT", bound=StorageError)


class ObjectNotFoundError(StorageError, FileNotFoundError):
    """The object is not in the store."""


class MemberNotFoundError(DataJointFileError, FileNotFoundError):
    """A stored directory has no file or directory of this path, as its manifest says."""


class ObjectExistsError(StorageError, FileExistsError):
    """There is an object under this key already; it was left untouched."""


class BucketNotFoundError(StorageError, FileNotFoundError):
    """The bucket or container does not exist."""


class StorageAccessError(StorageError, PermissionError):
    """The store refused the credentials or the operation."""


class StorageUnavailableError(StorageError, ConnectionError):
    """The store cannot be reached: network, endpoint, unmounted disk."""


class StorageMissingError(StorageUnavailableError):
    """The project's directory does not exist: more often its disk is not mounted than that the project is new."""

    advice = ""
    """What to do for a new project."""

    def for_new(self) -> StorageMissingError:
        """Return the error for a project of which nobody knows that it has been there."""
        return type(self)(f"{self} For a new project {self.advice}")


class UploadCorruptedError(StorageError):
    """Bytes were changed on their way to the store, and sending them again did not help. No row was inserted."""


class ReadOnlyStorageError(StorageError, PermissionError):
    """A write was asked of a store that is configured for reading only."""


class SigningError(StorageError, NotImplementedError):
    """The store makes no links, or the credentials cannot sign any."""


class VerificationError(DataJointFileError, ValueError):
    """Bytes in the store are not those that the row describes."""


class SizeMismatchError(VerificationError):
    """The number of bytes differs from the one recorded."""


class HashMismatchError(VerificationError):
    """The hash of the bytes differs from the one recorded."""

    found = ""
    """The hash that they have, if all were read."""


class FileChangedError(VerificationError):
    """A linked file, which stays where it is, was changed since it was linked. None of its bytes was handed out."""


class FormatError(DataJointFileError, ValueError):
    """An object would not come back from this format as it is; or a stored file is not what its format says."""


class UnsafeContentError(FormatError):
    """Loading the file would run code, read files that it is not, or fill the memory. Nothing of it was loaded."""


class MissingLibraryError(DataJointFileError, ImportError):
    """A format needs a library that is not installed; the message has the line of pip."""


class DestinationError(DataJointFileError, OSError):
    """A download cannot be written where it was asked for."""


class DestinationExistsError(DestinationError, FileExistsError):
    """A different file is already at the destination; it was left untouched."""


class CacheError(DestinationError):
    """The local cache cannot be written to, is not this user's alone, has other things in it, or its disk is full."""


class QuotaExceededError(DataJointFileError, OSError):
    """A quota of ``datajoint.toml`` leaves no room for what was to be stored. No row was written."""


class LeaseLostError(DataJointFileError, TimeoutError):
    """An uploaded file was given up, taken over, or lost its journal, before its row was inserted. No row was."""


class RowVanishedError(DataJointFileError, LookupError):
    """The row to update was deleted by somebody else meanwhile; nothing was changed."""


class RowChangedError(DataJointFileError, RuntimeError):
    """The row to update was changed by somebody else meanwhile; it was left as it is."""


class StatementTooLargeError(DataJointFileError, ValueError):
    """The database takes no statement of this size, and has hung up; no row was inserted."""


class OutcomeUnknownError(DataJointFileError, LostConnectionError):
    """The connection was lost during a commit, and whether it happened cannot be told yet. No object was deleted.

    ``datajoint_file.resolve(error)`` asks later: by ``writes``, the files whose rows are concerned, whether it was
    committed or rolled back; by ``removals``, what it would have left in histories, only whether it was committed. If
    there are neither, nobody can be asked: look whether the rows are there. ``reason`` says why it was not known when
    it was last asked.
    """

    writes: Sequence[Any] = ()
    removals: Sequence[tuple[str, str]] = ()
    reason = ""

    @property
    def write_ids(self) -> tuple[str, ...]:
        """The ids of the files concerned: the last 26 characters of the directories that their objects are in."""
        return tuple(write.write_id for write in self.writes)


class JobError(DataJointFileError, RuntimeError):
    """What a job has made cannot be taken as outputs, or the job has failed. Nothing was stored."""


class OutputMissingError(JobError, FileNotFoundError):
    """A file or directory that was named as an output was not made."""


class NothingMatchesError(JobError, LookupError):
    """A pattern of outputs matches nothing that was made."""


class OutputConflictError(JobError, FileExistsError):
    """Two files of a job would have one name: two outputs, or an output and an input."""


class ProgramError(JobError, ChildProcessError):
    """A program or notebook that a job has run ended with an error; ``returncode`` is what a program ended with."""

    returncode: int | None = None


class ScratchError(JobError, OSError):
    """A job has no scratch directory to work in: there is none to be had, or its disk is full."""


class AlreadyWatchedError(DataJointFileError, BlockingIOError):
    """Another process, or another thread of this one, watches the directory for the same attribute."""


class DrillError(DataJointFileError, RuntimeError):
    """A backup cannot be tried here: a program, a right or a server is missing. Nothing is known of the backup."""


class DrillRefusedError(DrillError):
    """What was given to try a backup with is the real server or store, or holds something already. It is untouched."""


class WorkerError(DataJointFileError, RuntimeError):
    """The executor that was given as ``executor=`` lost a worker, was shut down, or could not take the work."""


class CollectionRefusedError(DataJointFileError, RuntimeError):
    """The collector cannot prove what is unused, and has deleted no object."""


def brief_traceback(function: Callable[_P, _Result]) -> Callable[_P, _Result]:
    """Return *function*, whose users are shown where they went wrong, not where in this package that was noticed.

    Of what `MISTAKES` pass on their way out, the frames of this package are marked as IPython and pytest want it
    (``__tracebackhide__``); both can show them all the same (``%skip_hidden``, ``--full-trace``). Other errors are
    faults of ours: their tracebacks are left whole.
    """

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except MISTAKES as error:
            hide_frames(error)
            raise

    return called


MISTAKES = (DataJointError, KeyError, TypeError, ValueError)
"""What DataJoint and this package raise for what a user does."""


def hide_frames(error: BaseException) -> None:
    """Mark the frames of this package, and of context managers between them, in the traceback of *error*."""
    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            if _package_of(frame) in ("datajoint_file", "contextlib"):
                frame.f_locals["__tracebackhide__"] = True  # kept: a frame does not forget what is no local of its code
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


class PartitionWarning(_Told, UserWarning):
    """The partition pattern names an attribute that no table has in its primary key."""


class JournalWarning(_Told, UserWarning):
    """Uploads, history, checks or marks are not noted down, and work goes on: what is lost, the message says."""


class MirrorWarning(_Told, UserWarning):
    """A store did not give what it should, or take it, and its mirror, or the store alone, has had to do."""


class SourceWarning(_Told, UserWarning):
    """Not all of a stream is stored: it does not stand at its start."""


class UndeclaredInputWarning(_Told, UserWarning):
    """A ``make`` reads a file of a table that is not upstream of its own."""


class EmptyDirectoryWarning(_Told, UserWarning):
    """The block of `create` has written no file: what there is to insert is an empty directory."""


_NOT_THE_CALLER = ("datajoint_file", "datajoint", "contextlib")


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the line that called this package, or DataJoint, however deep in them this is."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _package_of(frame) in _NOT_THE_CALLER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]

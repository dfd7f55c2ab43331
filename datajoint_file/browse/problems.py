"""Wording and HTTP status of errors on a page: one message, and never a traceback."""

from __future__ import annotations

from datajoint.errors import AccessError, DataJointError, LostConnectionError

from datajoint_file.errors import DataJointFileError, StorageError, VerificationError, driver_message

_DRIVERS = ("pymysql", "psycopg2")
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (AccessError, 403),
    (StorageError, 502),
    (VerificationError, 502),
    (LostConnectionError, 503),
    (TimeoutError, 503),
    (LookupError, 404),
    (FileNotFoundError, 404),
    (ValueError, 400),
    (TypeError, 400),
    (DataJointError, 400),  # as the database does: what was asked for is in the address of the page
)


def told(error: Exception) -> str:
    """Return what is said of an error. One that nobody has foreseen is only named: its message may hold anything."""
    if isinstance(error, DataJointFileError) or type(error) in (LookupError, ValueError, TimeoutError):
        return str(error)
    if isinstance(error, DataJointError):
        return str(error.args[0]) if error.args else type(error).__name__
    if is_of_driver(error):
        return f"the database did not answer this: {driver_message(error)}"
    return f"an error of this program: {type(error).__name__}"


def status_of(error: Exception) -> int:
    """Return the status of the answer that says so."""
    if is_of_driver(error):
        return 400
    if type(error) is TypeError or type(error) is KeyError:
        return 500
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def is_of_driver(error: Exception) -> bool:
    """Tell whether a database's driver has raised it."""
    return type(error).__module__.partition(".")[0] in _DRIVERS

"""Errors and panics of obstore that say that it cannot do what the settings ask for, whatever the object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datajoint_file.errors import ConfigurationError
from datajoint_file.storage.remote.client_errors import scrubbed


class Unsuited(ConfigurationError):
    """obstore cannot be used for this store. Of an upload there is no object."""

    taken = b""  # what was read of its source, if that was no more than can be given to another engine


def is_panic(error: BaseException) -> bool:
    """Tell whether code in Rust has given up: what Python sees of that is no `Exception` from waiting calls."""
    return type(error).__module__.startswith("pyo3")


def is_inexpressible(error: BaseException) -> bool:
    """Tell whether obstore, while its store is made, refuses an option or a value."""
    return isinstance(error, TypeError | ValueError) or type(error).__module__.startswith(("pyo3", "obstore"))


@contextmanager
def suited(is_meant: Callable[[BaseException], bool]) -> Iterator[None]:
    """Turn the errors that are meant into `Unsuited`."""
    try:
        yield
    except BaseException as error:
        if not is_meant(error):
            raise
        raise unsuited(scrubbed(error)) from None


def unsuited(why: str) -> Unsuited:
    """Return the error that says why obstore cannot be used."""
    return Unsuited(f'engine = "obstore": {why}; allowed: engine = "fsspec" or "auto"')

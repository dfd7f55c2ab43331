"""Side data of DataJoint's objects, kept beside them: the object itself is left as it is.

What is kept goes when its owner goes. Owners need neither be hashable nor know of it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")


class Attached(Generic[_Value]):
    """One thing for each owner, made when it is first asked for.

    Parameters
    ----------
    make : callable
        Makes the thing for an owner.
    """

    def __init__(self, make: Callable[[Any], _Value]) -> None:
        self._make = make
        self._values: dict[int, tuple[weakref.ref[Any], _Value]] = {}
        self._lock = threading.RLock()

    def of(self, owner: Any) -> _Value:
        """Return what belongs to *owner*."""
        known = self.known(owner)
        if known is not None:
            return known
        with self._lock:
            value = self.known(owner)
            return self.keep(owner, self._make(owner)) if value is None else value

    def keep(self, owner: Any, value: _Value) -> _Value:
        """Let *value* belong to *owner*, and return it."""
        with self._lock:
            self._values[id(owner)] = (weakref.ref(owner, self._forgetter(id(owner))), value)
            return value

    def known(self, owner: Any) -> _Value | None:
        """Return what belongs to *owner*, if it has been made."""
        reference, value = self._values.get(id(owner), (None, None))
        return value if reference is not None and reference() is owner else None

    def _forgetter(self, identity: int) -> Callable[[weakref.ref[Any]], None]:
        def forget(reference: weakref.ref[Any]) -> None:
            if self._values.get(identity, (None,))[0] is reference:
                del self._values[identity]

        return forget

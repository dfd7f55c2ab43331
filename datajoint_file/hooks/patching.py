"""Monkey-patching of DataJoint: a function replaced by a wrapper that receives the original, and put back.

It knows no hook in particular; the list of them is in `datajoint_file.hooks.installation`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from datajoint_file.errors import MISTAKES, HostVersionError, hide_frames

_ORIGINAL = "_datajoint_file_original"


@dataclass(frozen=True, slots=True)
class Hook:
    """One function of DataJoint and what is wrapped around it.

    That is loaded at the first call, for its cost: programs that only read need nothing of what an insert needs.
    """

    owner: Any  # a class or module
    name: str
    parameters: tuple[str, ...]  # that the function must have
    wrapper: str  # ``module:function``; takes the original function and then its arguments
    beginnings: tuple[str, ...] = ("",)  # of the text that is its first argument, where only such concerns the wrapper

    def check(self, version: str) -> None:
        """Raise `HostVersionError` unless the function is there and has the parameters it is known to have."""
        function = getattr(self.owner, self.name, None)
        found = tuple(inspect.signature(inspect.unwrap(function)).parameters) if callable(function) else None
        if found != self.parameters:
            raise HostVersionError(
                f"datajoint_file cannot extend DataJoint {version}: {self.owner.__name__}.{self.name} "
                f"{'is missing' if found is None else f'has the parameters {found}'}, expected {self.parameters}. "
                "Upgrade datajoint-file, or install the DataJoint it asks for"
            )

    def apply(self) -> None:
        """Put the wrapper in the function's place, once."""
        original = getattr(self.owner, self.name)
        if hasattr(original, _ORIGINAL):
            return

        is_for_some, first = self.beginnings != ("",), "".join(self.parameters[1:2])

        @functools.wraps(original)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            if is_for_some:
                text = args[1] if len(args) > 1 else kwargs.get(first)
                if not (isinstance(text, str) and text.startswith(self.beginnings)):
                    return original(*args, **kwargs)
            try:
                return loaded(self.wrapper)(original, *args, **kwargs)  # no frame of its own: warnings count them
            except MISTAKES as error:
                hide_frames(error)
                raise

        setattr(hooked, _ORIGINAL, original)
        setattr(self.owner, self.name, hooked)

    def revert(self) -> None:
        """Put the original back."""
        original = getattr(getattr(self.owner, self.name), _ORIGINAL, None)
        if original is not None:
            setattr(self.owner, self.name, original)


@functools.cache
def loaded(wrapper: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names."""
    module, name = wrapper.split(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def original_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return DataJoint's own function, of one that may be hooked."""
    original: Callable[..., Any] = getattr(function, _ORIGINAL, function)
    return original

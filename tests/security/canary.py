"""Searching for secrets in everything that this package says, keeps, sends and stores.

It only looks; what is done meanwhile, and which secrets there are, is the business of `test_secrets`.
"""

from __future__ import annotations

import base64
import io
import logging
import marshal
import pickle
import pprint
import sys
import traceback
import types
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from tests.pickles import PicklerWithCauses

_PACKAGE = "datajoint_file"


class Evidence:
    """Everything that was said or kept, with where it was found.

    Parameters
    ----------
    secrets : iterable of str
        What must be nowhere, neither as it is nor encoded.
    identifiers : iterable of str
        Those that only name a key. Clients of stores log them at DEBUG, with the signature of each request.
    """

    def __init__(self, secrets: Iterable[str], identifiers: Iterable[str] = ()) -> None:
        self.secrets = list(secrets)
        self.identifiers = set(identifiers)
        self.found: list[str] = []
        self.count = 0

    def add(self, where: str, content: object, *, is_foreign: bool = False) -> None:
        """Look at a text or at bytes, whether ours or of a library that we only use."""
        data = content if isinstance(content, bytes) else str(content).encode("utf-8", "replace")
        self.count += 1
        for secret in self.secrets:
            if is_foreign and secret in self.identifiers:
                continue
            for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")):
                at = data.find(form.encode())
                if at >= 0:
                    self.found.append(f"{where}: …{data[max(0, at - 60) : at]!r} and then the secret")

    def add_value(self, where: str, value: Any) -> None:
        """Look at how a value shows itself, at what it is made of, and at what a pickle of it holds."""
        for say in (repr, str, "{}".format, "%r".__mod__, pprint.pformat, vars_of):
            try:
                self.add(f"{where}, {getattr(say, '__name__', say)}", say((value,) if say == "%r".__mod__ else value))
            except TypeError:  # something that cannot be shown so shows nothing
                continue
        for html in ("_repr_html_", "_repr_mimebundle_", "_repr_pretty_"):
            if html == "_repr_html_" and hasattr(type(value), html):
                self.add(f"{where}, {html}", value._repr_html_())
        self.add(f"{where}, pickle", dumped(value))

    def add_error(self, where: str, error: BaseException) -> None:
        """Look at an error, at the text of its traceback, and at all that the traceback shows as its cause."""
        self.add(f"{where}, traceback", "".join(traceback.format_exception(error)))
        shown: BaseException | None = error
        while shown is not None:
            self.add_value(f"{where}, {type(shown).__name__}", shown)
            self.add(f"{where}, arguments", repr(shown.args) + repr(vars(shown)))
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)

    def add_everything_of_the_package(self) -> None:
        """Look at all that modules of the package keep, and at whatever can be reached from there."""
        modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == _PACKAGE]
        for module in modules:
            for name, value in list(vars(module).items()):
                if not name.startswith("__"):
                    self.add_reachable(f"{module.__name__}.{name}", value)

    def add_reachable(self, where: str, root: Any) -> None:
        """Look at *root* and at every object of this package that it leads to."""
        for value in reachable(root):
            self.add_value(f"{where}, {type(value).__name__}", value)

    def check(self) -> None:
        """Raise if a secret has been found; also if there was nothing to look at."""
        assert self.count, "nothing was looked at: the search is broken"
        assert not self.found, "\n".join(sorted(set(self.found))[:20])


def vars_of(value: Any) -> str:
    """Return what a value is made of, a level down."""
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ()) if hasattr(value, name)]
    return repr(vars(value) if hasattr(value, "__dict__") else {name: getattr(value, name) for name in slots})


def reachable(root: Any) -> Iterator[Any]:
    """Give *root* and what it leads to: through containers of all kinds, and objects of this package only."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, str | bytes | int | float | type | types.ModuleType | type(None)):
            continue
        seen.add(id(value))
        if isinstance(value, weakref.ref):
            waiting.append(value())
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += value
        elif type(value).__module__.split(".")[0] == _PACKAGE:
            yield value
            waiting += _parts(value)


def _parts(value: Any) -> list[Any]:
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    return [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)]


class _EagerPickler(pickle.Pickler):
    """Pickles what ordinary pickles refuse, as cloudpickle does: local functions with what they have closed over."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType) and "<locals>" in value.__qualname__:
            closed = tuple(cell.cell_contents for cell in value.__closure__ or ())
            return str, (marshal.dumps(value.__code__).hex(), closed, value.__defaults__)
        if isinstance(value, types.MappingProxyType):
            return dict, (dict(value),)
        if isinstance(value, types.ModuleType | weakref.ref) or type(value).__name__ in ("lock", "RLock", "Thread"):
            return str, ("",)
        return NotImplemented


def dumped(value: Any) -> bytes:
    """Return the pickles of *value*, those of them that can be made."""
    pickles = b""
    for pickler in (pickle.Pickler, _EagerPickler, PicklerWithCauses):
        buffer = io.BytesIO()
        try:
            pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
        except Exception:  # what cannot be pickled gives nothing away
            continue
        pickles += buffer.getvalue()
    return pickles


@contextmanager
def listening(evidence: Evidence) -> Iterator[None]:
    """Look at every record of every logger, and at every warning, while the block runs."""
    names = [None, *logging.root.manager.loggerDict]
    before = {name: logging.getLogger(name).level for name in names}
    handler = _Looking(evidence)
    logging.root.addHandler(handler)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            evidence.add("warning", str(warning.message))
    finally:
        logging.root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert handler.loggers & {"datajoint_file.storage"}, "the loggers have not been listened to"


class _Looking(logging.Handler):
    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.DEBUG)
        self.evidence = evidence
        self.loggers: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.loggers.add(record.name)
        text = logging.Formatter().format(record) + repr(record.args)
        is_foreign = record.name.split(".")[0] not in (_PACKAGE, "datajoint")
        self.evidence.add(f"log of {record.name}", text, is_foreign=is_foreign)

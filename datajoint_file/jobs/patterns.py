"""Path patterns of a job's outputs, as pathlib's globs: which files they choose, and which of them have chosen none.

Text only; what there is in a directory is found by `outputs`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datajoint_file.errors import UnsupportedValueError, brief

_MAGIC = re.compile(r"[*?[]")
_SPECIAL = re.compile(r"[\\\[\]^&~|]")
"""Means something in a set of characters of `re`, and nothing in one of a glob."""

_FORMS = "give paths within the working directory, such as 'df.csv', 'plots/*.png', 'results/' or '!**/*.tmp'"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern: the path of a file, of a directory (all that is in it), or a glob."""

    text: str
    expression: str
    title: str | None = None

    @classmethod
    def read(cls, text: str, title: str | None = None) -> Pattern:
        """Return the pattern that *text* is.

        Raises
        ------
        UnsupportedValueError
            If it is none, or leads out of the directory.
        """
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if not text or text.startswith("/") or ".." in parts or "\0" in text:
            raise UnsupportedValueError(f"put = {brief(text)} is no pattern of outputs: {_FORMS}")
        if not parts:
            return cls(text, ".+", title)
        within = "/.*" if text.endswith(("/", "/.")) else "(?:/.*)?"
        expression = "".join(_expressions(parts))
        try:
            re.compile(expression)
        except re.error as error:  # [z-a]
            raise UnsupportedValueError(f"put = {brief(text)} is no pattern of outputs: {error}") from error
        return cls(text, f"{expression}{within}", title)

    @property
    def is_glob(self) -> bool:
        """Whether it can match any number of names."""
        return _MAGIC.search(self.text) is not None

    def has(self, path: str) -> bool:
        """Tell whether it chooses a path: that of a directory ends in a slash."""
        return _matches(re.compile(self.expression, re.DOTALL), path)


@dataclass(frozen=True, slots=True)
class Patterns:
    """What of a directory is wanted, and what not: the latter wins. It is a `transfer.directories.Choice`.

    Examples
    --------
    >>> chosen = Patterns.read(["df.csv", "plots/**/*.png", "results/", "!results/tmp/"])
    >>> [chosen.has(path) for path in ("df.csv", "plots/a.png", "plots/old/b.png", "results/tmp/x", "a/df.csv")]
    [True, True, True, False, False]
    """

    wanted: tuple[Pattern, ...]
    unwanted: tuple[Pattern, ...]
    _wanted: re.Pattern[str] = field(repr=False)
    _unwanted: re.Pattern[str] = field(repr=False)

    @classmethod
    def read(cls, put: Any, given: Iterable[str] = ()) -> Patterns:
        """Return what *put* means: one pattern, or several, or a mapping of patterns to titles.

        What was *given* to the job, files and directories, is no output.

        Raises
        ------
        UnsupportedValueError
            If it is none of these.
        """
        titled = dict(_entries(put))
        wanted = tuple(Pattern.read(text, title) for text, title in titled.items() if not text.startswith("!"))
        unwanted = [Pattern.read(text[1:]) for text in titled if text.startswith("!")]
        if unwanted and not wanted:
            raise UnsupportedValueError(f"put = {brief(put)} says only what is not wanted: {_FORMS}")
        unwanted += [Pattern(name, re.escape(name.rstrip("/")) + "(?:/.*)?") for name in given]
        return cls(wanted, tuple(unwanted), _any_of(wanted), _any_of(unwanted))

    def has(self, path: str) -> bool:
        """Tell whether a file is wanted; or, of a directory, which ends in a slash, whether something in it may be."""
        if _matches(self._unwanted, path):
            return False
        return any(_may_lead(one, path) for one in self.wanted) if path.endswith("/") else self._is_in(path)

    def is_whole(self, directory: str) -> bool:
        """Tell whether a directory is wanted with all that is in it."""
        return self._is_in(directory)

    def title_of(self, path: str) -> str | None:
        """Return the title of the first pattern that has one and chooses *path*."""
        return next((one.title for one in self.wanted if one.title is not None and one.has(path)), None)

    def idle(self, paths: Iterable[str]) -> list[Pattern]:
        """Return the patterns that choose none of *paths*."""
        left = {one: re.compile(one.expression, re.DOTALL) for one in self.wanted}
        for path in paths:
            for one in [one for one, expression in left.items() if _matches(expression, path)]:
                del left[one]
            if not left:
                break
        return list(left)

    def _is_in(self, path: str) -> bool:
        return _matches(self._wanted, path)


def _entries(put: Any) -> Iterator[tuple[str, str | None]]:
    if isinstance(put, str | os.PathLike):
        put = (put,)
    pairs = put.items() if isinstance(put, Mapping) else ((one, None) for one in put)
    for text, title in pairs:
        if not isinstance(text, str | os.PathLike) or not (title is None or isinstance(title, str)):
            raise UnsupportedValueError(f"put = {brief(put)}: {_FORMS}, or a mapping of these to titles")
        yield os.fsdecode(text), title


def _any_of(patterns: Iterable[Pattern]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one.expression})" for one in patterns) or r"(?!)", re.DOTALL)


def _matches(expression: re.Pattern[str], path: str) -> bool:
    return expression.fullmatch(path) is not None or (
        path.endswith("/") and expression.fullmatch(path[:-1]) is not None
    )


def _expressions(parts: list[str]) -> Iterator[str]:
    """Translate components: ``**`` is any number of directories, and at the end all that is below."""
    last = len(parts) - 1
    for number, part in enumerate(parts):
        if part == "**":
            yield ".+" if number == last else "(?:[^/]+/)*"
        else:
            yield _component(part) + ("" if number == last else "/")


def _component(part: str) -> str:
    return "".join(_translated(sign) for sign in re.findall(r"\[!?\]?[^]]*\]|.", part, re.DOTALL))


def _translated(sign: str) -> str:
    if sign == "*":
        return "[^/]*"
    if sign == "?":
        return "[^/]"
    inside = sign[1:-1]
    if not inside.strip("!"):
        return re.escape(sign)
    negated = "^" if inside.startswith("!") else ""
    return f"(?!/)[{negated}{re.sub(_SPECIAL, _escaped, inside.removeprefix('!'))}]"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def _may_lead(pattern: Pattern, directory: str) -> bool:
    """Tell whether a directory is chosen, or may have something that is."""
    parts = [part for part in pattern.text.split("/") if part not in ("", ".")]
    for part, name in zip(parts, directory.rstrip("/").split("/"), strict=False):
        if part == "**":
            return True
        if not re.fullmatch(_component(part), name, re.DOTALL):
            return False
    return True

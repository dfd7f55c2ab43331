"""Join by key: paths that give the same key become one row, with a file for each attribute; or are listed, and why not.

Pure: which paths there are is the business of `scan`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datajoint_file.errors import printable
from datajoint_file.model.object_keys import key_text


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A path that gives no row."""

    path: str  # below the directory that was scanned
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Several paths that give the same key; none of them gives a row."""

    key: Mapping[str, Any]
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_text(self.key)}: {', '.join(map(printable, self.paths))}"


@dataclass(frozen=True, slots=True)
class Match:
    """A path that has the form of a rule: the attribute that the rule is of, and the values that the path gives."""

    path: str
    attribute: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Join:
    """What makes one row of several matches.

    Parameters
    ----------
    key : callable
        Of the values of a row, returns what tells it from others.
    shown : callable
        Of the values of a row, returns its key as people see it.
    required : collection of str
        The attributes without which there is no row.
    """

    key: Callable[[Mapping[str, Any]], Hashable]
    shown: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    required: Collection[str]

    def groups(self, matches: Sequence[Match]) -> list[list[Match]]:
        """Return the matches of each key, in the order in which keys come."""
        groups: dict[Hashable, list[Match]] = {}
        for match in matches:
            groups.setdefault(self.key(match.values), []).append(match)
        return list(groups.values())

    def duplicate(self, group: Sequence[Match]) -> Duplicate | None:
        """Return what is to be said, if an attribute has several paths: which is meant, nobody can tell."""
        if max(Counter(match.attribute for match in group).values()) == 1:
            return None
        return Duplicate(self.shown(group[0].values), tuple(match.path for match in group))

    def problem(self, group: Sequence[Match]) -> str:
        """Return why there is no row of paths that do not contradict each other in their attributes, if there is none.

        It is that an attribute has no path, or that paths say different things of a value.
        """
        key = _text(self.shown(group[0].values))
        there = {match.attribute for match in group}
        missing = [name for name in self.required if name not in there]
        if missing:
            return f"there is no path for {', '.join(missing)} of {key}"
        values: dict[str, Any] = {}
        for match in group:
            for name, value in match.values.items():
                if values.setdefault(name, value) != value:
                    return f"{name} of {key} is {values[name]} by one path and {value} by another"
        return ""


def _text(key: Mapping[str, Any]) -> str:
    return key_text((name, printable(str(value))) for name, value in key.items())

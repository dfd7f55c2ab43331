"""Stratified random sample of values: of each attribute the newest, the oldest, the largest, and some others.

The same seed draws the same of the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from datajoint_file.verification.verification import FileValue, ListedRow

_ALWAYS = 3
"""Of each attribute, whatever the size of the sample."""


class DrawnRow:
    """A `ListedRow` of which some values are to be checked, and not the others."""

    __slots__ = ("_row", "values")

    def __init__(self, row: ListedRow, values: tuple[FileValue, ...]) -> None:
        self._row = row
        self.values = values

    @property
    def pipeline(self) -> Any:
        """Where its objects are."""
        return self._row.pipeline

    def key(self) -> dict[str, Any]:
        """Return its primary key."""
        return self._row.key()

    def position(self) -> str:
        """Return where it stands in its table."""
        return self._row.position()

    def still_names(self, value: FileValue) -> bool:
        """Tell that it does: nobody else is at the database of a drill."""
        return True


class _Stratum:
    """What is drawn of one attribute."""

    def __init__(self, room: int, chance: random.Random) -> None:
        self._room = room
        self._chance = chance
        self._offered = 0
        self._drawn: list[DrawnRow] = []
        self._newest: tuple[Any, DrawnRow] | None = None
        self._oldest: tuple[Any, DrawnRow] | None = None
        self._largest: tuple[int, DrawnRow] | None = None

    def offer(self, row: DrawnRow) -> None:
        metadata = row.values[0].metadata
        if metadata is None:
            return
        self._offered += 1
        if self._newest is None or metadata.timestamp > self._newest[0]:
            self._newest = metadata.timestamp, row
        if self._oldest is None or metadata.timestamp < self._oldest[0]:
            self._oldest = metadata.timestamp, row
        if self._largest is None or metadata.size > self._largest[0]:
            self._largest = metadata.size, row
        if len(self._drawn) < self._room:
            self._drawn.append(row)
        elif (place := self._chance.randrange(self._offered)) < self._room:
            self._drawn[place] = row

    def rows(self) -> Iterator[DrawnRow]:
        extremes = (found[1] for found in (self._newest, self._oldest, self._largest) if found)
        yield from dict.fromkeys([*extremes, *self._drawn])


class Sample:
    """A sample of about *size* values of so many attributes; more, if *size* is too small for each to have its own."""

    def __init__(self, size: int, strata: int, seed: int) -> None:
        self._room = max(1, -(-size // max(1, strata)) - _ALWAYS)
        self._seed = seed
        self._strata: dict[tuple[str, str], _Stratum] = {}

    def offer(self, row: ListedRow, value: FileValue) -> None:
        """Let a value take part in the draw."""
        place = value.table, value.attribute
        stratum = self._strata.get(place)
        if stratum is None:
            chance = random.Random(f"{self._seed} {value.table} {value.attribute}")  # noqa: S311 - no secret
            stratum = self._strata[place] = _Stratum(self._room, chance)
        stratum.offer(DrawnRow(row, (value,)))

    def rows(self) -> Iterator[DrawnRow]:
        """Give what was drawn, once each."""
        for stratum in self._strata.values():
            yield from stratum.rows()

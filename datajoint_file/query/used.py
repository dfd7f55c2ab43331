"""Report of used storage: files and bytes by group, which prints, becomes a data frame, and is drawn.

The database is asked by `usage`; a report is a value, and asks nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from typing import Any

import pandas as pd

from datajoint_file.errors import MissingLibraryError
from datajoint_file.model.wording import counted, format_size, pip_install
from datajoint_file.preview.shown import cut

MOST_LINES = 100
"""Groups that are printed, the first; `to_pandas` has all."""

_MOST_BARS = 30
_MOST_LINES_DRAWN = 10
_MOST_MONTHS = 1200
_LONGEST = 60
_NUMBERS = ("files", "size", "linked_files", "linked_size", "history_files", "history_size")


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group of files.

    Parameters
    ----------
    group : tuple
        Its values, in the order of ``by``. None for a table that has no such attribute.
    files, size : int
        Files that rows have stored, and their bytes. A directory counts as one file.
    linked_files, linked_size : int
        Files that stay where they are, and their bytes, which take no room in the store.
    history_files, history_size : int or None
        Files that rows no longer name, but the history does until their retention is over. None where that cannot be
        told: of rows of a table, or by other groups than schema, table and attribute.
    """

    group: tuple[Any, ...]
    files: int = 0
    size: int = 0
    linked_files: int = 0
    linked_size: int = 0
    history_files: int | None = None
    history_size: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What files need, by group. Made by `datajoint_file.usage`; it prints, and is a table in a notebook.

    Parameters
    ----------
    by : tuple of str
        What the groups are of.
    rows : tuple of UsageRow
        The groups, in the order of their values.
    total : UsageRow
        All of them together.
    unknown_files, unknown_size : int or None
        What is in the store and nothing tells of. None unless it was asked for.
    notes : tuple of str
        What else is worth knowing.
    """

    by: tuple[str, ...]
    rows: tuple[UsageRow, ...]
    total: UsageRow
    unknown_files: int | None = None
    unknown_size: int | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self._header(), *(self._line(row) for row in self.rows[:MOST_LINES]), self._line(self.total)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        count = len(self.by)
        texts = [
            "  ".join(
                cell.ljust(width) if number < count else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*texts[:-1], *self._others(), texts[-1], *self._endings()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        left, right = "text-align:left;padding:0 1em 0 0", "text-align:right;padding:0 0 0 1em"
        lines = [self._header(), *(self._line(row) for row in self.rows[:MOST_LINES]), self._line(self.total)]
        rendered = []
        for place, line in enumerate(lines):
            tag = "th" if place in (0, len(lines) - 1) else "td"
            cells = (
                f'<{tag} style="{left if number < len(self.by) else right}">{escape(cell)}</{tag}>'
                for number, cell in enumerate(line)
            )
            rendered.append(f"<tr>{''.join(cells)}</tr>")
        endings = "".join(f"<div>{escape(text)}</div>" for text in [*self._others(), *self._endings()])
        return f"<table>{''.join(rendered)}</table>{endings}"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row a group: the columns of ``by``, then the numbers, bytes as integers."""
        columns: dict[str, Any] = {
            name: [row.group[number] for row in self.rows] for number, name in enumerate(self.by)
        }
        for name in _NUMBERS:
            kind = "Int64" if name.startswith("history") else "int64"
            columns[name] = pd.array([getattr(row, name) for row in self.rows], dtype=kind)  # type: ignore[call-overload]
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what ``datajoint-file du --json`` prints."""
        document: dict[str, Any] = {"by": list(self.by), "rows": [], "total": _numbers(self.total)}
        for row in self.rows:
            group = dict(zip(self.by, map(_plain, row.group), strict=True))
            document["rows"].append({"group": group, **_numbers(row)})
        if self.unknown_files is not None:
            document["unknown"] = {"files": self.unknown_files, "size": self.unknown_size}
        return {**document, "notes": list(self.notes)}

    def plot(self, ax: Any = None) -> Any:
        """Draw the groups and return matplotlib's axes: bars of bytes; by month, what was there at the end of each.

        By ``"month"`` alone it is one line, with another group a line for each of the largest ten. What was deleted
        since is not in it. Of more than thirty bars the largest are drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure if not given.

        Raises
        ------
        MissingLibraryError
            If matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise MissingLibraryError(f"plots are drawn by matplotlib: {pip_install('plot')} ({error})") from error
        ax = plt.subplots(layout="constrained")[1] if ax is None else ax
        if "month" in self.by:
            _draw_growth(ax, self)
        else:
            _draw_bars(ax, self)
        return ax

    def _header(self) -> list[str]:
        return [*map(_shown, self.by), "files", "size", *(name for name, _ in self._extras())]

    def _line(self, row: UsageRow) -> list[str]:
        group = list(map(_shown, row.group)) or ["total", *[""] * (len(self.by) - 1)]
        extras = (_pair(*(getattr(row, f"{name}_{what}") for what in ("files", "size"))) for name, _ in self._extras())
        return [*group, f"{row.files:,}", format_size(row.size), *extras]

    def _extras(self) -> list[tuple[str, int]]:
        """Return the columns that are shown only if there is something in them."""
        found = (("linked", self.total.linked_files), ("history", self.total.history_files or 0))
        return [(name, number) for name, number in found if number]

    def _others(self) -> list[str]:
        more = self.rows[MOST_LINES:]
        return [f"… and {counted(len(more), 'more group')}, {_sized(more)}"] if more else []

    def _endings(self) -> list[str]:
        unknown = []
        if self.unknown_files is not None:
            what = f"{counted(self.unknown_files, 'object')}, {format_size(self.unknown_size or 0)}"
            unknown = [f"unknown: {what} in the store that nothing tells of"]
        return [*unknown, *map(cut, self.notes)]


def _shown(value: Any) -> str:
    return "-" if value is None else cut(str(value), _LONGEST)


def _pair(files: int | None, size: int | None) -> str:
    return "-" if files is None else f"{files:,} ({format_size(size or 0)})" if files else ""


def _sized(rows: Iterable[UsageRow]) -> str:
    return format_size(sum(row.size for row in rows))


def _numbers(row: UsageRow) -> dict[str, int | None]:
    return {name: getattr(row, name) for name in _NUMBERS}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _draw_bars(ax: Any, used: Usage) -> None:
    """Draw a bar for each group, the largest if there are many, what is stored and what the history keeps."""
    rows = used.rows
    if len(rows) > _MOST_BARS:
        largest = sorted(rows, key=lambda row: row.size)[-_MOST_BARS:]
        rows = tuple(row for row in rows if row in largest)
    labels = [_label(row.group) for row in rows]
    unit, name = _unit([row.size for row in rows])
    places = range(len(rows))
    stored = [row.size / unit for row in rows]
    ax.barh(places, stored, label="stored")
    if any(row.history_size for row in rows):
        ax.barh(places, [(row.history_size or 0) / unit for row in rows], left=stored, label="history")
        ax.legend()
    ax.set_yticks(places, labels)
    ax.invert_yaxis()
    ax.set_xlabel(name)


def _draw_growth(ax: Any, used: Usage) -> None:
    """Draw what there was at the end of each month, a line for each other group."""
    place = used.by.index("month")
    months = _months(sorted({_shown(row.group[place]) for row in used.rows}))
    sizes: Counter[str] = Counter()
    for row in used.rows:
        sizes[_beside(row, place)] += row.size
    lines = {label: dict.fromkeys(months, 0) for label, _ in sizes.most_common(_MOST_LINES_DRAWN)}
    for row in used.rows:
        if (line := lines.get(_beside(row, place))) is not None:
            line[_shown(row.group[place])] += row.size
    unit, name = _unit([sum(line.values()) for line in lines.values()])
    for label, line in lines.items():
        ax.plot(
            months, [size / unit for size in accumulate(line[month] for month in months)], "o-", label=label or None
        )
    if len(used.by) > 1:
        ax.legend(title=", ".join(name for name in used.by if name != "month"))
    ax.set_ylim(bottom=0)
    ax.set_ylabel(name)
    ax.tick_params(axis="x", rotation=90 if len(months) > 12 else 0)


def _beside(row: UsageRow, place: int) -> str:
    """Return the label of what a row is of beside the month at *place*."""
    return _label([value for number, value in enumerate(row.group) if number != place])


def _months(found: list[str]) -> list[str]:
    """Return the months that were found with those between them, unless one is none, as of a row that is damaged."""
    try:
        first, last = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (found[0], found[-1]))
    except (ValueError, IndexError):
        return found
    between = [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(first, last + 1)]
    return between if len(between) <= _MOST_MONTHS and set(found) <= set(between) else found


def _label(group: Iterable[Any]) -> str:
    """Return what stands beside a bar or line; matplotlib would read formulas, and leave out what is underlined."""
    return ", ".join(map(_shown, group)).replace("$", r"\$").removeprefix("_")


def _unit(sizes: Sequence[int]) -> tuple[int, str]:
    largest = max(sizes, default=0)
    names = ("B", "kB", "MB", "GB", "TB", "PB")
    power = max(number for number in range(len(names)) if number == 0 or largest >= 1000**number)
    return 1000**power, names[power]

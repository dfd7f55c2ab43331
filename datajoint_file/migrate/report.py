"""Reports of a migration: values that print what was done, or would be, and are true if nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from datajoint_file.migrate.names import Names
from datajoint_file.model.wording import counted, format_size
from datajoint_file.startup import on_one_line

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class MigrationProblem:
    """What is wrong with one row, or with the attribute as a whole.

    Parameters
    ----------
    key : str
        The row's primary key; empty if it is about the attribute.
    reason : str
        What is wrong.
    """

    key: str
    reason: str

    def __str__(self) -> str:
        return on_one_line(f"{self.key}: {self.reason}" if self.key else self.reason)


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a step of a migration has found, or done. True if there are no problems.

    Parameters
    ----------
    step : {"plan", "run", "check", "finish", "back", "forget"}
        Which.
    attribute : str
        The attribute: ``schema.Recording.raw``.
    summary : str
        What it comes to, in a sentence.
    rows : int
        Rows that this is about: that would be moved, were moved, were compared.
    size : int
        Their bytes.
    problems : tuple of MigrationProblem
        What is left as it was, and why.
    notes : tuple of str
        What else to know.
    ways : mapping of str to int
        How many rows come in which way: ``copied``, ``copied in the store``, ``hard linked``, ``linked``.
    seconds : float or None
        How long it took; of a plan, how long reading and hashing alone is going to take, by a measured sample.
    """

    step: str
    attribute: str
    summary: str
    rows: int = 0
    size: int = 0
    problems: tuple[MigrationProblem, ...] = ()
    notes: tuple[str, ...] = ()
    ways: Mapping[str, int] | None = None
    seconds: float | None = None

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{self.attribute}: {self.summary}"]
        alike: dict[str, list[MigrationProblem]] = {}
        for one in self.problems:
            if one.key or not self.summary.endswith(one.reason):  # a refusal is said already
                alike.setdefault(one.reason, []).append(one)
        if alike:
            lines.append(f"{counted(len(self.problems), 'problem')}:")
        shown = list(alike.values())[:_SHOWN]
        lines += [f"  {one}{_of_others(len(others))}" for one, *others in shown]
        if rest := sum(map(len, alike.values())) - sum(map(len, shown)):
            lines.append(f"  and {rest} more; .problems (--json) has them all")
        return "\n".join([*map(on_one_line, lines[:1]), *lines[1:], *map(on_one_line, self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {**asdict(self), "ok": bool(self)}


def _of_others(count: int) -> str:
    return f" (and so {counted(count, 'more row')})" if count else ""


def refusal(step: str, attribute: str, why: str, problems: Iterable[MigrationProblem] = ()) -> MigrationReport:
    """Return the report of a step that has done nothing; the reason is its problem, unless there are others."""
    return MigrationReport(step, attribute, f"refused: {why}", problems=tuple(problems) or (MigrationProblem("", why),))


def notes_of_back(names: Names, *, inserted: int, changed: int, stays_nullable: bool) -> tuple[str, ...]:
    """Say what rows have become while the new attribute had the name."""
    notes = []
    if inserted:
        notes.append(f"{counted(inserted, 'row')} inserted since: no old value, the file is in {names.beside}")
    if changed:
        notes.append(f"{counted(changed, 'row')} changed since: the old value is older than {names.beside}")
    if stays_nullable:
        notes.append(f"{names.name} stays nullable, for some rows have no value")
    return tuple(notes)


def amount(rows: int, size: int) -> str:
    """Say how much was done."""
    return f"{counted(rows, 'row')}, {format_size(size)}"

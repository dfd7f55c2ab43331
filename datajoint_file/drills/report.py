"""`DrillReport`: what a restore drill has found out about a backup.

Values only. How they are found is the business of `drill`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from datajoint_file.doctor.check import Check
from datajoint_file.model.metadata import format_timestamp
from datajoint_file.model.wording import counted, format_size, spoken
from datajoint_file.verification.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class DrilledTable:
    """One table of the dump, or of the live database.

    Parameters
    ----------
    schema, table : str
        Its schema, and its name as its class has it.
    rows : int or None
        Its rows in the dump; None if the dump does not have it.
    files, size : int
        Files that these rows name, and the bytes of them.
    live_rows : int or None
        Its rows in the live database; None if that was not asked, or does not have it.
    lost_files, lost_size : int
        Files that live rows name, and rows of the dump do not: they would be lost.
    """

    schema: str
    table: str
    rows: int | None
    files: int = 0
    size: int = 0
    live_rows: int | None = None
    lost_files: int = 0
    lost_size: int = 0


@dataclass(frozen=True, slots=True)
class LostFiles:
    """Files that live rows name, and rows of the dump do not."""

    files: int = 0
    size: int = 0
    oldest: datetime | None = None  # when the first of them was stored
    newest: datetime | None = None


@dataclass(frozen=True, slots=True, repr=False)
class DrillReport:
    """What a drill has found out. **True if the backup is fine**: it loads, and what its rows name is in the copy.

    Parameters
    ----------
    dump, store : str
        What was tried: the dump, and the place of the store's copy.
    taken : datetime or None
        When the dump was made, aware.
    taken_by : str
        What tells so: the dump itself, or the date of its file, which a copy may have changed.
    newest_file : datetime or None
        When the newest file that its rows name was stored.
    newest_object : datetime or None
        When the newest object of the copy was stored, as the copy tells.
    objects : int
        Objects in the copy.
    tables : tuple of DrilledTable
        Rows and files of each table.
    checked, size : int
        Files and directories whose bytes were compared with their hash, and how many bytes these are.
    seed : int
        What the sample was drawn by; 0 if all were checked.
    findings : tuple of Finding
        What is wrong with single files, the first thousand.
    problems : tuple of Check
        What makes the backup unfit. Each has ``name``, ``detail``, and ``fix``: what to do.
    notes : tuple of Check
        What is worth knowing besides.
    is_compared : bool
        Whether the live database was asked what it has by now.
    lost : LostFiles
        Files that it has and the dump does not: what would be lost if it were restored now.
    seconds : float
        How long it took.
    """

    dump: str
    store: str
    taken: datetime | None
    taken_by: str
    at: datetime
    problems: tuple[Check, ...] = ()
    notes: tuple[Check, ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: tuple[DrilledTable, ...] = ()
    newest_file: datetime | None = None
    newest_object: datetime | None = None
    objects: int = 0
    checked: int = 0
    size: int = 0
    seed: int = 0
    is_compared: bool = False
    lost: LostFiles = LostFiles()
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def age(self) -> timedelta | None:
        """How old the dump was when it was tried; None if nothing tells."""
        return None if self.taken is None else max(self.at - self.taken, timedelta(0))

    @property
    def rows(self) -> int:
        """Rows in the dump, of all tables."""
        return sum(table.rows or 0 for table in self.tables)

    @property
    def files(self) -> int:
        """Files and directories that they name."""
        return sum(table.files for table in self.tables)

    @property
    def summary(self) -> str:
        """The drill on one line."""
        verdict = "fine" if self else counted(len(self.problems), "problem")
        schemas = len({table.schema for table in self.tables if table.rows is not None})
        seen = (
            f"{counted(schemas, 'schema')}, {counted(self.rows, 'row')}, {counted(self.files, 'file')}, "
            f"{self.checked:,} of them read ({format_size(self.size)})"
        )
        return f"backup {self._aged}: {verdict}; {seen}"

    @property
    def _aged(self) -> str:
        return "of unknown age" if self.age is None else f"{_rounded(self.age)} old"

    @property
    def lines(self) -> list[str]:
        """What it says besides problems, on a line each."""
        lines = []
        if self.taken is not None:
            lines.append(f"dump made {format_timestamp(self.taken)}, {_rounded(self.age)} ago ({self.taken_by})")
        newest = [f"{what} {format_timestamp(moment)}" for what, moment in self._newest if moment]
        lines += [f"newest {', '.join(newest)}"] if newest else []
        if self.seed:
            lines.append(f"sample drawn with seed {self.seed}")
        if self.is_compared:
            lines.append(self._told_of_lost)
        return lines

    @property
    def _newest(self) -> tuple[tuple[str, datetime | None], ...]:
        return ("file in the dump", self.newest_file), ("object in the copy", self.newest_object)

    @property
    def _told_of_lost(self) -> str:
        lost, fewer = self.lost, sum(max((one.live_rows or 0) - (one.rows or 0), 0) for one in self.tables)
        if not lost.files and not fewer:
            return "restored now, nothing would be lost: the live database has no more than the dump"
        text = f"restored now, {counted(lost.files, 'file')} ({format_size(lost.size)}) would be lost"
        if lost.oldest and lost.newest:
            text += f", stored {format_timestamp(lost.oldest)} to {format_timestamp(lost.newest)}"
        return f"{text}; live tables have {counted(fewer, 'row')} more"

    def __str__(self) -> str:
        marked = [(f"  x {one.name}: {one.detail}", one.fix) for one in self.problems]
        marked += [(f"  ! {one.name}: {one.detail}", one.fix) for one in self.notes]
        told = [line for text, fix in marked for line in (text, f"      fix: {fix}" if fix else "") if line]
        found = [f"    {finding.kind:<10}  {finding.problem}" for finding in self.findings[:_SHOWN]]
        if len(self.findings) > _SHOWN:
            found.append(f"    and {len(self.findings) - _SHOWN} more in .findings")
        return "\n".join([self.summary, *(f"  {line}" for line in self.lines), *told, *found])

    def __repr__(self) -> str:
        return f"<DrillReport: {self.summary}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a row for each table. pandas is imported when this is asked for."""
        import pandas as pd

        frame = pd.DataFrame([asdict(table) for table in self.tables], columns=list(DrilledTable.__dataclass_fields__))
        return frame.astype({"schema": "string", "table": "string", **dict.fromkeys(frame.columns[2:], "Int64")})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            "ok": bool(self),
            "dump": self.dump,
            "store": self.store,
            "taken": _moment(self.taken),
            "taken_by": self.taken_by,
            "age_seconds": None if self.age is None else round(self.age.total_seconds()),
            "newest_file": _moment(self.newest_file),
            "newest_object": _moment(self.newest_object),
            "objects": self.objects,
            "rows": self.rows,
            "files": self.files,
            "checked": self.checked,
            "size": self.size,
            "seed": self.seed,
            "compared": self.is_compared,
            "lost": {
                "files": self.lost.files,
                "size": self.lost.size,
                "oldest": _moment(self.lost.oldest),
                "newest": _moment(self.lost.newest),
            },
            "problems": [asdict(one) for one in self.problems],
            "notes": [asdict(one) for one in self.notes],
            "findings": [finding.to_dict() for finding in self.findings],
            "tables": [asdict(table) for table in self.tables],
            "seconds": round(self.seconds, 3),
        }


def _rounded(age: timedelta | None) -> str:
    """Return *age* without what nobody needs of it: seconds of hours, hours of weeks."""
    seconds = 0 if age is None else int(age.total_seconds())
    step = 86_400 if seconds > 14 * 86_400 else 3_600 if seconds > 86_400 else 60 if seconds > 3_600 else 1
    return spoken(timedelta(seconds=seconds - seconds % step))


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_timestamp(moment)

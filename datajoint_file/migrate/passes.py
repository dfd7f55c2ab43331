"""Passes over the rows of a migration: moved until none is left, compared, and what is left told row by row.

Which step of a migration makes which passes is told in `migration`.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import DataJointError
from datajoint_file.migrate.comparing import Comparer
from datajoint_file.migrate.moving import Moved, Mover
from datajoint_file.migrate.names import Names
from datajoint_file.migrate.note_table import OWN, NoteTable
from datajoint_file.migrate.old_rows import OldRows
from datajoint_file.migrate.originals import Kind
from datajoint_file.migrate.report import MigrationProblem
from datajoint_file.migrate.ways import Ways
from datajoint_file.sql import Condition

PASSES = 20
"""So often it is looked for rows that others have written meanwhile, before it is told that they write too fast."""


class Passes:
    """The passes at one stage; *where* is what the attribute is called in progress bars."""

    def __init__(
        self,
        table: Any,
        where: str,
        names: Names,
        notes: NoteTable,
        kind: Kind,
        ways: Ways,
        *,
        progress: bool | None = None,
    ) -> None:
        self.rows = OldRows(table, names, notes)
        self._where, self._names, self._notes, self._kind, self._ways = where, names, notes, kind, ways
        self._progress = progress

    def moved(self, workers: int | None = None, executor: Executor | None = None) -> Moved:
        """Make files of what has none, again and again until a pass finds nothing to do."""
        rows, total = self.rows, Moved()
        with progress_bar(f"moving {self._where}", rows.count(rows.undone()), self._progress, unit=" rows") as advance:
            for _ in range(PASSES):
                mover = Mover(rows, self._notes, self._kind, self._ways, workers=workers, executor=executor)
                for count in mover.move(rows.rows(rows.undone())):
                    advance(count)
                moved = mover.moved
                total.rows, total.size = total.rows + moved.rows, total.size + moved.size
                total.emptied, total.problems = total.emptied + moved.emptied, moved.problems
                if not moved.rows and not moved.emptied:
                    break
        return total

    def compared(
        self, workers: int | None = None, executor: Executor | None = None, *, only_new: bool = False
    ) -> Comparer:
        """Compare what was made with what it was made of; *only_new* if only what never was."""
        rows = self.rows
        comparer = Comparer(rows, self._notes, self._kind, workers=workers, executor=executor)
        chosen = rows.unchecked() if only_new else rows.made()
        with progress_bar(f"comparing {self._where}", rows.count(chosen), self._progress, unit=" rows") as advance:
            for _ in comparer.compare(rows.rows(chosen), advance):
                pass
        return comparer

    def left(self) -> list[MigrationProblem]:
        """Say of each row that is not done why."""
        rows, left = self.rows, []
        for row in rows.rows(self._not_done()):
            reason = "not done yet: run() again"
            try:
                if row.fingerprint is not None:
                    self._kind.original(row.old)
            except DataJointError as error:
                reason = str(error)
            if row.is_foreign:
                reason = f"{self._names.new} has a file that was not made of the old value"
            left.append(MigrationProblem(rows.shown(row), reason))
        return left

    def _not_done(self) -> Condition:
        """Return the condition that a file is missing; once it has the name, users may have put another one there."""
        rows = self.rows
        if self._names.stage != "swapped":
            return rows.undone()
        made_of_another = f"djf_path = {rows.path} AND djf_old <> {rows.fingerprint}"
        none = f"{rows.quoted(self._names.new)} IS NULL AND djf_path IS NULL"
        return f"({rows.filled()[0]} AND (({made_of_another}) OR ({none})))", []

    def is_ready(self) -> bool:
        """Tell whether nothing is left, and all is compared. Asked under a lock."""
        return not any(self.rows.count(one) for one in (self.rows.undone(), self.rows.unchecked()))

    def has_empty(self, name: str) -> bool:
        """Tell whether an attribute is NULL in some row."""
        return bool(self.rows.count((f"{self.rows.quoted(name)} IS NULL", [])))

    def note_own(self) -> None:
        """Note of files that users have put there that these are theirs: later steps leave them alone."""
        for row in self.rows.rows(self.rows.own()):
            sql, args = self._notes.upsert([(row.cell, row.fingerprint or "", row.former or "")], OWN)
            self._notes.second.execute(sql, args)

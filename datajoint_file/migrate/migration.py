"""`Migration`: the steps by which the values of an old attribute become files of a `file` attribute, and back.

What a step does is decided in the modules beside this one; here it is said when it may be done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datajoint.table import FreeTable, Table

from datajoint_file.concurrency.executors import check_executor
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.concurrency.threads import check_workers
from datajoint_file.errors import DataJointError, DeclarationError, UnsupportedValueError, brief, brief_traceback
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.tables import table_name
from datajoint_file.insert.statement import Statement
from datajoint_file.insert.table_hooks import ensure_books
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.migrate import changing
from datajoint_file.migrate.history_names import rename_in_history
from datajoint_file.migrate.kinds import kind_of
from datajoint_file.migrate.moving import Moved
from datajoint_file.migrate.names import Names, names_in
from datajoint_file.migrate.note_table import NoteTable
from datajoint_file.migrate.obstacles import obstacles
from datajoint_file.migrate.old_rows import OldRows
from datajoint_file.migrate.originals import Kind
from datajoint_file.migrate.passes import PASSES, Passes
from datajoint_file.migrate.planning import Look
from datajoint_file.migrate.report import MigrationProblem, MigrationReport, amount, notes_of_back, refusal
from datajoint_file.migrate.ways import HardLink, Options, Ways
from datajoint_file.model.wording import counted

STEPS = ("plan", "run", "check", "finish", "back", "forget")
"""In their order. Each is a method, and returns a report."""


class Migration:
    """An attribute whose values become a ``file`` attribute of the same name, step by step.

    ``plan``, ``run``, ``check``, ``finish`` in this order; ``back`` and ``forget`` afterwards, if wanted. Each may be
    done again at any time, also after it was killed: what is done is not done again. The old bytes are only ever read.

    Parameters
    ----------
    table : datajoint.Table
        The table, or an instance; a part table; a `datajoint.FreeTable`.
    attribute : str
        The attribute: ``<attach>``, ``<blob>``, ``<hash@>``, ``<filepath@>``, ``<object@>``, ``<npy@>``; ``attach``,
        ``blob@store`` and ``filepath@store`` of DataJoint 0.14; or text that holds paths.
    root : str or os.PathLike, optional
        Of paths: the directory where relative ones begin, and below which all must lie.
    link : bool
        Of what is a file on this machine: it stays where it is, below a root of ``datajoint.toml``, and is linked.
    hard_link : {"", "read-only", "all"}
        Of what is a file on this machine, and on the file system of the project's store: it gets a second name there,
        and no byte is copied. ``read-only``: only what nobody may write to; ``all``: the rest as well, which is made
        read-only. A program that changes such a file in place, by whatever right, changes both.
    suffix : str
        Of ``<blob>``: the format in which its objects are written, such as ``.npy`` or ``.parquet``. Else a file holds
        the blob's bytes as they are.
    progress : bool, optional
        Show progress bars: always, never, or (``None``) on a terminal or in a notebook after a second.

    Raises
    ------
    UnsupportedValueError
        If *table* is none, has no such attribute, or one whose values are no files; or if an option means nothing for
        it.

    Examples
    --------
    >>> migration = datajoint_file.Migration(Recording, "raw")  # doctest: +SKIP
    >>> print(migration.plan())  # doctest: +SKIP
    >>> migration.run() and migration.check() and migration.finish()  # doctest: +SKIP
    """

    def __init__(
        self,
        table: Any,
        attribute: str,
        *,
        root: Any = "",
        link: bool = False,
        hard_link: HardLink = "",
        suffix: str = "",
        progress: bool | None = None,
    ) -> None:
        target = table() if isinstance(table, type) and issubclass(table, Table) else table
        if not isinstance(target, Table):
            raise UnsupportedValueError(f"{brief(table)} is no table: Migration(Recording, 'raw')")
        self._table = FreeTable(target.connection, target.full_table_name)
        self._users = target
        self._name = attribute
        self._progress = progress
        self._notes = NoteTable(second_connection_of(target.connection), target.database, target.table_name, attribute)
        self._where = f"{table_name(target)}.{attribute}"
        names = self._names()
        options = Options(str(Path(root).absolute()) if root else "", bool(link), hard_link, suffix)
        self._options = options.with_earlier(self._notes.facts())
        if names.stage != "over":
            self._kind(names)

    def __repr__(self) -> str:
        return f"Migration({self._where})"

    @property
    def stage(self) -> str:
        """Return how far it is: ``new``, ``beside``, ``swapped``, or ``over``. The table is asked."""
        return self._names().stage

    @brief_traceback
    def plan(self) -> MigrationReport:
        """Look at all old values and say what would become of them. Nothing is written, nowhere.

        Each value is looked for, and a sample read and hashed to see how long it takes.

        Raises
        ------
        StorageError
            If a store cannot be reached.
        """
        names = self._names()
        if names.stage in ("swapped", "over"):
            return MigrationReport("plan", self._where, "it is a `file` attribute already: there is nothing to do")
        rows = OldRows(self._table, names, None if names.stage == "new" else self._notes)
        statement = Statement(self._table, (names.new,), "update")
        look = Look(rows, self._kind(names), statement, self._ways())
        undone = rows.undone() if names.stage == "beside" else rows.filled()
        with progress_bar(f"looking at {self._where}", rows.count(undone), self._progress, unit=" rows") as advance:
            look.over(rows.rows(undone), advance)
        problems = [MigrationProblem("", one) for one in obstacles(self._table, names)]
        empty = rows.count((f"{rows.quoted(names.old)} IS NULL", []))
        return look.report(self._where, problems, empty)

    @brief_traceback
    def run(self, *, workers: int | None = None, executor: Executor | None = None) -> MigrationReport:
        """Make files of all old values that have none yet, or another one by now.

        Adds the attribute ``raw__file``, nullable, if it is not there. Bytes are stored as an insert stores them, and
        each row is changed by a transaction in which its old value is still the same. It looks again until nothing is
        left, so that what others write meanwhile is there too. What cannot be moved is told, and left as it is.

        Parameters
        ----------
        workers : int, optional
            Files to send at a time; what suits the store, if not given.
        executor : concurrent.futures.Executor, optional
            Whose workers send what stands at a path, as of `stage`; what has to be fetched first is sent from here.

        Raises
        ------
        DeclarationError
            If the attribute cannot be migrated: it is part of a key, say.
        DataJointError
            If a transaction is open.
        StorageError, QuotaExceededError
            If a store fails, or there is no room. What was done stays done.
        WorkerError
            If a worker of the executor died. Run it again.
        """
        begun = time.monotonic()
        _check(workers, executor)
        names = self._begun()
        if names.stage in ("swapped", "over"):
            return MigrationReport("run", self._where, "it is a `file` attribute already: there is nothing to do")
        moved = self._passes(names).moved(workers, executor)
        notes = (f"{counted(moved.emptied, 'row')} emptied, whose old value is NULL by now",) if moved.emptied else ()
        done = f"{amount(moved.rows, moved.size)} moved to {names.new}"
        seconds = time.monotonic() - begun
        return MigrationReport(
            "run", self._where, done, moved.rows, moved.size, tuple(moved.problems), notes, seconds=seconds
        )

    @brief_traceback
    def check(self, *, workers: int | None = None, executor: Executor | None = None) -> MigrationReport:
        """Read old and new values of all rows and compare them, byte by byte. Rows that are not done are problems.

        Parameters
        ----------
        workers : int, optional
            Rows to compare at a time; what suits the store, if not given.
        executor : concurrent.futures.Executor, optional
            Whose workers compare what stands at a path, as of `run`; they read both sides.

        Raises
        ------
        StorageError
            If a store cannot be reached.
        WorkerError
            If a worker of the executor died.
        """
        begun = time.monotonic()
        _check(workers, executor)
        names = self._names()
        if names.stage == "over":
            return MigrationReport("check", self._where, "the old attribute is gone: there is nothing to compare with")
        if names.stage == "new":
            return self._refused("check", "nothing was moved yet: run() comes first")
        passes = self._passes(names)
        rows, comparer = passes.rows, passes.compared(workers, executor)
        problems = [*comparer.problems, *passes.left()]
        own = rows.count(rows.own()) if names.stage == "swapped" else 0
        notes = (f"{counted(own, 'row')} with a file that was put there since finish(): not compared",) if own else ()
        if not problems and names.stage == "beside":
            self._notes.set_facts({**self._notes.facts(), **asdict(self._options), "is_checked": True})
        summary = f"{amount(comparer.count, comparer.size)} equal to what they were made of"
        seconds = time.monotonic() - begun
        return MigrationReport(
            "check", self._where, summary, comparer.count, comparer.size, tuple(problems), notes, seconds=seconds
        )

    @brief_traceback
    def finish(self) -> MigrationReport:
        """Give the ``file`` attribute the name, and the old one the name ``raw__before``, in one step.

        Refused unless `check` was fine once. What was written since then is moved and compared now; under a lock it is
        looked whether anything is left, and only if not the names are exchanged. The old attribute is nullable from
        then on. Programs that have looked at the table before know its old heading until they are started again.

        Raises
        ------
        DeclarationError
            If this user may not lock the table, or others keep it in use for ten seconds.
        DataJointError
            If a transaction is open.
        """
        self._require_no_transaction("finish")
        names = self._names()
        if names.stage == "swapped":
            rename_in_history(self._table, names)
            return MigrationReport("finish", self._where, f"finished: the old values are in {names.kept}")
        if names.stage != "beside":
            why = "it is over" if names.stage == "over" else "nothing was moved yet: run() and check() come first"
            return self._refused("finish", why)
        facts = self._notes.facts()
        if not facts.get("is_checked"):
            return self._refused("finish", "no check() was fine yet; nothing was changed")
        exchange = changing.Exchange(self._table, names, self._notes)
        if "definition" not in facts:  # else it is that of before the first time, which went back since
            facts |= {"definition": exchange.definition(), "is_nullable": exchange.is_nullable()}
            self._notes.set_facts(facts)
        moved, passes = Moved(), self._passes(names)
        for _ in range(PASSES):
            news = passes.moved()
            moved.rows, moved.size = moved.rows + news.rows, moved.size + news.size
            if problems := [*news.problems, *passes.compared(only_new=True).problems]:
                return self._refused("finish", "nothing was changed", problems)
            is_nullable = facts["is_nullable"] or passes.has_empty(names.new)
            if exchange.there(is_nullable=is_nullable, is_ready=passes.is_ready):
                rename_in_history(self._table, self._names())
                note = f"{amount(moved.rows, moved.size)} that were written since were moved first"
                return MigrationReport(
                    "finish",
                    self._where,
                    f"{names.name} is a `file` attribute; the old values are in {names.kept}",
                    moved.rows,
                    moved.size,
                    notes=(note,) if moved.rows else (),
                )
        return self._refused("finish", "others write faster than this reads: nothing was changed; try when they pause")

    @brief_traceback
    def back(self) -> MigrationReport:
        """Give the old attribute its name again; the ``file`` attribute becomes ``raw__file``, with all it has.

        Rows that were inserted since `finish` have no old value: it is NULL there, and the attribute stays nullable if
        there are any. Of rows whose file was changed since, the old value is what it was. Both keep their files, which
        later steps leave as they are.

        Raises
        ------
        DeclarationError
            If this user may not lock the table, or others keep it in use for ten seconds.
        DataJointError
            If a transaction is open.
        """
        self._require_no_transaction("back")
        names, facts = self._names(), self._notes.facts()
        if names.stage == "beside":
            if facts.get("is_going_back"):  # it was cut off
                self._gone_back(names, facts)
            return MigrationReport("back", self._where, f"{names.name} is what it was; the files are in {names.new}")
        if names.stage != "swapped":
            why = "the old attribute is gone" if names.stage == "over" else "nothing was moved yet"
            return self._refused("back", f"{why}: there is no way back")
        passes = self._passes(names)
        rows = passes.rows
        changed = rows.count((f"({rows.filled()[0]} AND {rows.own()[0]})", []))
        inserted = rows.count((f"{rows.quoted(names.old)} IS NULL AND {rows.own()[0]}", []))
        if "definition" not in facts:
            return self._refused("back", "what the old attribute was is not noted any more: alter the table by hand")
        passes.note_own()
        self._notes.set_facts({**facts, "is_going_back": True})
        exchange = changing.Exchange(self._table, names, self._notes)
        has_empty = passes.has_empty(names.old)
        exchange.back(facts["definition"], is_nullable=bool(facts.get("is_nullable")) or has_empty)
        self._gone_back(self._names(), facts)
        stays_nullable = has_empty and not facts.get("is_nullable")
        notes = notes_of_back(names, inserted=inserted, changed=changed, stays_nullable=stays_nullable)
        summary = f"{names.name} is what it was; the files are in {names.beside}"
        return MigrationReport("back", self._where, summary, notes=notes)

    @brief_traceback
    def forget(self) -> MigrationReport:
        """Drop the old attribute. There is no way back then. The old bytes in a store or on a disk stay.

        Which of them nobody else needs, only DataJoint's own garbage collector can tell, which knows all codecs; of
        files that paths named, nobody can.

        Raises
        ------
        DataJointError
            If a transaction is open.
        """
        self._require_no_transaction("forget")
        names = self._names()
        if names.stage == "over":
            self._notes.clear()
            return MigrationReport("forget", self._where, "the old attribute is gone")
        if names.stage != "swapped":
            return self._refused("forget", "finish() comes first; nothing was dropped")
        passes = self._passes(names)
        if problems := passes.left():
            return self._refused("forget", "some old values have no file; nothing was dropped", problems)
        rename_in_history(self._table, names)  # finish() may have been cut off before
        count = passes.rows.count(passes.rows.filled())
        note = self._kind(names).remains
        changing.drop(self._table, names.old)
        changing.refresh(self._users)
        self._notes.clear()
        return MigrationReport("forget", self._where, f"{names.kept} is dropped", count, notes=(note,))

    def _names(self) -> Names:
        for one in (self._table, self._users):
            changing.refresh(one)
        return names_in(self._table, self._name)

    def _kind(self, names: Names) -> Kind:
        table, options = self._table, self._options
        return kind_of(table, table.heading[names.old], self._name, root=options.root, suffix=options.suffix)

    def _ways(self) -> Ways:
        storage = pipeline_of(self._table.connection, self._table.database).settings.storage
        return Ways(storage, self._options)

    def _passes(self, names: Names) -> Passes:
        kind, ways = self._kind(names), self._ways()
        return Passes(self._table, self._where, names, self._notes, kind, ways, progress=self._progress)

    def _begun(self) -> Names:
        """Return the names, once there is an attribute for files."""
        self._require_no_transaction("run")
        names = self._names()
        if found := [*obstacles(self._table, names)]:
            raise DeclarationError(f"{self._where} cannot become a `file` attribute: {'; '.join(found)}")
        if names.stage in ("swapped", "over"):
            return names
        pipeline_of(self._table.connection, self._table.database)  # before anything is changed
        self._notes.create()
        if names.stage == "new":
            self._add(names)
        ensure_books(self._table)
        self._notes.set_facts({**self._notes.facts(), **asdict(self._options)})
        return self._names()

    def _add(self, names: Names) -> None:
        try:
            changing.add(self._table, names)
        except Exception:
            if self._names().stage == "new":  # else somebody else has added it in this moment
                raise

    def _gone_back(self, names: Names, facts: dict[str, Any]) -> None:
        rename_in_history(self._table, names, is_back=True)
        self._passes(names).note_own()  # what came between the first time and the exchange
        self._notes.set_facts({**facts, "is_going_back": False})

    def _refused(self, step: str, why: str, problems: Iterable[MigrationProblem] = ()) -> MigrationReport:
        return refusal(step, self._where, why, problems)

    def _require_no_transaction(self, step: str) -> None:
        if has_transaction(self._table.connection):
            raise DataJointError(f"{step}() has transactions of its own: commit this one or roll it back first")


def _check(workers: int | None, executor: Executor | None) -> None:
    check_workers(workers)
    if executor is not None:
        check_executor(executor)

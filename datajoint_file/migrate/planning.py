"""Look at all old values before any is moved: how many, how large, in which way they come, and what is not there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.hooks.tables import Row
from datajoint_file.migrate.old_rows import OldRow, OldRows
from datajoint_file.migrate.originals import OF_ONE_ROW, Kind, as_file, digests
from datajoint_file.migrate.report import MigrationProblem, MigrationReport, amount
from datajoint_file.migrate.ways import Ways
from datajoint_file.model.wording import counted, format_size

_SAMPLE_ROWS, _SAMPLE_BYTES, _SAMPLE_SECONDS = 20, 64 * 2**20, 3.0
_AT_ONCE = 400


class Look:
    """What was found out of the old values."""

    def __init__(self, rows: OldRows, kind: Kind, statement: Any, ways: Ways) -> None:
        self._rows, self._kind, self._statement, self._how = rows, kind, statement, ways
        self._lock = Lock()
        self._size = self._count = 0
        self._ways = Counter[str]()
        self._problems: list[MigrationProblem] = []
        self._sample: list[OldRow] = []

    def over(self, rows: Iterable[OldRow], advance: Advance) -> None:
        """Look at rows."""
        waiting = iter(rows)
        while some := list(islice(waiting, _AT_ONCE)):
            self._sample += some[: _SAMPLE_ROWS - len(self._sample)]
            problems: dict[int, str] = {}
            jobs = [partial(self._look, number, row, problems) for number, row in enumerate(some)]
            run_all(jobs, self._statement.pipeline.workers, Stop())
            told = sorted(problems.items())
            self._problems += [MigrationProblem(self._rows.shown(some[number]), reason) for number, reason in told]
            advance(len(some))

    def _look(self, number: int, row: OldRow, problems: dict[int, str]) -> None:
        try:
            original = self._kind.original(row.old)
            way = self._how.told(original)
            with as_file(original.value, self._rows.names.name) as source:
                source = source.listed()
                cell = self._statement.cell(Row(0, self._rows.named(row)), self._rows.names.new)
                self._statement.pipeline.check(source, cell)
        except OF_ONE_ROW as error:
            problems[number] = str(error)
            return
        with self._lock:
            self._count += 1
            self._size += source.size or 0
            self._ways[way] += 1

    def report(self, attribute: str, problems: Sequence[MigrationProblem], empty: int) -> MigrationReport:
        """Return it as a plan, with the time that a sample has taken."""
        speed = self._speed()
        seconds = self._size / speed if speed else None
        notes = [f"{counted(empty, 'row')} without a value, which stay so"] if empty else []
        if seconds is not None and self._size:
            pace = f"{format_size(int(speed))}/s"
            notes.append(f"reading and hashing alone takes {seconds:,.0f} s, at {pace} as a sample had")
        how = ", ".join(f"{count} {way}" for way, count in sorted(self._ways.items()))
        return MigrationReport(
            "plan",
            attribute,
            f"{amount(self._count, self._size)} to be moved{f': {how}' if how else ''}",
            self._count,
            self._size,
            (*problems, *self._problems),
            tuple(notes),
            dict(self._ways),
            seconds,
        )

    def _speed(self) -> float:
        """Read a sample; return bytes a second."""
        begun, size = time.monotonic(), 0
        for row in self._sample:
            try:
                with as_file(self._kind.original(row.old).value, self._rows.names.name) as source:
                    size += sum(one for one, _ in digests(source, lambda _: None).values())
            except OF_ONE_ROW:
                continue
            if size > _SAMPLE_BYTES or time.monotonic() - begun > _SAMPLE_SECONDS:
                break
        return size / max(time.monotonic() - begun, 1e-6)

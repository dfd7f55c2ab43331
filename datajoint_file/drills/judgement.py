"""Judgement of a backup by the evidence of a drill: problems, what to do about them, and what is worth knowing.

A pure function: it asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from datajoint_file.doctor.check import Check
from datajoint_file.drills.comparison import Since
from datajoint_file.drills.report import DrilledTable, DrillReport, LostFiles
from datajoint_file.drills.rows import Unread
from datajoint_file.drills.tally import Span, Tally
from datajoint_file.errors import printable
from datajoint_file.model.metadata import format_timestamp
from datajoint_file.model.wording import RIGHT_PLACE, counted, spoken

_NAMED = 5

ORDER = (
    "dump the database first and copy the store second: objects are stored before their rows and never change, so a "
    "copy that is taken after the dump has all that the dump names"
)


_UNDATED = (
    "not every dump says when it was made: the date of the file stands for that, and a copy of the file may be younger."
    " `pg_dump --format=custom` and mysqldump say it"
)


@dataclass(slots=True)
class Evidence:
    """What a drill has seen."""

    dump: str
    store: str
    at: datetime
    limit: timedelta | None = None
    taken: datetime | None = None
    is_dated: bool = True  # each dump tells by itself when it was made
    broken: dict[str, str] = field(default_factory=dict)  # dumps, and why
    left_out: int = 0
    tables: dict[tuple[str, str], int] = field(default_factory=dict)
    schemas: list[str] = field(default_factory=list)
    marked: set[str] = field(default_factory=set)
    attributes: int = 0
    unread: list[Unread] = field(default_factory=list)
    tally: Tally | None = None
    seed: int = 0
    checked: int = 0
    size: int = 0
    interruption: str = ""
    since: Since | None = None
    why_not: str = ""  # the live database was not asked
    seconds: float = 0.0


def judge(evidence: Evidence) -> DrillReport:
    """Return what the evidence says."""
    tally, since = evidence.tally, evidence.since
    lost = since.total if since else Span()
    return DrillReport(
        dump=printable(evidence.dump),
        store=evidence.store,
        taken=evidence.taken,
        taken_by="as the dump says" if evidence.is_dated else "by the date of its file",
        at=evidence.at,
        problems=tuple(_problems(evidence)),
        notes=tuple(_notes(evidence)),
        findings=tuple(tally.findings) if tally else (),
        tables=tuple(_tables(evidence)),
        newest_file=_newest(tally) if tally else None,
        newest_object=tally.ledger.newest if tally else None,
        objects=tally.ledger.objects if tally else 0,
        checked=evidence.checked,
        size=evidence.size,
        seed=evidence.seed,
        is_compared=since is not None,
        lost=LostFiles(lost.files, lost.size, lost.oldest, lost.newest),
        seconds=evidence.seconds,
    )


def _problems(evidence: Evidence) -> Iterator[Check]:
    for name, why in evidence.broken.items():
        yield _failed("dump", f"{name}: {why}", "make the dump anew, and see that the program ends with 0")
    yield from _aged(evidence)
    tally = evidence.tally
    if tally is None:
        return
    for unread in evidence.unread:
        yield _failed("table", f"{unread.table} of the dump cannot be read: {unread.why}")
    if not evidence.attributes:
        yield _failed("empty", "the dump has no table with a `file` attribute", "is it the dump of the right database?")
    yield from _nothing(evidence, tally)
    yield from _objects(tally)
    if evidence.interruption:
        yield _failed("store", evidence.interruption)
    yield from _schemas(evidence)


def _aged(evidence: Evidence) -> Iterator[Check]:
    if evidence.limit is None or evidence.taken is None:
        return
    age = evidence.at - evidence.taken
    if age > evidence.limit:
        made = f"the dump was made {format_timestamp(evidence.taken)}"
        detail = (
            f"{made}, {spoken(timedelta(seconds=int(age.total_seconds())))} ago; allowed are {spoken(evidence.limit)}"
        )
        yield _failed("age", detail, "look why no newer one was made: the log of cron, or `systemctl list-timers`")


def _objects(tally: Tally) -> Iterator[Check]:
    counts = tally.counts
    if missing := counts["missing"]:
        stored = tally.there.files + tally.absent.files
        detail = f"{counted(missing, 'object')} of {stored:,} that rows of the dump name {_is(missing)} not in the copy"
        if not tally.there.files and missing > 1:
            yield _failed("missing", f"{detail}: not one is", RIGHT_PLACE)
        elif tally.is_copy_older and tally.absent.oldest:
            since = f"all were stored since {format_timestamp(tally.absent.oldest)}, after all that is there"
            yield _failed("order", f"{detail}; {since}: the copy looks older than the dump", ORDER)
        else:
            yield _failed(
                "missing", detail, "see what the copying leaves out, or `datajoint-file verify` the real store"
            )
    if damaged := sum(counts[kind] for kind in ("hash", "size", "extra")):
        detail = f"{counted(damaged, 'object')} of the copy {_is(damaged)} not what rows of the dump say"
        yield _failed(
            "damaged", detail, "`datajoint-file verify` tells whether the real store has them whole; copy anew"
        )
    if unreadable := counts["unreadable"]:
        yield _failed("unreadable", f"{counted(unreadable, 'object')} of the copy cannot be read")
    if bad := counts["row"]:
        yield _failed("row", f"{counted(bad, 'row')} of the dump cannot be used, in the real database perhaps as well")


def _nothing(evidence: Evidence, tally: Tally) -> Iterator[Check]:
    if any(span.files for span in tally.of_tables.values()):
        return
    if tally.foreign:
        detail = f"no row of the dump names a file of the project {printable(tally.project)}, whose store was copied"
        yield _failed("empty", detail, "give the copy of the store that these rows are of")
    elif evidence.since and _was_there(evidence, evidence.since.total):
        detail = f"no row of the dump names a file, and rows of the live database name {evidence.since.total.files:,}"
        yield _failed("empty", detail, "dump rows as well as tables: is there a --no-data or --schema-only?")


def _was_there(evidence: Evidence, lost: Span) -> bool:
    """Tell whether some of these files had been stored when the dump was made."""
    return lost.oldest is not None and (evidence.taken is None or lost.oldest < evidence.taken)


def _schemas(evidence: Evidence) -> Iterator[Check]:
    since, there = evidence.since, set(evidence.schemas)
    with_files = {schema for schema, has_files in since.schemas.items() if has_files} if since else set()
    for schema in sorted(with_files - there):
        detail = f"the schema {printable(schema)} is not in the dump: all its rows would be lost"
        yield _failed("schema", detail, "name it, or --all-databases, where the dump is made")
    odd = {one.table for one in evidence.unread}
    for schema, table in sorted(since.rows.keys() - evidence.tables.keys()) if since else ():
        called = f"{schema}.{table}"
        if since and schema in there and called not in odd and _was_there(evidence, since.lost.get(called, Span())):
            detail = f"the table {printable(called)} is not in the dump: all its rows would be lost"
            yield _failed("table", detail, "see what the dump leaves out: --ignore-table, --exclude-table, --tables")
    known = set(since.schemas) if since and not since.is_partial else evidence.marked
    for schema in sorted((evidence.marked & known) - there - with_files):
        detail = f"the schema {printable(schema)} is not in the dump, and the copy of the store says that it has files"
        yield _failed("schema", detail, "name it where the dump is made; if it was dropped, nothing is amiss")
    for unread in since.unread if since else ():
        if unread.schema not in there | evidence.marked:
            continue
        detail = f"{unread.table} of the live database cannot be read, so nobody knows what of it the dump lacks"
        yield _failed("sight", f"{detail}: {unread.why}", "run the drill as a user who may read all of it")


def _notes(evidence: Evidence) -> Iterator[Check]:
    tally, since = evidence.tally, evidence.since
    if evidence.why_not:
        yield _note("live", f"the live database was not asked: {evidence.why_not}")
    if not evidence.is_dated and evidence.taken:
        yield _note("age", _UNDATED)
    if evidence.left_out:
        yield _note("rights", f"{counted(evidence.left_out, 'statement')} on accounts and rights left out")
    if tally and tally.linked:
        yield _note("links", f"{counted(tally.linked, 'value')} linked: files outside the store are in no copy of it")
    for project, number in sorted(tally.foreign.items()) if tally else ():
        detail = f"{counted(number, 'file')} of the project {printable(project)}: its store has a backup of its own"
        yield _note("project", detail)
    yield from _unseen(evidence, since) if since else ()


def _unseen(evidence: Evidence, since: Since) -> Iterator[Check]:
    ours = {*evidence.schemas, *evidence.marked}
    if hidden := [one for one in since.unread if one.schema not in ours]:
        tables = counted(len(hidden), "table")
        yield _note("sight", f"{tables} of other schemas cannot be read, such as {hidden[0].table}: {hidden[0].why}")
    if since.is_partial:
        yield _note("sight", "this user does not see every schema of the live database: what is hidden was not asked")
    if others := sorted(name for name, has_files in since.schemas.items() if not has_files and name not in ours):
        shown = ", ".join(map(printable, others[:_NAMED]))
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        yield _note("schema", f"not in the dump, without files of the project: {shown}{more}")


def _tables(evidence: Evidence) -> Iterator[DrilledTable]:
    tally, since = evidence.tally, evidence.since
    if tally is None:
        return
    live = since.rows if since else {}
    for schema, table in sorted({*evidence.tables, *live}):
        called = f"{schema}.{table}"
        files = tally.of_tables.get(called, Span())
        lost = since.lost.get(called, Span()) if since else Span()
        rows, live_rows = evidence.tables.get((schema, table)), live.get((schema, table))
        yield DrilledTable(schema, table, rows, files.files, files.size, live_rows, lost.files, lost.size)


def _newest(tally: Tally) -> datetime | None:
    return max(filter(None, (tally.there.newest, tally.absent.newest)), default=None)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _failed(name: str, detail: str, fix: str = "") -> Check:
    return Check(name, "failed", detail, fix)


def _note(name: str, detail: str) -> Check:
    return Check(name, "warning", detail)

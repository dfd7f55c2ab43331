"""Sample, ledger and judgement of a drill, without any server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.drills.comparison import Since
from datajoint_file.drills.judgement import Evidence, judge
from datajoint_file.drills.ledger import Ledger
from datajoint_file.drills.rows import Unread
from datajoint_file.drills.sample import Sample
from datajoint_file.drills.tally import MOST_FINDINGS, Span, Tally
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.storage.backend import ObjectStat
from datajoint_file.verification.verification import FileValue

NOW = datetime(2026, 3, 2, tzinfo=timezone.utc)
HASH = "sha256:" + "0" * 64
HOME = "lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-"


def metadata_of(number: int, *, size: int = 1, files: int | None = None) -> FileMetadata:
    name = "m.zarr/" if files is not None else "x.dat"
    write_id = f"{number:026d}".translate(str.maketrans("0123456789", "abcdefghij"))
    moment = NOW + timedelta(seconds=number)
    return FileMetadata(f"{HOME}{write_id}/{name}", size, HASH, name.rstrip("/"), moment, None, files)


@dataclass
class Row:
    values: tuple[FileValue, ...]
    pipeline: Any = None

    def key(self) -> dict[str, Any]:
        return {"id": 1}

    def position(self) -> str:
        return ""

    def still_names(self, value: FileValue) -> bool:
        return True


def row_of(metadata: FileMetadata | None, table: str = "ephys.Recording") -> Row:
    return Row((FileValue(table, "raw", "raw", metadata.path if metadata else "", metadata, "no JSON", "ephys"),))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


def test_a_sample_has_the_extremes_of_each_attribute_and_is_drawn_again_by_its_seed() -> None:
    def drawn(seed: int) -> list[tuple[str, int]]:
        sample = Sample(20, 2, seed)
        for number in range(5_000):
            row = row_of(metadata_of(number, size=9 if number == 2_500 else 1))
            sample.offer(row, row.values[0])
        rare = row_of(metadata_of(7), "ephys.Rare")
        sample.offer(rare, rare.values[0])
        found = [(row.values[0].table, row.values[0].metadata) for row in sample.rows()]
        return [(table, round((metadata.timestamp - NOW).total_seconds())) for table, metadata in found if metadata]

    first = drawn(1)
    numbers = {number for table, number in first if table == "ephys.Recording"}
    assert {0, 2_500, 4_999} <= numbers
    assert 8 <= len(numbers) <= 10
    assert ("ephys.Rare", 7) in first
    assert first == drawn(1) != drawn(2)


def test_a_ledger_adds_up_directories_and_knows_sizes(ledger: Ledger) -> None:
    tree, file, other = metadata_of(1, size=30, files=2), metadata_of(2, size=5), metadata_of(3, size=7)
    keys = [(f"{tree.path}a", 10), (f"{tree.path}b/c", 20), (f"{tree.path[:-7]}~manifest", 99)]
    partial = metadata_of(5, size=1, files=1)
    keys += [(file.path, 5), (other.path, 6), (f"{partial.path}a", 1), (f"{partial.path[:-7]}~row", 9)]
    ledger.add_objects((ObjectStat(key, size, NOW) for key, size in keys), lambda _: None)
    assert (ledger.objects, ledger.newest) == (7, NOW)
    assert ledger.problem_of(tree) is None
    assert ledger.problem_of(file) is None
    beside = ledger.problem_of(partial)
    assert beside
    assert beside.kind == "missing", "what is beside a directory is not its manifest"
    wrong, gone = ledger.problem_of(other), ledger.problem_of(metadata_of(4))
    assert wrong
    assert gone
    assert (wrong.kind, wrong.found, gone.kind) == ("size", "6 bytes", "missing")
    ledger.name(file.path)
    assert (ledger.is_named(file.path), ledger.is_named(other.path)) == (True, False)


def evidence_of(ledger: Ledger, there: list[int], absent: list[int]) -> Evidence:
    ledger.add_objects((ObjectStat(metadata_of(n).path, 1, NOW) for n in there), lambda _: None)
    tally = Tally("lab", ledger)
    for number in (*there, *absent):
        list(tally.sound(row_of(metadata_of(number))))
    return Evidence("lab.sql", "file: /copy", NOW, taken=NOW, attributes=1, schemas=["ephys"], tally=tally)


@pytest.mark.parametrize(
    ("there", "absent", "name"),
    [([1, 2], [3, 4], "order"), ([1, 4], [3], "missing"), ([], [1, 2], "missing")],
)
def test_a_copy_that_looks_older_is_told_from_one_that_lost_objects(
    ledger: Ledger, there: list[int], absent: list[int], name: str
) -> None:
    [problem] = judge(evidence_of(ledger, there, absent)).problems
    assert problem.name == name


def test_findings_are_counted_and_the_first_of_them_kept(ledger: Ledger) -> None:
    report = judge(evidence_of(ledger, [1], list(range(2, MOST_FINDINGS + 52))))
    assert len(report.findings) == MOST_FINDINGS
    assert "1,050 objects of 1,051" in report.problems[0].detail


def test_schemas_that_are_missing_are_told_by_the_live_database_and_by_marks(ledger: Ledger) -> None:
    evidence = evidence_of(ledger, [1], [])
    evidence.marked = {"ephys", "video"}
    assert [one.name for one in judge(evidence).problems] == ["schema"], "nobody asked the live database"
    evidence.since = Since(schemas={"ephys": True})
    assert judge(evidence).problems == ()
    evidence.since = Since(schemas={"ephys": True}, is_partial=True)
    assert [one.name for one in judge(evidence).problems] == ["schema"], "it may be hidden"
    evidence.since = Since(schemas={"ephys": True, "video": False, "somebodys": False})
    report = judge(evidence)
    assert [one.name for one in report.problems] == ["schema"]
    assert "video" in report.problems[0].detail
    assert "somebodys" in report.notes[-1].detail
    evidence.since = Since(
        schemas={"ephys": True, "sound": True}, unread=[Unread("x", "x.T", "no"), Unread("ephys", "ephys.T", "no")]
    )
    assert [(one.name, one.detail.split()[0]) for one in judge(evidence).problems] == [
        ("schema", "the"),
        ("sight", "ephys.T"),
    ]


def test_age_is_a_problem_beyond_the_limit_only(ledger: Ledger) -> None:
    evidence = evidence_of(ledger, [1], [])
    evidence.taken, evidence.limit = NOW - timedelta(hours=37), timedelta(hours=36)
    report = judge(evidence)
    assert "1 day 13 hours ago; allowed are 1 day 12 hours" in report.problems[0].detail
    assert report.age == timedelta(hours=37)
    assert repr(report).startswith("<DrillReport: backup 1 day 13 hours old: 1 problem;")
    evidence.limit = timedelta(hours=38)
    assert judge(evidence)
    assert judge(evidence).to_pandas().empty


def test_a_row_that_is_no_file_and_a_file_of_another_project_are_told(ledger: Ledger) -> None:
    evidence = evidence_of(ledger, [1], [])
    assert evidence.tally
    list(evidence.tally.sound(row_of(None)))
    foreign = FileMetadata(metadata_of(5).path.replace("lab/", "other/", 1), 1, HASH, "x.dat", NOW, None)
    list(evidence.tally.sound(row_of(foreign)))
    report = judge(evidence)
    assert [one.name for one in report.problems] == ["row"]
    assert "1 file of the project other" in report.notes[-1].detail


def test_a_dump_without_files_of_the_project_or_without_a_table_is_a_problem(ledger: Ledger) -> None:
    def since(*numbers: int) -> Since:
        lost = Span()
        for number in numbers:
            lost.add(metadata_of(number))
        return Since(rows={("ephys", "Recording"): 1}, schemas={"ephys": True}, lost={"ephys.Recording": lost})

    evidence = evidence_of(ledger, [], [])
    evidence.tables = {("ephys", "Recording"): 0}
    assert judge(evidence)
    evidence.since = since(1)
    assert judge(evidence), "stored after the dump"
    evidence.since = since(-1, 1)
    assert "live database name 2" in judge(evidence).problems[0].detail
    foreign = FileMetadata(metadata_of(5).path.replace("lab/", "other/", 1), 1, HASH, "x.dat", NOW, None)
    assert evidence.tally
    list(evidence.tally.sound(row_of(foreign)))
    assert "of the project lab" in judge(evidence).problems[0].detail
    evidence = evidence_of(ledger, [3], [])
    evidence.since = since(-1)
    [problem] = judge(evidence).problems
    assert (problem.name, "ephys.Recording is not in the dump" in problem.detail) == ("table", True)
    evidence.since = since(1)
    assert judge(evidence)

"""Many objects examined at once: each once, within bounds of memory and budget; what a run finds, told to people."""

from __future__ import annotations

import errno
import json
import pickle
import threading
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from datajoint.errors import DataJointError
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import ObjectNotFoundError, StorageAccessError, StorageUnavailableError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.testing import Fault, FaultyBackend
from datajoint_file.testing.faults import raising
from datajoint_file.verification import Finding, VerifyReport
from datajoint_file.verification import verification as module
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.findings import Kind
from datajoint_file.verification.verification import FileValue, Verification

Stored = Callable[..., FileMetadata]
OnDisk = Callable[[FileMetadata], Path]
BOTH = pytest.mark.parametrize("workers", [1, 4])


@dataclass
class QueryRow:
    """A row of a table that is a list."""

    number: int
    pipeline: Pipeline
    values: tuple[FileValue, ...]
    is_current: bool = True

    def key(self) -> dict[str, Any]:
        return {"k": self.number}

    def position(self) -> str:
        return str(self.number)

    def still_names(self, value: FileValue) -> bool:
        return self.is_current


def rows_of(pipeline: Pipeline, *files: FileMetadata) -> list[QueryRow]:
    return [QueryRow(number, pipeline, (value_of(file),)) for number, file in enumerate(files)]


def value_of(metadata: FileMetadata) -> FileValue:
    return FileValue("lab.Recording", "raw", "raw", metadata.path, metadata)


def checked(
    rows: Any, level: Any = "content", workers: int = 2, budget: Budget | None = None, **hooks: Any
) -> Verification:
    verification = Verification(level, workers, budget or Budget(), **hooks)
    verification.run(rows)
    return verification


@pytest.fixture
def faulty(pipeline: Pipeline) -> FaultyBackend:
    """The pipeline's store, which counts and fails when told to."""
    backend = FaultyBackend(pipeline.backend)
    pipeline.stores._backends[pipeline.project] = backend
    return backend


@BOTH
def test_object_that_many_rows_name_is_opened_once(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend, workers: int
) -> None:
    files = [stored(), stored()]
    rows = [replace(row, number=number) for number, row in enumerate(rows_of(pipeline, *files) * 50)]
    verification = checked(rows, workers=workers)
    assert verification.checked == 100
    assert faulty.calls["open"] == 2


def test_rows_that_say_different_things_of_one_object_are_each_compared(pipeline: Pipeline, stored: Stored) -> None:
    file = stored(("a", b"spikes"))
    lying = replace(file, hash="sha256:" + "0" * 64)
    longer = replace(file, size=7)
    verification = checked(rows_of(pipeline, file, lying, longer, file))
    assert [(finding.kind, finding.key["k"]) for finding in verification.findings] == [("hash", 1), ("size", 2)]


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_bytes_are_counted_as_they_are_read(pipeline: Pipeline, stored: Stored, size: int) -> None:
    told: list[int] = []
    verification = checked(rows_of(pipeline, stored(("a", bytes(size)))), advance=told.append)
    assert not verification.findings
    assert verification.bytes == sum(told) == size


def test_object_longer_than_its_row_says_is_not_read(pipeline: Pipeline, stored: Stored, on_disk: OnDisk) -> None:
    file = stored(("a", b"spikes"))
    on_disk(file).unlink()
    on_disk(file).write_bytes(bytes(10**6))
    verification = checked(rows_of(pipeline, file))
    assert [(f.kind, f.expected, f.found) for f in verification.findings] == [("size", "6 bytes", "1000000 bytes")]
    assert verification.bytes == 0


@pytest.mark.parametrize("level", ["exists", "size"])
def test_cheap_levels_open_nothing(pipeline: Pipeline, stored: Stored, faulty: FaultyBackend, level: str) -> None:
    rows = rows_of(pipeline, stored(), stored())
    faulty.calls.clear()
    verification = checked(rows, level)
    assert faulty.calls == {"stat": 2}
    assert verification.bytes == 0


def test_directory_in_the_place_of_an_object_is_no_object(pipeline: Pipeline, stored: Stored, on_disk: OnDisk) -> None:
    file, _ = stored(), stored()
    on_disk(file).unlink()
    on_disk(file).mkdir()
    assert [finding.kind for finding in checked(rows_of(pipeline, file)).findings] == ["missing"]


def test_disk_that_fails_while_it_is_read_makes_the_object_unreadable(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend
) -> None:
    faulty.faults.append(Fault("read", action=raising(OSError(errno.EIO, "Input/output error"))))
    verification = checked(rows_of(pipeline, stored(), stored()), workers=1)
    (finding,) = verification.findings
    assert (finding.kind, finding.key["k"]) == ("unreadable", 0)
    assert "Input/output error" in finding.found


def test_object_that_is_called_missing_once_is_asked_for_again(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend
) -> None:
    faulty.faults.append(Fault("open", action=raising(ObjectNotFoundError("gone"))))
    assert not checked(rows_of(pipeline, stored())).findings


def test_single_refusals_are_findings_and_the_run_goes_on(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend
) -> None:
    refused = raising(StorageAccessError("may not be read"))
    faulty.faults += [Fault("open", call=call, action=refused) for call in (1, 2, 3, 5, 8)]
    verification = checked(rows_of(pipeline, *(stored() for _ in range(8))), workers=1)
    assert [finding.key["k"] for finding in verification.findings] == [0, 1, 2, 4, 7]
    assert {finding.kind for finding in verification.findings} == {"unreadable"}
    assert verification.is_complete


@BOTH
def test_lasting_outage_stops_the_run_before_the_first_object_it_hides(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend, workers: int
) -> None:
    file = stored()
    faulty.faults.append(Fault("stat", call=6, lasting=True, action=raising(StorageUnavailableError("no route"))))
    rows = rows_of(pipeline, *(replace(file, size=6, path=f"{file.path}{n}", hash=file.hash) for n in range(500)))
    for row in rows:
        row.is_current = False  # the objects are missing, and so are their rows
    verification = checked(rows, "exists", workers=workers)
    assert "10 objects in a row" in verification.interruption
    assert "no route" in verification.interruption
    assert not verification.is_complete
    assert not verification.findings
    assert verification.position is None or int(verification.position) <= 5
    assert faulty.calls["stat"] < 60


def test_row_that_is_gone_has_no_problem(pipeline: Pipeline, stored: Stored, on_disk: OnDisk) -> None:
    files = [stored() for _ in range(4)]
    rows = rows_of(pipeline, *files)
    for row, file in zip(rows, files, strict=True):
        on_disk(file).unlink()
        row.is_current = row.number % 2 == 0
    verification = checked(rows)
    assert [finding.key["k"] for finding in verification.findings] == [0, 2]
    assert verification.checked == 4


def test_finding_on_the_row_itself_needs_no_second_look(pipeline: Pipeline) -> None:
    value = FileValue("lab.Recording", "raw", "raw", "", None, "it is text")
    (finding,) = checked([QueryRow(7, pipeline, (value,), is_current=False)]).findings
    assert (finding.kind, finding.found) == ("row", "it is text")


class AskedInVain(QueryRow):
    """A row that the database cannot be asked for again."""

    def still_names(self, value: FileValue) -> bool:
        raise DataJointError("connection lost")


def test_lost_database_stops_the_run_and_what_was_found_is_kept(
    pipeline: Pipeline, stored: Stored, on_disk: OnDisk
) -> None:
    files = [stored() for _ in range(4)]
    for file in files[1:]:
        on_disk(file).unlink()
    rows = rows_of(pipeline, *files)
    rows[2] = AskedInVain(2, pipeline, rows[2].values)
    verification = checked(rows, workers=1)
    assert verification.interruption == "connection lost"
    assert [finding.key["k"] for finding in verification.findings] == [1]
    assert (verification.checked, verification.position, verification.is_complete) == (2, "1", False)


def test_database_lost_between_two_pages_stops_the_run(pipeline: Pipeline, stored: Stored) -> None:
    def rows() -> Iterator[QueryRow]:
        yield from rows_of(pipeline, *(stored() for _ in range(200)))
        raise DataJointError("connection lost")

    verification = checked(rows())
    assert verification.interruption == "connection lost"
    assert not verification.is_complete
    assert 0 < int(verification.position or 0) < verification.checked <= 200


def test_database_lost_when_unreadable_objects_are_looked_up_again_stops_the_run(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend
) -> None:
    faulty.faults.append(Fault("open", call=2, action=raising(StorageAccessError("may not be read"))))
    rows = rows_of(pipeline, stored(), stored())
    rows[1] = AskedInVain(1, pipeline, rows[1].values)
    verification = checked(rows, workers=1)
    assert verification.interruption == "connection lost"
    assert (verification.checked, verification.position, verification.is_complete) == (1, "0", False)


def test_database_that_answers_nothing_is_an_error(pipeline: Pipeline) -> None:
    def rows() -> Iterator[QueryRow]:
        yield from ()
        raise DataJointError("connection lost")

    with pytest.raises(DataJointError, match="connection lost"):
        checked(rows())


def test_while_one_object_is_slow_others_go_on_and_the_position_waits(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend
) -> None:
    gate, seen = threading.Event(), []
    faulty.faults.append(Fault("stat", action=lambda _: gate.wait(60)))

    def rows() -> Iterator[QueryRow]:
        for row in rows_of(pipeline, *(stored() for _ in range(30))):
            seen.append((verification.checked, len(verification._begun)))
            if row.number == 29:
                gate.set()
            yield row

    verification = Verification("content", 4, Budget())
    verification.run(rows())
    assert seen[-1][0] > 20  # all were checked but the first and those in flight
    assert seen[-1][1] == 29  # and none of them is behind the position, which waits for the first
    assert (verification.checked, verification.position) == (30, "29")


def test_position_waits_for_a_bounded_number_of_rows(
    pipeline: Pipeline, stored: Stored, faulty: FaultyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW", 10)
    gate, most = threading.Event(), []
    faulty.faults.append(Fault("open", action=lambda _: gate.wait(60)))

    def rows() -> Iterator[QueryRow]:
        for row in rows_of(pipeline, *(stored() for _ in range(30))):
            most.append(len(verification._begun))
            if row.number == 9:
                gate.set()
            yield row

    verification = Verification("content", 4, Budget())
    verification.run(rows())
    assert max(most) == 9
    assert verification.checked == 30


@BOTH
def test_rows_are_taken_as_they_are_needed(pipeline: Pipeline, stored: Stored, workers: int) -> None:
    files = [stored(("x", b"x")) for _ in range(40)]
    ahead = []

    def rows() -> Iterator[QueryRow]:
        for row in rows_of(pipeline, *files):
            ahead.append(row.number - verification.checked)
            yield row

    verification = Verification("content", workers, Budget())
    verification.run(rows())
    assert max(ahead) <= 2 * workers


def test_memory_does_not_grow_with_sound_rows(
    pipeline: Pipeline, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 500)
    monkeypatch.setattr(module, "_WINDOW", 100)  # a thread that is not given the processor holds so many up
    file = stored()

    def rows(count: int) -> Iterator[QueryRow]:
        for number in range(count):
            yield QueryRow(number, pipeline, (value_of(replace(file, hash=f"sha256:{number:064x}")),))

    def peak() -> int:
        tracemalloc.start()
        assert checked(rows(5_000), "exists").checked == 5_000
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    checked(rows(1000), "exists")
    assert any(peak() < 2_000_000 for _ in range(4)), "all threads of the process are counted: once must be enough"


def test_objects_known_to_be_fine_are_forgotten_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    remembered = module._Remembered()
    for number in range(100):
        remembered.add(b"%d" % number)
        assert all(b"%d" % n in remembered for n in range(max(0, number - 9), number + 1))
    assert b"0" not in remembered
    assert len(remembered._newer) + len(remembered._older) <= 20


@pytest.mark.parametrize("where", ["settled", "rows", "advance"])
def test_interrupt_comes_through_and_stops_the_workers(
    pipeline: Pipeline, stored: Stored, on_disk: OnDisk, where: str
) -> None:
    files = [stored(("x", bytes(3 * 2**20))) for _ in range(6)]
    on_disk(files[0]).unlink()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def rows() -> Iterator[QueryRow]:
        yield from rows_of(pipeline, *files)
        if where == "rows":
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        hooks: dict[str, Any] = {} if where == "rows" else {where: interrupt}
        checked(rows(), **hooks)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("verify")]


def test_database_is_kept_awake_while_nothing_is_asked_of_it(
    pipeline: Pipeline, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.001)
    called = threading.Event()
    verification = checked(rows_of(pipeline, stored()), advance=lambda _: called.wait(60), idle=called.set)
    assert called.is_set()
    assert verification.checked == 1


@BOTH
def test_bytes_planned_do_not_end_a_run_that_does_not_read_them(
    pipeline: Pipeline, stored: Stored, on_disk: OnDisk, workers: int
) -> None:
    """A row may say what it likes; and what is missing costs nothing."""
    lying = replace(stored(), size=10**18)
    gone = stored(("x", bytes(80)))
    on_disk(gone).unlink()
    sound = [stored(("x", bytes(30))) for _ in range(5)]
    verification = checked(rows_of(pipeline, lying, gone, *sound), workers=workers, budget=Budget(bytes=100))
    assert verification.bytes == 120
    assert [finding.kind for finding in verification.findings] == ["size", "missing"]
    assert verification.position == "5"
    assert not verification.is_complete


def test_workers_share_nothing_that_breaks(pipeline: Pipeline, stored: Stored) -> None:
    files = [stored(("x", bytes([n]) * 1000)) for n in range(30)]
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: checked(rows_of(pipeline, *files), workers=3), range(4)))
    assert [(verification.checked, verification.bytes) for verification in runs] == [(30, 30_000)] * 4


@pytest.mark.parametrize(
    ("value", "budget"),
    [
        (None, Budget()),
        (1, Budget(bytes=1)),
        ("17", Budget(bytes=17)),
        ("10GB", Budget(bytes=10**10)),
        ("10 gb", Budget(bytes=10**10)),
        ("1.5 MiB", Budget(bytes=1_572_864)),
        ("2 TB", Budget(bytes=2 * 10**12)),
        ("90s", Budget(seconds=90)),
        ("30 min", Budget(seconds=1800)),
        ("2h", Budget(seconds=7200)),
        ("0.5d", Budget(seconds=43200)),
        (timedelta(minutes=1), Budget(seconds=60)),
    ],
)
def test_budget_is_what_people_write(value: Any, budget: Budget) -> None:
    assert Budget.parse(value) == budget


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        True,
        False,
        1.5,
        "",
        "GB",
        "10 G",
        "5m",
        "-3 GB",
        "0s",
        "0 GB",
        "1 KM",
        "ten",
        "1h30",
        "٣",
        timedelta(0),
        [],
        b"1",
    ],
)
def test_what_is_no_budget_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"budget = .*: give bytes .* or a time"):
        Budget.parse(value)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_refused(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except ValueError:
        return
    assert budget.allows(0, 0)


def finding(kind: Kind = "size", **changes: Any) -> Finding:
    made = Finding(kind, "lab.Recording", "raw", {"k": 1}, "lab/k/x.dat", "5 bytes", "3 bytes")
    return replace(made, **changes)


def report(*findings: Finding, **changes: Any) -> VerifyReport:
    return replace(VerifyReport("content", 9, 2_000_000, 71.2, 0, findings), **changes)


def test_report_is_true_if_nothing_is_wrong() -> None:
    assert report()
    assert report(position="p", remaining=3)
    assert not report(finding())
    assert not report(interruption="the store cannot be reached")


def test_report_says_all_on_one_line_and_each_problem_on_another() -> None:
    assert str(report()) == "9 files checked (content, 2.0 MB read) in 1 min 11 s: no problem"
    text = str(report(finding(), finding("missing"), finding(), position="p", remaining=1, seconds=7300.0))
    assert text.splitlines() == [
        "9 files checked (content, 2.0 MB read) in 2 h 1 min: 3 problems (2 size, 1 missing); 1 file not checked yet",
        "  size        lab.Recording.raw (k=1): lab/k/x.dat: expected 5 bytes, found 3 bytes",
        "  missing     lab.Recording.raw (k=1): lab/k/x.dat: expected 5 bytes, found 3 bytes",
        "  size        lab.Recording.raw (k=1): lab/k/x.dat: expected 5 bytes, found 3 bytes",
    ]
    some = report(level="size", seconds=0.04, directories=1, members=19, checked=1, position="p", remaining=2)
    assert str(some).startswith("1 directory with 19 files checked (size) in 0.0 s: no problem")
    assert str(some).endswith("; 2 files or directories not checked yet")
    assert report(directories=2, members=1).summary.startswith("7 files and 2 directories with 1 file checked (")
    assert str(report(level="size", seconds=0.04)) == "9 files checked (size) in 0.0 s: no problem"


def test_long_report_is_shown_in_part() -> None:
    many = report(*[finding()] * 1000)
    assert str(many).splitlines()[-1] == "  and 980 more in .findings"
    assert len(repr(many)) < 200
    assert many._repr_html_().count("<tr>") == 21


def test_report_in_a_notebook_escapes_what_rows_hold() -> None:
    html = report(finding(path="<script>", found="<b>x</b>"))._repr_html_()
    assert "<script>" not in html
    assert "&lt;b&gt;x" in html


def test_key_with_a_line_break_stays_on_its_line() -> None:
    assert "\n" not in finding(key={"name": "a\nERROR", "long": "x" * 500}).message


def test_report_survives_pickle_and_json() -> None:
    key = {"day": date(2025, 1, 15), "id": uuid.UUID(int=7), "raw": b"\xff", "n": 3}
    made = report(finding(key=key))
    assert pickle.loads(pickle.dumps(made)) == made
    document = json.loads(json.dumps(made.to_dict()))
    assert document["ok"] is False
    assert document["findings"][0]["key"] == {
        "day": "2025-01-15",
        "id": "00000000-0000-0000-0000-000000000007",
        "raw": "ff",
        "n": 3,
    }
    assert document["findings"][0]["advice"].startswith("it was cut short or replaced")


def test_findings_and_reports_are_frozen() -> None:
    with pytest.raises(AttributeError):
        finding().kind = "hash"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        report().checked = 0  # type: ignore[misc]

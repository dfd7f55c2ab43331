"""Populate, three-part make, worker processes, deletion: what DataJoint does around the rows."""

from __future__ import annotations

import os
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store, over_local_and_s3

CONTENT = b"raw bytes " * 5000


def make_tables(schema: dj.Schema, rows: int = 4) -> tuple[Any, Any]:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    @schema
    class Simple(dj.Computed):
        definition = """
        -> Recording
        ---
        pid : int32
        result : file
        """

        def make(self, key: dict[str, Any]) -> None:
            content = (Recording & key).fetch1("raw").read()
            self.insert1({**key, "pid": os.getpid(), "result": ("result.bin", content[::-1])})

    Recording.insert([{"k": k, "raw": ("raw.bin", CONTENT + b"%d" % k)} for k in range(rows)])
    return Recording, Simple


@over_local_and_s3
def test_populate_stores_what_make_inserts(schema: dj.Schema, store: Store) -> None:
    _, computed = make_tables(schema)
    computed.populate()
    results = {row["k"]: row["result"].read() for row in computed.to_dicts()}
    assert results == {k: (CONTENT + b"%d" % k)[::-1] for k in range(4)}


@over_local_and_s3
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_populate_in_worker_processes_after_the_parent_used_the_store(schema: dj.Schema, store: Store) -> None:
    recording, computed = make_tables(schema)
    assert (recording & "k=0").fetch1("raw").read() == CONTENT + b"0"  # the parent's store is open before the fork
    computed.populate(processes=2)

    rows = computed.to_dicts()
    assert {row["k"]: row["result"].read() for row in rows} == {k: (CONTENT + b"%d" % k)[::-1] for k in range(4)}
    assert os.getpid() not in {row["pid"] for row in rows}


def test_three_part_make_compares_references_and_inserts(schema: dj.Schema, store: Store) -> None:
    Recording, _ = make_tables(schema, 2)

    @schema
    class ThreePart(dj.Computed):
        definition = """
        -> Recording
        ---
        size : int32
        result : file
        """

        def make_fetch(self, key: dict[str, Any]) -> tuple[Any, ...]:
            return ((Recording & key).fetch1("raw"),)

        def make_compute(self, key: dict[str, Any], raw: Any) -> tuple[Any, ...]:
            return len(raw.read()), raw.read().upper()

        def make_insert(self, key: dict[str, Any], size: int, content: bytes) -> None:
            self.insert1({**key, "size": size, "result": ("upper.bin", content)})

    ThreePart.populate()
    assert {ref.read() for ref in ThreePart.to_arrays("result")} == {(CONTENT + b"%d" % k).upper() for k in range(2)}


def test_a_failing_make_leaves_no_row_and_its_error_is_recorded(schema: dj.Schema, store: Store) -> None:
    Recording, _ = make_tables(schema, 1)

    @schema
    class Failing(dj.Computed):
        definition = """
        -> Recording
        ---
        result : file
        """

        def make(self, key: dict[str, Any]) -> None:
            self.insert1({**key, "result": "/nowhere/result.bin"})

    result = Failing.populate(suppress_errors=True)
    ((key, message),) = result["error_list"]
    assert key == {"k": 0}
    assert "SourceNotFoundError" in message
    assert "/nowhere/result.bin does not exist" in message
    assert len(Failing()) == 0
    assert Recording.fetch1("raw").exists()


def test_errors_cross_process_borders(schema: dj.Schema, store: Store) -> None:
    Recording, _ = make_tables(schema, 2)

    @schema
    class Failing(dj.Computed):
        definition = """
        -> Recording
        ---
        result : file
        """

        def make(self, key: dict[str, Any]) -> None:
            self.insert1({**key, "result": "/nowhere/result.bin"})

    result = Failing.populate(processes=2, suppress_errors=True, return_exception_objects=True)
    assert {type(error) for _, error in result["error_list"]} == {datajoint_file.errors.SourceNotFoundError}


def test_delete_cascades_and_leaves_the_bytes(schema: dj.Schema, store: Store) -> None:
    recording, computed = make_tables(schema)
    computed.populate()
    ref = (computed & "k=1").fetch1("result")
    before = store.object_keys()

    (recording & "k=1").delete()
    assert len(recording()) == len(computed()) == 3
    assert store.object_keys() == before
    assert ref.exists()
    (computed & "k=2").delete_quick()
    assert store.object_keys() == before


def test_a_deleted_key_can_be_inserted_again(schema: dj.Schema, store: Store) -> None:
    Recording, _ = make_tables(schema, 1)
    Recording.delete()
    Recording.insert1({"k": 0, "raw": ("raw.bin", b"second")})
    assert Recording.fetch1("raw").read() == b"second"


def test_jobs_are_reserved_and_completed(schema: dj.Schema, store: Store) -> None:
    _, computed = make_tables(schema, 2)
    computed.populate(reserve_jobs=True)
    assert len(computed()) == 2

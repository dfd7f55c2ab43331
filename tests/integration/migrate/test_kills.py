"""``kill -9`` in the middle of each step: doing the step again ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Migration
from datajoint_file.insert.statement import Statement
from datajoint_file.migrate import changing, moving
from datajoint_file.migrate import migration as migrating
from datajoint_file.migrate.changing import Exchange
from datajoint_file.migrate.moving import Mover
from datajoint_file.migrate.note_table import NoteTable
from tests.integration.collector.collecting import in_child
from tests.projects import Store, connect
from tests.tables import recording_of

CONTENTS = {key: b"%d" % key * 100 for key in range(30)}


@pytest.fixture
def table(schema: dj.Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(moving, "BATCH_ROWS", 7)
    made = recording_of(schema, "id : int32\n---\nraw : varchar(300)")
    for key, content in CONTENTS.items():
        (tmp_path / str(key)).write_bytes(content)
    made.insert({"id": key, "raw": str(tmp_path / str(key))} for key in CONTENTS)
    return made


def killed(
    table: Any, database: Any, store: Store, step: str, owner: Any, name: str, call: int, instead: Any = None
) -> bool:
    """Do a step in another process, which is killed at the *call*-th call of a function, or does *instead*."""

    def die() -> None:
        connection = connect(database)
        datajoint_file.configure(store.configuration(), connection=connection)
        migration = Migration(dj.FreeTable(connection.connection, table.full_table_name), "raw")
        original, calls = getattr(owner, name), []

        def counted(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)

        setattr(owner, name, instead or counted)
        getattr(migration, step)()

    return in_child(die) == signal.SIGKILL


def test_run_is_killed_again_and_again(table: Any, database: Any, store: Store, columns: Any) -> None:
    points = [
        (changing, "run", 1),
        *([(changing, "run", 2)] if table.connection.adapter.backend == "postgresql" else []),
        (changing, "refresh", 4),
        (Statement, "claim", 1),
        (Mover, "_update", 5),
        (NoteTable, "upsert", 2),
        (Mover, "_update", 9),
        (Mover, "move", 1),
    ]
    for owner, name, call in points:
        assert killed(table, database, store, "run", owner, name, call), (name, call)
    migration = Migration(table, "raw")
    report = migration.run()
    assert report, report
    assert report.rows < len(CONTENTS), "what was done is not done again"
    assert migration.check()
    assert columns(table).contents("raw__file") == CONTENTS
    assert datajoint_file.verify(table)
    assert migration.finish()


def test_finish_and_back_are_killed_at_each_statement(table: Any, database: Any, store: Store, columns: Any) -> None:
    migration = Migration(table, "raw")
    assert migration.run()
    assert migration.check()
    for step, kept, new in (("finish", "raw__before", "raw"), ("back", "raw", "raw__file")):
        kills = 0
        for call in range(1, 20):
            if not killed(table, database, store, step, changing, "run", call):
                break
            kills += 1
            names = set(Migration(table, "raw")._table.heading.names)
            assert names in ({"id", "raw", "raw__file"}, {"id", "raw", "raw__before"})
            getattr(migration, "back" if step == "finish" else "finish")()
        assert kills >= 4
        assert getattr(migration, step)()
        changing.refresh(table())
        assert columns(table).contents(new) == CONTENTS
        assert {Path(path).name for path in columns(table).values(kept).values()} == set(map(str, CONTENTS))


def test_forget_after_a_finish_that_was_killed_leaves_a_history_that_can_be_undone(
    table: Any, database: Any, store: Store
) -> None:
    migration = Migration(table, "raw")
    assert migration.run()
    (table & "id = 3").delete(prompt=False)
    assert migration.check()
    assert killed(table, database, store, "finish", migrating, "rename_in_history", 1)
    assert migration.stage == "swapped"
    assert migration.forget()
    assert datajoint_file.undelete(table, since="1 h")
    assert (table & "id = 3").fetch1("raw").read() == CONTENTS[3]


def test_back_that_was_killed_takes_note_of_files_that_came_just_before_the_exchange(
    table: Any, database: Any, store: Store
) -> None:
    migration = Migration(table, "raw")
    assert migration.run()
    assert migration.check()
    assert migration.finish()

    def late(self: Exchange, *args: Any, **options: Any) -> None:
        dj.FreeTable(self._connection, table.full_table_name).update1({"id": 1, "raw": ("own", b"own")})
        exchange(self, *args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    exchange = Exchange.back
    assert killed(table, database, store, "back", Exchange, "back", 1, late)
    assert migration.stage == "beside"
    assert migration.back()
    assert (ran := migration.run()), ran
    assert (table & "id = 1").fetch1("raw__file").read() == b"own"

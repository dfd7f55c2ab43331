"""Attacks on what keeps notes: through names, keys and values that reach SQL, stores and messages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import (
    DestinationError,
    InvalidKeyError,
    UnsafePathError,
    UnsupportedValueError,
)
from datajoint_file.model.object_keys import check_object_key
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.storage.remote.client_errors import scrubbed, translation
from tests.security.attacks import attacks
from tests.security.conftest import Arena, by_database, on_disk
from tests.security.test_secrets import PASSWORD, Scene, over_databases_and_stores, scene  # noqa: F401


# 1: host/side.py keeps the password of the database in a plain dictionary, `SecondConnection._conn_info`.
@over_databases_and_stores
@attacks(37)
def test_what_the_package_keeps_shows_no_secret(scene: Scene) -> None:  # noqa: F811
    scene.table.insert1({"k": 1, "raw": ("one.bin", b"one")})
    scene.table.fetch1("raw").read()
    scene.evidence.add_everything_of_the_package()
    scene.evidence.add_reachable("plan", gc.plan(scene.instance.connection))
    scene.evidence.check()
    assert PASSWORD in scene.evidence.secrets


# 2: host/tablekeys.py hands the user's own key values to DataJoint's restrictions, which put what is no text into SQL
# as it is. A key from JSON can be a list.
@by_database
@attacks(47)
@pytest.mark.parametrize("how", [{}, {"skip_duplicates": True}, {"replace": True}], ids=str)
def test_list_as_a_key_is_no_statement(arena: Arena, how: dict[str, Any]) -> None:
    table = arena.schema(type("Victim", (dj.Manual,), {"definition": "label : varchar(90)\n---\nraw = null : file"}))
    table.insert1({"label": "victim", "raw": ("x", b"x")}, skip_duplicates=True)
    name = table().full_table_name.replace('"', "")
    drop = f"')));DELETE FROM {name};COMMIT;-- "  # PostgreSQL's driver sends all of it, and the rows are gone
    for label in ([drop], (drop,), {"a": drop}, {drop}):
        with pytest.raises(InvalidKeyError):
            table.insert1({"label": label, "raw": ("x", b"x")}, **how)
        assert table.to_arrays("label").tolist() == ["victim"]


# 3: storage/foreign.py hides the cause that holds a URL with a password, and shows the URL in the message.
@attacks(39)
@pytest.mark.parametrize(
    "said", ["http://anna:SECRET@proxy:3128", "https://SECRET@github.example/x", "s3://a:S/SECRET@h"]
)
def test_user_of_a_url_is_not_in_a_message(said: str) -> None:
    assert "SECRET" not in scrubbed(OSError(f"Cannot connect to {said}"))
    assert "SECRET" not in str(translation("lab/x", OSError(f"Cannot connect to {said}")))


# 4: keys.py takes components that begin or end with a dot, which `encode_component` never writes: hidden files of
# others in the root, and `...`, of which Windows and SMB make `..` or nothing.
@attacks(3, 8, 20)
@pytest.mark.parametrize("path", ["lab/.../x", "lab/x./y", "lab/.ssh/id_rsa", "lab/.datajoint/secret", "lab/x/y."])
def test_component_that_no_writer_makes_is_no_path(path: str) -> None:
    with pytest.raises(UnsafePathError):
        check_object_key(path)


# 7: pipeline.py names destinations and files in messages as they are.
@on_disk
@attacks(6, 50)
def test_messages_about_destinations_are_printable(arena: Arena, tmp_path: Path) -> None:
    directory = tmp_path / "a\n2026 ERROR"
    directory.mkdir()
    ref: FileRef = arena.fetch(arena.insert(("zero\u200bwidth", b"x")))
    (directory / "x").write_bytes(b"other")
    (directory / "y").mkdir()
    (directory / "y" / "zero\u200bwidth").mkdir()
    for destination in (directory / "x", directory / "y"):
        with pytest.raises(DestinationError) as caught:
            ref.download(destination)
        assert str(caught.value).isprintable()


# 8: host/books.py takes the names of all schemas on the server that have a table `~file_intent`, and
# `SecondConnection.table` (DataJoint's make_full_table_name) does not double quotes in them; MySQL's side connection
# takes several statements at once. Whoever may create a database runs SQL as the user who collects.
@by_database
@attacks(47, 48, 49)
def test_name_of_a_foreign_schema_is_no_statement_of_the_collector(arena: Arena) -> None:
    query, rows = arena.connection.query, arena.row_keys()
    mark = "`" if arena.connection.adapter.backend == "mysql" else '"'
    bait, end = f"z{arena.schema.database[-4:]}", "#" if mark == "`" else "--"
    evil = f"{bait}{mark}.{mark}t{mark} LIMIT 0;DELETE FROM {arena.schema.database}.recording;{end}"
    quoted = f"{mark}{evil.replace(mark, 2 * mark)}{mark}"
    assert len(evil) < 64
    query(f"CREATE SCHEMA {bait}")
    query(f"CREATE TABLE {bait}.t (number INT, path TEXT, size INT, state TEXT, lease_until TIMESTAMP)")
    query(f"CREATE SCHEMA {quoted}")
    query(f"CREATE TABLE {quoted}.{mark}~file_intent{mark} (number INT)")
    try:
        with suppress(Exception):
            gc.plan(arena.connection, grace=timedelta(0), allow_short_grace=True)
        assert arena.row_keys() == rows
    finally:
        query(f"DROP TABLE {quoted}.{mark}~file_intent{mark}")
        query(f"DROP TABLE {bait}.t")
        query(f"DROP SCHEMA {bait}")
        query(f"DROP SCHEMA {quoted}")


# 9: a Staged that somebody has made up is inserted as it is, with whatever path it names.
@by_database
@attacks(19, 20)
@pytest.mark.parametrize("path", ["../outside.txt", "another/x/y", "lab/a\nb"])
def test_forged_staged_value_is_refused(arena: Arena, path: str) -> None:
    rows = arena.row_keys()
    k = 1000
    staged = datajoint_file.stage(arena.table, {"k": k}, "raw", ("x", b"x"))
    for write in (staged.write, replace(staged.write, number=0)):
        forged = replace(staged, metadata=replace(staged.metadata, path=path), write=write)
        with pytest.raises(UnsupportedValueError):
            arena.table.insert1({"k": k, "raw": forged})
        assert arena.row_keys() == rows

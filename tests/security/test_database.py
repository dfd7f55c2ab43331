"""Attacks on the database by names, keys and media types: parameters of statements, never parts of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import File, gc
from datajoint_file.errors import CollectionRefusedError, DataJointFileError, MetadataError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.store_marks import MarkStore
from tests.projects import connect, unique
from tests.security.attacks import attack, attacks
from tests.security.conftest import BYSTANDER, Arena, by_database

SQL = [
    attack(47, "x'); DROP TABLE labelled;--", name="ends a value"),
    attack(47, "' OR '1'='1", name="always true"),
    attack(47, '" OR ""="', name="double quotes"),
    attack(47, "`; DROP TABLE labelled; --", name="backtick"),
    attack(47, "x' UNION SELECT 1,2 -- ", name="union"),
    attack(47, "%s %(label)s %% %d", name="printf"),
    attack(47, "{0} {label} {{}}", name="format"),
    attack(47, "$1 ? :label @x", name="placeholders"),
    attack(47, "$$x$$", name="dollar quotes"),
    attack(47, "/* x */ # y -- z", name="comments"),
    attack(47, "x;SELECT pg_sleep(9)", name="second statement"),
    attack(47, "NULL", name="null"),
    attack(47, "é'ß\u4e2d\U0001f600", name="letters of every length"),
]


@pytest.fixture(scope="module")
def labelled(arena: Arena) -> Any:
    """A table whose key is a text."""
    definition = "label : varchar(200)\n---\nraw = null : file"
    return arena.schema(type("Labelled", (dj.Manual,), {"definition": definition}))


@by_database
@pytest.mark.parametrize("text", SQL)
def test_key_and_name_are_only_values_to_every_statement(arena: Arena, labelled: Any, text: str) -> None:
    name = text.replace("/", "|")
    others = len(labelled())
    key = {"label": text}
    labelled.insert1({**key, "raw": (name, b"first")})
    labelled.insert1({**key, "raw": (name, b"skipped")}, skip_duplicates=True)
    assert (labelled & key).fetch1("raw").read() == b"first"
    labelled.update1({**key, "raw": File(b"second", name=name, mime_type="text/x;a='\";--")})
    labelled.insert1({**key, "raw": (name, b"third")}, replace=True)
    ref = (labelled & key).fetch1("raw")
    assert (ref.original_name, ref.read()) == (name, b"third")
    assert labelled.validate([{**key, "raw": (name, b"x")}]).is_valid
    assert len(labelled()) == others + 1
    arena.connection.query(f"DELETE FROM {labelled().full_table_name}")
    arena.check_unharmed()


@by_database
@attacks(47)
def test_backslash_in_a_key_ends_no_value(arena: Arena, labelled: Any) -> None:
    others = len(labelled())
    for text in ("a\\", "a\\' OR 1=1 -- ", "\\'; DROP TABLE labelled; --"):
        labelled.insert1({"label": text, "raw": ("x", b"x")})
        labelled.insert1({"label": text, "raw": ("x", b"y")}, skip_duplicates=True)
    assert len(labelled()) == others + 3
    arena.connection.query(f"DELETE FROM {labelled().full_table_name}")


@by_database
@attacks(47)
def test_field_of_a_row_is_only_a_value_to_a_restriction(arena: Arena) -> None:
    name = 'it\'s "100%"; -- x'
    k = arena.insert((name, b"x"))
    assert (arena.table & {"raw.original_name": name}).to_arrays("k").tolist() == [k]
    assert len(arena.table & {"raw.original_name": "' OR '1'='1"}) == 0


@pytest.fixture
def odd_schema(arena: Arena, request: pytest.FixtureRequest) -> Iterator[Any]:
    instance = connect(arena.database)
    datajoint_file.configure(arena.store.configuration(), connection=instance)
    schema = instance.Schema(unique("schema") + request.param)
    yield schema
    schema.drop(prompt=False)
    instance.connection.close()


@by_database
@pytest.mark.parametrize(
    "odd_schema",
    [attack(49, ending) for ending in ("-x", "/x", "a'b", ";x", "#x", "~x", "a\\b", "=x", "*")],
    indirect=True,
)
def test_name_of_a_schema_is_one_component_of_the_key(arena: Arena, odd_schema: Any) -> None:
    table = odd_schema(type("Recording", (dj.Manual,), {"definition": "k : int32\n---\nraw : file"}))
    table.insert1({"k": 1, "raw": ("x", b"x")})
    ref = table.fetch1("raw")
    assert ref.read() == b"x"
    assert ref.path.split("/")[2] == "objects"
    assert ref.path.count("/") == 5
    assert not set(ref.path) & set("#'\\;*")


@by_database
@attacks(49)
def test_tables_of_every_tier_have_places_of_their_own(arena: Arena) -> None:
    paths = []
    for base in (dj.Manual, dj.Lookup, dj.Imported, dj.Computed):
        table = arena.schema(type(f"T{base.__name__}", (base,), {"definition": "k : int32\n---\nraw : file"}))
        table.insert1({"k": 1, "raw": ("x", b"x")}, allow_direct_insert=True)
        paths.append(table.fetch1("raw").path)
    places = {path.split("/")[3] for path in paths}
    assert places == {"TManual-raw", "TLookup-raw", "TImported-raw", "TComputed-raw"}
    assert not any(set(path) & set("#~_") for path in places)


@by_database
@pytest.mark.parametrize(
    "text",
    [
        attack(22, '{"path": ' + "[" * 5000 + "]" * 5000 + "}", name="nested 5000 times"),
        attack(22, '{"size": ' + "9" * 5000 + "}", name="size of 5000 digits"),
        attack(22, '{"path": "' + "x" * 5_000_000 + '"}', name="path of 5 MB"),
    ],
)
def test_row_that_no_parser_takes_harms_no_other(arena: Arena, text: str) -> None:
    try:
        k = arena.plant(text)
    except Exception:  # of the driver: some databases refuse such JSON themselves
        arena.check_unharmed()
        return
    with pytest.raises((MetadataError, ValueError, RecursionError)):  # the last two are of the driver's own parser
        arena.fetch(k).read()
    assert (arena.table & {"k": 1}).fetch1("raw").read() == BYSTANDER
    arena.check_unharmed()


def intents(arena: Arena) -> list[tuple[Any, ...]]:
    """Return the rows of the schema's journal, past the package."""
    table = f"{arena.quote(arena.schema.database)}.{arena.quote('~file_intent')}"
    return list(arena.connection.query(f"SELECT path, state FROM {table}").fetchall())


class _RollBack(Exception):
    pass


@by_database
@pytest.mark.parametrize("text", SQL)
def test_key_and_name_are_only_values_to_the_journal(arena: Arena, labelled: Any, text: str) -> None:
    row = {"label": text, "raw": (text.replace("/", "|"), text.encode())}
    before = intents(arena)
    with suppress(_RollBack), arena.connection.transaction:
        labelled.insert1(row)
        raise _RollBack
    ((path, state),) = set(intents(arena)) - set(before)
    assert state == "stored"
    stored = arena.store.object_keys()
    labelled.insert1(row)
    after = [(known, state) for known, state in intents(arena) if state != "reclaimed"]
    assert (labelled.fetch1("raw").path, after) == (path, [known for known in before if known[1] != "reclaimed"])
    assert arena.store.object_keys() == stored
    arena.connection.query(f"DELETE FROM {labelled().full_table_name}")


FORGED_INTENTS = [
    attack(48, "{bystander}", "stored", name="object of a row"),
    attack(48, "{bystander}", "begun", name="object of a row, as if it were on its way"),
    attack(48, "{project}/../outside.txt", "stored", name="outside"),
    attack(48, "../outside.txt", "begun", name="outside of everything"),
    attack(48, "/etc/hostname", "stored", name="absolute"),
    attack(48, "{project}/*", "stored", name="glob"),
    attack(48, "{project}", "stored", name="project"),
    attack(48, "{project}/", "stored", name="all of the project"),
    attack(48, "another/x/y", "stored", name="other project"),
    attack(48, "{bystander}/../bystander.txt", "stored", name="the long way round"),
    attack(48, "x'); DROP TABLE recording;--", "stored", name="SQL"),
]


@by_database
@pytest.mark.parametrize(("path", "state"), FORGED_INTENTS)
def test_forged_intent_makes_the_collector_delete_nothing(arena: Arena, path: str, state: str) -> None:
    path = path.format(project=arena.store.project, bystander=arena.stored_json(1)["path"])
    forge(arena, path, state, "not JSON at all")
    with suppress(DataJointFileError):  # what it makes of a forgery is its business: to refuse is fine
        collect(arena)
    assert named(arena) <= set(arena.store.object_keys())
    arena.check_unharmed()
    table = f"{arena.quote(arena.schema.database)}.{arena.quote('~file_intent')}"
    arena.connection.query(f"DELETE FROM {table} WHERE write_id = %s", ("a" * 26,))


def collect(arena: Arena) -> None:
    """Collect; again if another test has declared or dropped something on this server while that was looked at."""
    mark_store = MarkStore(pipeline_of(arena.connection).backend, arena.store.project)
    dropped = {mark.registration.schema for mark in mark_store.read()[0]} - {arena.schema.database}
    options: dict[str, Any] = {"grace": timedelta(0), "allow_short_grace": True, "dropped": sorted(dropped)}
    for _ in range(20):
        try:
            gc.execute(gc.plan(arena.connection, **options), force=True)
            return
        except CollectionRefusedError as refused:
            if "meanwhile" not in str(refused):
                raise
    pytest.fail("something is altered all the time")


def named(arena: Arena) -> set[str]:
    return {arena.stored_json(k)["path"] for k in arena.row_keys()}


@by_database
@attacks(48)
def test_collector_that_forgeries_are_tried_on_does_delete_what_was_given_up(arena: Arena) -> None:
    before = set(arena.store.object_keys())
    with suppress(_RollBack), arena.connection.transaction:
        arena.insert(("given up", b"x"))
        raise _RollBack
    (given_up,) = {key for key in arena.store.object_keys() if key.endswith("given%20up")} - before
    table = f"{arena.quote(arena.schema.database)}.{arena.quote('~file_intent')}"
    arena.connection.query(f"UPDATE {table} SET lease_until = '2001-01-01'")
    collect(arena)
    assert given_up not in arena.store.object_keys()
    assert named(arena) <= set(arena.store.object_keys())
    arena.check_unharmed()


def forge(arena: Arena, path: str, state: str, metadata: str) -> None:
    """Write an intent as somebody does who has SQL."""
    columns = "write_id, path, table_name, attribute, key_digest, state, metadata, holder, lease_until, begun_at"
    table = f"{arena.quote(arena.schema.database)}.{arena.quote('~file_intent')}"
    values = ("a" * 26, path, "recording", "raw", "a" * 16, state, metadata, "nobody", "2001-01-01", "2001-01-01")
    arena.connection.query(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(values))})", values)

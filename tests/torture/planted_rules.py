"""Planted bugs against three rules: absence is never evidence, look at all claims and the object, refuse without sight.

Each is found by one case of its own. What is changed here are the places that each rule stands on.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

from datajoint_file import Link, gc
from datajoint_file.collector import books, collection, make_plan, preflight, server_facts, workers
from datajoint_file.config import parse_settings
from datajoint_file.errors import ConfigurationError, LeaseLostError, OutcomeUnknownError, StorageError
from datajoint_file.insert import staged, uploads
from datajoint_file.journal import commit_outcome, store_marks
from datajoint_file.journal.journal import Write
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline import adoption, pipeline, writes
from datajoint_file.sql.mysql import MySQL
from datajoint_file.sql.postgresql import PostgreSQL
from datajoint_file.storage.bucket import backend as bucket
from datajoint_file.storage.obstore import selection
from datajoint_file.storage.remote import readahead
from datajoint_file.transfer.sources import as_source
from tests.torture.operations import Insert, RolledBack
from tests.torture.planting import HOUR, Bug, Hunt, changed, deleted, inserted, is_gone, problems_of
from tests.torture.scenes import ADOPTION_SECONDS
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.surroundings import Change, Neighbour
from tests.torture.values import Violation
from tests.torture.world import World
from tests.wire.answers import Fault

KEY = {"subject": 1, "session": 1}


def _surrounded(*changes: Change) -> Hunt:
    """Hunt with something around the project: what must be refused then is."""

    def hunt(world: World, seed: int) -> list[Violation]:
        inserted(world)
        deleted(world)
        found = [problem for what in changes for _, problem in world.surroundings.change(what, ends=False)]
        world.clear()
        return problems_of("surroundings", seed, found)

    return hunt


def _rolled_back(world: World, content: bytes, table: str = "Recording") -> None:
    with suppress(RolledBack), world.user.connection.transaction:
        world.user.tables[table].insert1({**KEY, "data": ("a.dat", content)})
        raise RolledBack


# ---- Absence is never evidence ----


def _gone_is_dropped() -> AbstractContextManager[None]:
    original: Any = preflight._Case.object_to

    def object_to(self: Any, refusal: Any, keys: Any, *, waived: bool) -> None:
        original(self, refusal, keys, waived=waived or refusal.kind == "gone")

    return changed(preflight._Case, "object_to", object_to)


def _gone_is_committed() -> AbstractContextManager[None]:
    return changed(commit_outcome, "_was_committed", lambda *_: True)


def _lost_moments(world: World, seed: int) -> list[Violation]:
    """A server that has lost its last moments has neither intent nor row: nobody knows what became of the commit."""
    path = inserted(world)["path"]
    world.database.run(f"DELETE FROM {world.raw.name('Recording')}")
    write = Write(world.schema_names[0], 2**40, path[-30:-4], "nobody", "recording", "data", path)
    error = OutcomeUnknownError("as if")
    error.writes = [write]
    told = commit_outcome.resolve(error, connection=world.other.connection).value
    return problems_of("outcome", seed, [] if told == "unknown" else [f"without a row the answer is {told}"])


def _older_dump_believed() -> AbstractContextManager[None]:
    return changed(preflight, "_judge_mark", lambda *_: None)


def _restored_books(world: World, seed: int) -> list[Violation]:
    """The store knows an epoch that the database does not: it was restored from an older dump."""
    inserted(world)
    table = world.database.quoted(world.schema_names[0], "~file_registry")
    kept = world.database.run(f"SELECT epoch, token FROM {table}")
    world.database.run(f"UPDATE {table} SET token = 'another'")
    plan = gc.plan(world.other.connection, progress=False)
    for epoch, token in kept:
        world.database.run(f"UPDATE {table} SET token = %s WHERE epoch = %s", (token, epoch))
    return problems_of("restored", seed, [] if plan.refusals else ["the collector works with an older dump"])


def _retention_ignored() -> AbstractContextManager[None]:
    original: Any = collection.Collection.graces
    none = property(lambda self: original.fget(self)._replace(retention=0.0))
    return changed(collection.Collection, "graces", none)


def _deleted_just_now(world: World, seed: int) -> list[Violation]:
    metadata = inserted(world)
    deleted(world)
    for seconds in (HOUR, HOUR, HOUR):
        world.other.collect(seconds)
    return problems_of("retention", seed, ["it was deleted within its retention"] * is_gone(world, metadata))


@contextmanager
def _links_taken_for_objects() -> Iterator[None]:
    """Let the collector take whatever a history names for an object that an insert has made."""
    with changed(books, "is_candidate", lambda *_: True), changed(workers, "is_candidate", lambda *_: True):
        yield


def _linked_and_gone(world: World, seed: int) -> list[Violation]:
    """A file of the project was linked, and its row deleted long ago: nobody but its owner removes it."""
    world.clear()
    world.user.tables["Recording"].insert1({**KEY, "data": Link(world.originals.add(b"raw data"))})
    deleted(world)
    for seconds in (2 * GRACE_SECONDS, 2 * GRACE_SECONDS, HOUR):
        world.other.collect(seconds)
    return problems_of("links", seed, list(world.originals.lost()))


def _client_clock() -> AbstractContextManager[None]:
    return changed(PostgreSQL, "age", lambda self, moment: f"({time.time()} - EXTRACT(EPOCH FROM {moment}))")


def _clock_ahead(world: World, seed: int) -> list[Violation]:
    """An upload was given up just now, by the database's clock; this machine's is a month ahead."""
    world.clear()
    before, true = set(world.place.objects.keys()), time.time
    _rolled_back(world, b"a recording")
    stored = set(world.place.objects.keys()) - before
    assert stored
    with changed(time, "time", lambda: true() + 30 * 86_400):
        world.other.collect(0)
    return problems_of(
        "clock", seed, ["it was deleted within its grace"] * (not stored <= set(world.place.objects.keys()))
    )


# ---- All claims, and the object itself ----


def _others_intents_ignored() -> AbstractContextManager[None]:
    original: Any = collection.Collection.intent_books

    def intent_books(self: Any, tables: Any) -> list[Any]:
        return [book for book in original(self, tables) if not book.schema.endswith("_other")]

    return changed(collection.Collection, "intent_books", intent_books)


def _claimed_elsewhere(world: World, seed: int) -> list[Violation]:
    """A deleted file is on its way into a row of another schema, whose intent says so: it must be kept."""
    metadata = inserted(world)
    deleted(world)
    world.age(2 * GRACE_SECONDS)
    _rolled_back(world, b"other", "Archive")
    table = world.database.quoted(world.schema_names[1], "~file_intent")
    world.database.run(f"UPDATE {table} SET path = %s, state = 'sharing'", (metadata["path"],))
    for seconds in (0, HOUR):
        world.other.collect(seconds)
    return problems_of("claim", seed, ["an object that an intent names was deleted"] * is_gone(world, metadata))


def _object_not_looked_at() -> AbstractContextManager[None]:
    return changed(staged.Staged, "require_stored", lambda *_: None)


def _staged_and_gone(world: World, seed: int) -> list[Violation]:
    """What was staged is gone when its row is inserted: no row may be without its object."""
    world.clear()
    table = world.user.tables["Recording"]
    staged = world.user.subject.staged(table, KEY, "data", b"x" * 1000)
    world.place.objects.delete([staged.metadata.path])
    with suppress(LeaseLostError):
        table.insert1({**KEY, "data": staged})
    return problems_of("staged", seed, ["a row without its object was inserted"] * len(list(world.raw.rows())))


def _left_object_unread() -> AbstractContextManager[None]:
    return changed(adoption, "prove", lambda *_: True)


def _damaged_leftover(world: World, seed: int) -> list[Violation]:
    """What an earlier attempt has left was damaged since, to the same size: it must not be adopted."""
    world.clear()
    content = b"x" * 1000
    _rolled_back(world, content)
    [key] = world.place.objects.keys()
    world.place.objects.put(key, b"y" * 1000)
    world.age(ADOPTION_SECONDS)
    world.other.tables["Recording"].insert1({**KEY, "data": ("a.dat", content)})
    [row] = world.raw.rows()
    is_whole = world.place.objects.get(row.values["data"]["path"]) == content
    return problems_of("adoption", seed, [] if is_whole else ["a row has taken a damaged object"])


def _hashed_for_each() -> AbstractContextManager[None]:
    def alike(store: Any, upload: Any, left: Any, *advance: Any) -> Iterator[Any]:
        for one in left:
            yield from adoption.alike(store, upload, [one], *advance)

    return changed(uploads, "alike", alike)


def _many_leftovers(world: World, seed: int) -> list[Violation]:
    """A source is read twice at most, to be hashed and to be sent, whatever is left of earlier attempts."""

    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            self.count += len(content)
            return content

    world.clear()
    for letter in (b"a", b"b", b"c", b"d"):
        _rolled_back(world, letter * 100_000)
    source = Counting(b"x" * 100_000)
    world.user.tables["Recording"].insert1({**KEY, "data": ("a.dat", source)})
    is_too_much = source.count > 200_000
    return problems_of("leftovers", seed, [f"{source.count} bytes of 100000 were read"] * is_too_much)


def _no_commit_beside() -> AbstractContextManager[None]:
    """Leave the second connection as a server may have it that begins sessions without autocommit."""
    original: Any = MySQL.prepare

    def prepare(self: Any, driver: Any, lock_seconds: float) -> None:
        original(self, driver, lock_seconds)
        with driver.cursor() as cursor:
            cursor.execute("SET SESSION autocommit = 0")

    return changed(MySQL, "prepare", prepare)


def _noted_beside(world: World, seed: int) -> list[Violation]:
    """An intent can be seen by everybody before the first byte is sent, so an insert finds and claims it."""
    world.subject.restarted(world.user.connection)
    problems = []
    try:
        inserted(world)
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        world.subject.restarted(world.user.connection)
    return problems_of("autocommit", seed, problems)


# ---- Answers of the store ----


def _last_answer_believed() -> AbstractContextManager[None]:
    return changed(bucket.BucketBackend, "_require_stored", lambda *_: SimpleNamespace(tag=""))


def _doubt_is_failure() -> AbstractContextManager[None]:
    return changed(writes.Writes, "_prove_stored", lambda *_: False)


@contextmanager
def _short_answer_believed() -> Iterator[None]:
    def opened(key: str, read: Any, size: int, **options: Any) -> Any:
        cache = readahead.cache_of(lambda start, stop: bytes(read(start, stop)), size, **options)
        return readahead.ReadAheadFile(cache, size)

    with ExitStack() as stack:
        for module in (bucket, selection):
            stack.enter_context(changed(module, "opened", opened))
        yield


def _lied_to(world: World, fault: Fault, requests: str, *, times: int = 1, is_done: bool = True) -> None:
    cast("Any", world.place.proxy).spoil(fault, requests, times=times, is_done=is_done)


def _piped(world: World) -> pipeline.Pipeline:
    """Return a pipeline to the world's project through fsspec, whose client reads no answer by itself."""
    storage = {**world.place.storage, "engine": "fsspec"}
    return pipeline.Pipeline(parse_settings({"project": {"name": world.place.project}, "storage": storage}, "the test"))


def _stored(world: World, size: int) -> FileMetadata:
    piped = _piped(world)
    cell = Cell(world.schema_names[0], "Recording", "data", (KeyValue("subject", "int", 1),))
    return piped.ingest(piped.plan(as_source(("a.dat", b"x" * size)), cell))


def _completed_by_nobody(world: World, seed: int) -> list[Violation]:
    """Somebody else answers to the end of a large upload, of which the store has never heard."""
    world.clear()
    problems = []
    _lied_to(world, "foreign", r"^POST .*uploadId=", times=100, is_done=False)
    with suppress(StorageError):
        found = _stored(world, 7 * 2**20)
        problems = ["an upload has succeeded, and there is no object"] * is_gone(world, found.to_json())
    world.be_honest()
    return problems_of("complete", seed, problems)


def _answer_lost(world: World, seed: int) -> list[Violation]:
    """The store has an object, and its answer is lost: the insert must find out."""
    world.clear()
    _lied_to(world, "lost", r"^PUT /[^?]*/objects/[^?]*(\?x-id=PutObject)?$", times=1)
    problems = []
    try:
        Insert("new", ((1, 1),)).run(world.user)
    except StorageError as error:
        problems.append(f"the object is there, and the insert has failed: {error}")
    world.be_honest()
    return problems_of("doubt", seed, problems)


def _answer_cut(world: World, seed: int) -> list[Violation]:
    """What is read from an open file is all of it, or an error."""
    world.clear()
    metadata, problems = _stored(world, 1000), []
    with suppress(StorageError), _piped(world).open(metadata) as file:
        _lied_to(world, "empty", r"^GET /[^?]*/objects/", times=100)
        content = file.read()
        problems = [f"{len(content)} bytes of 1000 were read"] * (len(content) != 1000)
    world.be_honest()
    return problems_of("short", seed, problems)


# ---- No collector without full sight ----


def _hidden_unmissed() -> AbstractContextManager[None]:
    return changed(server_facts, "require_sight", lambda snapshot: None)


def _short_sighted(world: World, seed: int) -> list[Violation]:
    """A user who does not see the transactions of others must not collect."""
    name = f"{world.user_name}_short"
    world.database.run(f"CREATE ROLE {name} LOGIN PASSWORD 'none'; GRANT pg_read_all_data TO {name}")
    connection = world.connect(name, "none").connection
    kinds = {refusal.kind for refusal in gc.plan(connection, progress=False).refusals}
    connection.close()
    world.subject.restarted(connection)
    world.database.run(f"DROP OWNED BY {name}; DROP ROLE {name}")
    problems = [] if "hidden-transactions" in kinds else [f"the collector refuses for {kinds or 'nothing'}"]
    return problems_of("sight", seed, problems)


@contextmanager
def _nested_accepted() -> Iterator[None]:
    with (
        changed(store_marks.MarkStore, "above", lambda self: ""),
        changed(make_plan, "_refuse_inner_project", lambda key: None),
    ):
        yield


def _other_projects_mark_accepted() -> AbstractContextManager[None]:
    return changed(store_marks.MarkName, "is_of", lambda *_: True)


def _under_another_name(world: World, seed: int) -> list[Violation]:
    """A place belongs to the project whose marks are there: another name must not insert."""
    inserted(world)
    other = Neighbour(world, world.address, world.place.storage, "another-name")
    problems = ["a project of another name has stored a file there"]
    with suppress(ConfigurationError):
        other.insert()
        other.leave()
        other.close()
        return problems_of("foreign", seed, problems)
    other.close()
    return []


def _one_side_tells() -> AbstractContextManager[None]:
    """Leave no mark where somebody else has one."""
    original: Any = store_marks.MarkStore.write

    def write(self: Any, mark: Any) -> None:
        us = mark.registration.identity
        if not any(other.registration.identity != us for other in self.read()[0]):
            original(self, mark)

    return changed(store_marks.MarkStore, "write", write)


def _others_unjudged() -> AbstractContextManager[None]:
    return changed(preflight, "_judge_others", lambda *_, **__: None)


BUGS: dict[str, Bug] = {
    "gone schema taken for dropped": Bug(_gone_is_dropped, _surrounded("rename")),
    "commit believed without its row": Bug(_gone_is_committed, _lost_moments),
    "older dump believed": Bug(_older_dump_believed, _restored_books),
    "grace from client clock": Bug(_client_clock, _clock_ahead),
    "collector takes a link for its own": Bug(_links_taken_for_objects, _linked_and_gone),
    "retention ignored": Bug(_retention_ignored, _deleted_just_now),
    "intents of other schemas ignored": Bug(_others_intents_ignored, _claimed_elsewhere),
    "claim without a look at the object": Bug(_object_not_looked_at, _staged_and_gone),
    "adopted unread": Bug(_left_object_unread, _damaged_leftover),
    "source hashed for each leftover": Bug(_hashed_for_each, _many_leftovers),
    "second connection without autocommit": Bug(_no_commit_beside, _noted_beside, database="mysql"),
    "answer to the last part ignored": Bug(_last_answer_believed, _completed_by_nobody, store="s3"),
    "stored, and told as failed": Bug(_doubt_is_failure, _answer_lost, store="s3"),
    "short answer believed": Bug(_short_answer_believed, _answer_cut, store="s3"),
    "hidden transactions not missed": Bug(_hidden_unmissed, _short_sighted),
    "nested projects accepted": Bug(_nested_accepted, _surrounded("inner", "outer")),
    "mark of another project accepted": Bug(_other_projects_mark_accepted, _under_another_name),
    "conflict told to one side": Bug(_one_side_tells, _surrounded("rival")),
    "other databases unjudged": Bug(_others_unjudged, _surrounded("clone", "rival")),
}

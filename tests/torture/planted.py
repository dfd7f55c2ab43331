"""Bugs planted on purpose, one change each, and where the harness must find them. It is trusted if it finds all.

Each is a context manager that changes the package, and a hunt: cases that break something only while it is changed.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from itertools import cycle
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import datajoint_file
from datajoint_file import gc
from datajoint_file.collector import books, collection, evidence, execute_plan, make_plan, references, server_facts
from datajoint_file.config.secrets import reveal
from datajoint_file.errors import CollectionRefusedError, MetadataError, StorageError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.insert import table_hooks, uploads
from datajoint_file.journal import history, intent_table, journal
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.transactions import transaction_for
from datajoint_file.model import metadata
from datajoint_file.pipeline import pipeline, reads, stored_ref, writes
from datajoint_file.sql import dialect_of
from datajoint_file.storage import wrappers
from datajoint_file.storage.disk import backend as local
from datajoint_file.storage.disk import drafts, publishing
from datajoint_file.transfer import fetch, hashing
from tests.servers import Servers
from tests.torture import planted_migrations, planted_places, planted_rules, planted_trees, power
from tests.torture.bare import Database
from tests.torture.baseline import path_out_of_the_store
from tests.torture.damage import Damages
from tests.torture.operations import Copy, Revert, RolledBack
from tests.torture.planting import HOUR, Bug, changed, deleted, inserted, is_gone, problems_of, scenes
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.values import Cell, Kind, Violation
from tests.torture.world import World

LATER = ("cache entry without digest", "fs.rm instead of exact delete")
"""Bugs of what does not exist yet, or cannot be expressed: there is no cache; object keys hold no globs."""


# ---- Writing: bytes ----


def _delete_on_any_exception() -> AbstractContextManager[None]:
    original = table_hooks._writing

    @contextmanager
    def writing(statement: Any, rows: Any, *, is_open: bool) -> Iterator[None]:
        try:
            with original(statement, rows, is_open=is_open):
                yield
        except Exception:
            backend = pipeline_of(statement.table.connection, statement.table.database).backend
            for entry in statement._entries.all:
                backend.delete(entry.intent.path)
            raise

    return changed(table_hooks, "_writing", writing)


def _doubt_is_success() -> AbstractContextManager[None]:
    """Count what was sent to its end as stored, whatever the answer, without looking."""
    return changed(writes.Writes, "_prove_stored", lambda self, upload, reader, error: True)


def _no_directory_flush() -> AbstractContextManager[None]:
    return changed(drafts, "flush_directory", lambda directory: None)


def _no_common_flush() -> AbstractContextManager[None]:
    return changed(drafts, "_flush_together", lambda *_: True)


def _names_before_bytes() -> AbstractContextManager[None]:
    """Flush a group by one call only when its files have their names."""
    original, is_too_early = drafts._flush_together, cycle((True, False))
    return changed(drafts, "_flush_together", lambda *args: next(is_too_early) or original(*args))


def _downloads_named_before_bytes() -> AbstractContextManager[None]:
    return changed(drafts, "_flush_together", lambda *_: True)


def _rename_instead_of_link() -> AbstractContextManager[None]:
    def rename(partial: str, name: str, directory: int | None) -> None:
        os.rename(partial, name, src_dir_fd=directory, dst_dir_fd=directory)

    return changed(drafts, "_link", rename)


def _fixed_temporary_name() -> AbstractContextManager[None]:
    @contextmanager
    def change() -> Iterator[None]:
        with (
            changed(drafts, "_CREATE", os.O_RDWR | os.O_CREAT | os.O_TRUNC),
            changed(publishing, "secrets", SimpleNamespace(token_hex="{:016}".format)),
        ):
            yield

    return change()


def _hash_before_sending() -> AbstractContextManager[None]:
    original = pipeline.Pipeline.ingest

    def ingest(self: Any, upload: Any, advance: Any = lambda _: None, group: Any = None) -> Any:
        with upload.source.open() as bare:
            reader = hashing.HashingReader(bare, lambda _: None)
            hashing.drain(reader)
        upload.source.rewind()
        made = original(self, upload, advance, group)
        return metadata.FileMetadata(
            made.path, reader.size, reader.hash, made.original_name, made.timestamp, made.mime_type
        )

    return changed(pipeline.Pipeline, "ingest", ingest)


def _overwriting(world: World, seed: int) -> list[Violation]:
    """An object that is there must not be replaced, nor two writers of one key be mixed."""
    with tempfile.TemporaryDirectory() as directory:
        backend = local.LocalBackend(Path(directory), "lab")
        problems = _twice(backend) + _at_once(backend)
    return problems_of("overwriting", seed, problems)


def _twice(backend: Any) -> list[str]:
    backend.upload(power.KEY, io.BytesIO(b"first"))
    with suppress(StorageError):
        backend.upload(power.KEY, io.BytesIO(b"second"))
    with backend.open(power.KEY) as file:
        return [] if file.read() == b"first" else ["an object was replaced"]


def _at_once(backend: Any) -> list[str]:
    """Let one writer stop in the middle while another of the same key runs to its end."""
    key = power.KEY.replace("recording.dat", "other.dat")

    class Stopping(io.BytesIO):
        is_fresh = True

        def read(self, size: int | None = -1, /) -> bytes:
            if self.is_fresh and self.tell():
                self.is_fresh = False
                backend.upload(key, io.BytesIO(b"b" * 50))
            return super().read(10)

    with suppress(StorageError):
        backend.upload(key, Stopping(b"a" * 100))
    if not backend.exists(key):
        return ["two writers of one key, and no object is there"]
    with backend.open(key) as file:
        content = file.read()
    return [] if content in (b"a" * 100, b"b" * 50) else [f"two writers were mixed: {content[:20]!r}…"]


def _changing_source(world: World, seed: int) -> list[Violation]:
    """A stream that gives other bytes each time it is read: what is recorded must be what is stored."""

    class Changing(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            self.reads += bool(content)
            return bytes(byte ^ self.reads for byte in content)

    world.clear()
    world.user.tables["Recording"].insert1({"subject": 1, "session": 1, "data": ("a.dat", Changing(b"x" * 5000))})
    [row] = world.raw.rows()
    content = world.place.objects.get(row.values["data"]["path"]) or b""
    same = world.subject.describes(row.values["data"], content)
    return problems_of("changing source", seed, [] if same else ["the recorded hash is not that of the stored bytes"])


def _history_broken() -> AbstractContextManager[None]:
    """Let the actor that inserts a file again find nothing to insert."""
    return changed(datajoint_file, "history", lambda *_, **__: [])


# ---- Reading ----


def _no_digest_check() -> AbstractContextManager[None]:
    @contextmanager
    def change() -> Iterator[None]:
        with (
            changed(hashing.VerifyingReader, "_check", lambda self, **_: None),
            changed(fetch, "require_hash", lambda *_: None),
            changed(fetch, "require_size", lambda *_: None),
        ):
            yield

    return change()


def _damaged(world: World, seed: int) -> list[Violation]:
    damages = Damages(world, seed)
    damages.prepare()
    return next((found for number in range(40) if (found := damages.run(number))), [])


def _download_to_final_name() -> AbstractContextManager[None]:
    @contextmanager
    def atomic_write(target: Path, finish: object, *, replaces: bool) -> Iterator[drafts.Draft]:
        target.unlink(missing_ok=True)
        draft = drafts.Draft(str(target), str(target), nullcontext)
        yield draft
        draft.close()

    return changed(reads, "atomic_write", atomic_write)


def _path_unchecked() -> AbstractContextManager[None]:
    @contextmanager
    def change() -> Iterator[None]:
        with (
            changed(metadata, "check_object_key", lambda key: key),
            changed(local, "check_object_key", lambda key: key),
        ):
            yield

    return change()


def _outside(world: World, seed: int) -> list[Violation]:
    """A row that names a file outside the store must not be read."""
    world.clear()
    problems: list[str] = []
    with suppress(MetadataError):
        problems += path_out_of_the_store(world, f"{world.place.project}/../secret.txt")
    return problems_of("path from the row", seed, problems)


def _pickled_filesystem() -> AbstractContextManager[None]:
    def reduce(self: Any) -> Any:
        settings = self._pipeline().settings
        secrets = reveal(settings.storage.credentials, settings.directory)
        return type(self), (self.metadata, f"{self.pipeline}{secrets}")

    return changed(stored_ref.StoredRef, "__reduce__", reduce)


# ---- The protocol ----


def _intent_after_upload() -> AbstractContextManager[None]:
    """Note an upload only when it is complete."""
    original, after = journal.JournalEntries.begin, journal.JournalEntries.flush
    begun: dict[int, Any] = {}

    def begin(self: Any, some: Any) -> None:
        begun[id(self)] = some

    def flush(self: Any, *lease: float) -> None:
        if id(self) in begun:
            original(self, begun.pop(id(self)))
        after(self, *lease)

    @contextmanager
    def change() -> Iterator[None]:
        with changed(journal.JournalEntries, "begin", begin), changed(journal.JournalEntries, "flush", flush):
            yield

    return change()


class _UsersConnection:
    """The user's own connection, in the place of the second one."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.adapter, self.dialect = connection.adapter, dialect_of(connection)

    def execute(self, sql: str, args: Any = ()) -> int:
        return int(self._connection.query(sql, tuple(args)).rowcount)

    def query(self, sql: str, args: Any = ()) -> list[Any]:
        return list(self._connection.query(sql, tuple(args)).fetchall())

    def query_many(self, sql: str, args: Any = ()) -> list[Any]:
        return self.dialect.results(self._connection.query(sql, tuple(args)))

    def transaction(self) -> AbstractContextManager[None]:
        return nullcontext()


def _intent_in_the_users_transaction() -> AbstractContextManager[None]:
    return changed(journal, "second_connection_of", _UsersConnection)


def _claim_outside_the_transaction() -> AbstractContextManager[None]:
    def claimed(self: Any, numbers: Any, holders: Any, *_: Any, **__: Any) -> tuple[set[int], set[int]]:
        sql, args = self._intents.delete_sql(numbers, holders)
        self._intents.second.execute(sql, args)
        return set(), set()

    return changed(journal.JournalEntries, "_claimed", claimed)


def _no_fencing_count() -> AbstractContextManager[None]:
    original: Any = journal.JournalEntries._claimed

    def claimed(*args: Any, **kwargs: Any) -> tuple[set[int], set[int]]:
        original(*args, **kwargs)
        return set(), set()

    return changed(journal.JournalEntries, "_claimed", claimed)


def _autocommit_insert() -> AbstractContextManager[None]:
    return changed(table_hooks, "transaction_for", lambda connection, *, is_open: nullcontext())


def _reconnecting() -> AbstractContextManager[None]:
    """Let DataJoint send an INSERT again in a transaction that the user opened with SQL of his own."""
    original = transaction_for
    return changed(
        table_hooks,
        "transaction_for",
        lambda connection, *, is_open: nullcontext() if is_open else original(connection, is_open=False),
    )


def _adopt_without_lock() -> AbstractContextManager[None]:
    """Take an object over whoever has it: no condition on the old intent, no lock."""

    def take_over(self: Any, old: int, number: int, intent: Any, holder: str, lease_seconds: float) -> bool:
        self.second.execute(f"DELETE FROM {self.table} WHERE number = %s", (old,))
        values = (intent.write_id, intent.path, intent.size, intent.metadata, number)
        assignments = "write_id = %s, path = %s, size = %s, metadata = %s, state = 'stored'"
        self.second.execute(f"UPDATE {self.table} SET {assignments} WHERE number = %s", values)
        return True

    return changed(intent_table.Intents, "take_over", take_over)


def _adopt_without_digest_check() -> AbstractContextManager[None]:
    return changed(uploads, "alike", lambda pipeline, upload, left, advance=None: left)


def _no_give_back() -> AbstractContextManager[None]:
    return changed(journal.JournalEntries, "give_back", lambda self, kept: None)


# ---- History ----


def _delete_unwritten() -> AbstractContextManager[None]:
    return changed(history.Event, "kept", {})


def _entries_outside_the_transaction() -> AbstractContextManager[None]:
    original = history.Event._run

    def run(self: Any, sql: str) -> Any:
        if not sql.startswith("INSERT"):
            return original(self, sql)
        return SimpleNamespace(rowcount=second_connection_of(self.connection).execute(sql.replace("%%", "%")))

    return changed(history.Event, "_run", run)


# ---- The collector ----


def _swallowed_scan_error() -> AbstractContextManager[None]:
    original = references.references

    def swallowed(*args: Any) -> Iterator[Any]:
        try:
            yield from original(*args)
        except Exception:
            return

    return changed(references, "references", swallowed)


def _ignored_lease() -> AbstractContextManager[None]:
    return _intents_that_are_due(f"state <> '{intent_table.RECLAIMED}'")


def _shares_taken_for_uploads() -> AbstractContextManager[None]:
    return _intents_that_are_due(f"state IN ('{intent_table.STORED}', '{intent_table.SHARING}')")


def _intents_that_are_due(condition: str) -> AbstractContextManager[None]:
    original: Any = books.IntentBook.__init__

    def init(self: Any, *args: Any) -> None:
        original(self, *args)
        self._is_due = condition

    return changed(books.IntentBook, "__init__", init)


@contextmanager
def _no_second_look() -> Iterator[None]:
    """Go by the evidence of the plan, however old."""
    original, seen = make_plan.judged, {}

    def judged(*args: Any, **options: Any) -> Any:
        seen["evidence"] = original(*args, **options)
        return seen["evidence"]

    with (
        changed(make_plan, "judged", judged),
        changed(execute_plan, "judged", lambda *args, **_: seen.get("evidence") or original(*args)),
    ):
        yield


@contextmanager
def _judged_before_checked() -> Iterator[None]:
    """Look who claims the objects, and then say that one is going to ask."""
    original, seen = execute_plan._Execution._mark_for_check, {}

    def checked(self: Any) -> Any:
        seen["evidence"] = make_plan.judged(self.collection, self.snapshot)
        return original(self)

    with (
        changed(execute_plan._Execution, "_mark_for_check", checked),
        changed(execute_plan, "judged", lambda *_, **__: seen["evidence"]),
    ):
        yield


def _transactions_ignored() -> AbstractContextManager[None]:
    return changed(server_facts, "oldest_transaction", lambda snapshot: (datetime(9000, 1, 1), ""))


def _one_schemas_entries() -> AbstractContextManager[None]:
    original: Any = collection.Collection.history_books
    return changed(
        collection.Collection,
        "history_books",
        lambda self, tables: [book for book in original(self, tables) if not book.schema.endswith("_other")],
    )


def _unexpired_ignored() -> AbstractContextManager[None]:
    lenient = evidence._TABLES.replace("MIN(expired)", "MAX(expired)").replace("MIN(due)", "MAX(due)")
    return changed(evidence, "_TABLES", lenient)


def _copies_ignored() -> AbstractContextManager[None]:
    """Read references of no schema but the first."""
    original = references.attributes

    def attributes(snapshot: Any) -> list[Any]:
        return [attribute for attribute in original(snapshot) if not attribute.schema.endswith("_other")]

    return changed(references, "attributes", attributes)


def _remains_kept() -> AbstractContextManager[None]:
    return changed(wrappers.LoggedBackend, "discard", lambda self, upload: None)


def _restored(world: World, seed: int) -> list[Violation]:
    """A row that is restored between plan and execution, from a dump: its object must be spared."""
    metadata = inserted(world)
    deleted(world)
    world.other.collect(2 * GRACE_SECONDS)
    world.age(2 * GRACE_SECONDS)
    plan = gc.plan(world.other.connection, progress=False)
    insert = f"INSERT INTO {world.raw.name('Recording')} (subject, session, data) VALUES (1, 1, %s)"
    world.database.run(insert, (json.dumps(metadata),))
    gc.execute(plan, force=True, progress=False)
    return problems_of("second look", seed, ["the object of a restored row was deleted"] * is_gone(world, metadata))


def _unreadable(world: World, seed: int) -> list[Violation]:
    """A table of which not all can be read may name any object: nothing is deleted."""
    metadata = inserted(world)
    insert = f"INSERT INTO {world.raw.name('Archive')} (subject, session, data) VALUES (0, 0, %s)"
    world.database.run(insert, (json.dumps({"no": "path"}),))
    Copy((1, 1), "Archive").run(world.user)
    deleted(world)
    for seconds in (2 * GRACE_SECONDS, HOUR, HOUR):
        with suppress(CollectionRefusedError):
            world.other.collect(seconds)
    return problems_of("scan", seed, ["the object of a row that was not read was deleted"] * is_gone(world, metadata))


def _deleted_twice(world: World, seed: int) -> list[Violation]:
    """A row that was deleted long ago, and one of another schema with the same object, just now: it must be kept."""
    metadata = inserted(world)
    Copy((1, 1), "Archive").run(world.user)
    deleted(world)
    world.age(2 * GRACE_SECONDS)
    deleted(world, "Archive")
    world.other.collect(0)
    world.other.collect(HOUR)
    return problems_of("retention", seed, ["it was deleted within its retention"] * is_gone(world, metadata))


def _seen_by_an_older_transaction(world: World, seed: int) -> list[Violation]:
    """A transaction that began before a row was deleted inserts its file again: it must be there."""
    metadata = inserted(world)
    old = Database(world.address)
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
    deleted(world)
    world.other.collect(2 * GRACE_SECONDS)
    world.other.collect(0)
    insert = f"INSERT INTO {world.raw.name('Backup')} (subject, session, data) VALUES (1, 1, %s)"
    old.run(insert, (json.dumps(metadata),))
    old.run("COMMIT")
    old.close()
    return problems_of("old transaction", seed, ["a row has lost its object"] * is_gone(world, metadata))


def _reverted(world: World, seed: int) -> list[Violation]:
    """A deleted file is inserted again just before the collector says that it asks about it: it must be spared."""
    metadata = inserted(world)
    deleted(world)
    world.other.collect(2 * GRACE_SECONDS)
    world.age(HOUR)
    check: Any = books.HistoryBook.check

    def revert_first(self: Any, *args: Any) -> Any:
        Revert("", (1, 1)).run(world.user)
        return check(self, *args)

    with changed(books.HistoryBook, "check", revert_first):
        gc.execute(gc.plan(world.other.connection, progress=False), force=True, progress=False)
    problems = ["the object of a row that shares it was deleted"] if is_gone(world, metadata) else []
    return problems_of("judgement", seed, problems if len(list(world.raw.rows())) == 1 else ["nothing was reverted"])


def _shared(world: World, seed: int) -> list[Violation]:
    """An intent that shares an object is given up: the object is not its own to delete."""
    world.clear()
    with suppress(RolledBack), world.user.connection.transaction:
        world.user.tables["Recording"].insert1({"subject": 1, "session": 1, "data": ("a.dat", b"x" * 1000)})
        raise RolledBack
    intents = world.database.quoted(world.schema_names[0], "~file_intent")
    world.database.run(f"UPDATE {intents} SET state = 'sharing'")
    before = world.place.objects.keys()
    world.other.collect(2 * GRACE_SECONDS)
    is_gone = world.place.objects.keys() != before
    return problems_of("sharing", seed, ["an object was deleted with an intent that only shared it"] * is_gone)


def _power_cut(world: World, seed: int) -> list[Violation]:
    return problems_of("power", seed, power.check(seed, 2, power.WAYS[:3]))


def _power_cut_together(world: World, seed: int) -> list[Violation]:
    return problems_of("power", seed, power.check(seed, 2, power.WAYS[3:]))


def _downloads_cut(world: World, seed: int) -> list[Violation]:
    with tempfile.TemporaryDirectory(prefix="torture-power-") as directory:
        problems = power.check_download(Path(directory), b"spikes" * 500, Random(seed), 0, together=True)
    return problems_of("power", seed, problems)


_CRASHES: tuple[Kind, ...] = ("crash-before", "crash-after")
_DROPS: tuple[Kind, ...] = ("drop-reply", "drop-reply-lasting", "drop-request")

BUGS: dict[str, Bug] = {
    "delete on any exception": Bug(_delete_on_any_exception, scenes("insert1", kinds=_DROPS)),
    "doubt is success": Bug(_doubt_is_success, scenes("insert1", kinds=("answer-instead",)), store="s3"),
    "history not written by delete": Bug(_delete_unwritten, scenes("delete", kinds=())),
    "entry outside the transaction": Bug(
        _entries_outside_the_transaction, scenes("delete", kinds=("error-before",)), database="mysql"
    ),
    "swallow scan error": Bug(_swallowed_scan_error, _unreadable),
    "ignore lease": Bug(_ignored_lease, scenes("insert1", kinds=("interleave-gc-now",))),
    "skip second look": Bug(_no_second_look, _restored),
    "judge before check": Bug(_judged_before_checked, _reverted),
    "open transactions ignored": Bug(_transactions_ignored, _seen_by_an_older_transaction),
    "entries of one schema only": Bug(_one_schemas_entries, _deleted_twice),
    "unexpired entries ignored": Bug(_unexpired_ignored, _deleted_twice),
    "shares taken for uploads": Bug(_shares_taken_for_uploads, _shared),
    "no directory fsync": Bug(_no_directory_flush, _power_cut),
    "no common flush": Bug(_no_common_flush, _power_cut_together),
    "names before bytes": Bug(_names_before_bytes, _power_cut_together),
    "downloads named before bytes": Bug(_downloads_named_before_bytes, _downloads_cut),
    "rename instead of link": Bug(_rename_instead_of_link, _overwriting),
    "fixed temp name": Bug(_fixed_temporary_name, _overwriting),
    "hash before instead of while sending": Bug(_hash_before_sending, _changing_source),
    "no digest check on read": Bug(_no_digest_check, _damaged),
    "download to final name": Bug(_download_to_final_name, scenes("download", kinds=("error-before", "crash-before"))),
    "path taken from row unchecked": Bug(_path_unchecked, _outside),
    "intent after upload": Bug(_intent_after_upload, scenes("insert1", kinds=_CRASHES)),
    "intent in the user's transaction": Bug(_intent_in_the_users_transaction, scenes("rollback", kinds=())),
    "intent delete outside the transaction": Bug(
        _claim_outside_the_transaction, scenes("insert1", "rollback", kinds=("error-before",))
    ),
    "autocommit insert": Bug(_autocommit_insert, scenes("insert1", kinds=_DROPS), database="mysql"),
    "reconnect re-execute": Bug(_reconnecting, scenes("own-sql", kinds=_DROPS), database="mysql"),
    "no fencing count": Bug(_no_fencing_count, scenes("insert1", kinds=("interleave-gc",))),
    "adopt without lock": Bug(_adopt_without_lock, scenes("adopt", kinds=("interleave-twin",))),
    "adopt without digest check": Bug(_adopt_without_digest_check, scenes("adopt-other", kinds=())),
    "multipart not aborted": Bug(_remains_kept, scenes("large", kinds=("torn-crash",)), store="s3"),
    "FileRef pickles the fs": Bug(_pickled_filesystem, scenes("download", kinds=()), store="s3"),
    "INSERT…SELECT ignored by gc": Bug(_copies_ignored, scenes("copy-schema", kinds=("interleave-copy",))),
    "skipped rows keep no intent": Bug(_no_give_back, scenes("skip", kinds=("interleave-writer",)), database="mysql"),
    **planted_rules.BUGS,
    **planted_trees.BUGS,
    **planted_places.BUGS,
    **planted_migrations.BUGS,
    "an actor that cannot act": Bug(_history_broken, scenes("gc-mark", kinds=("interleave-revert",))),
}


def hunt(servers: Servers, name: str, world_of: Callable[[Cell], World], seed: int) -> list[Violation]:
    """Plant a bug, hunt it, and return what was found."""
    bug = BUGS[name]
    world = world_of(Cell("file", bug.database, bug.store))
    world.collected.clear()
    with bug.plant():
        found = bug.hunt(world, seed)
    world.collected.clear()
    return found


def control(world: World, name: str, seed: int) -> list[Violation]:
    """Hunt a bug that is not planted: nothing may be found, or the hunt proves nothing."""
    return BUGS[name].hunt(world, seed)

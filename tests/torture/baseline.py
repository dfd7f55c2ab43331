"""The same invariants on DataJoint's own ``<object@store>``: what the harness must find if it is worth anything.

A part is found by tier 1 as it is run on our attribute (`sampled`); the rest needs a set-up of its own.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

import datajoint as dj

from tests.servers import Servers
from tests.torture import checks
from tests.torture.attempts import attempt, perform
from tests.torture.operations import Collect, Copy, Delete, Insert, Operation, Stage, Transaction, payload
from tests.torture.subjects import ObjectSubject
from tests.torture.values import Cell, Fault, Violation
from tests.torture.world import World

KEY = (1, 1)
REQUIRED = ("V1", "V2", "V3", "V4", "V5", "V7", "V13", "V20")

Scenario = Callable[[World], Iterator[str]]


def _do(world: World, *operations: Operation) -> None:
    for operation in operations:
        operation.run(world.user)


def _broken(world: World) -> Iterator[str]:
    """Yield each committed row whose object is gone."""
    observed = checks.observe(world)
    yield from (f"a committed row, and its object {key} is gone" for key in sorted(observed.references - observed.keys))


def blind_collector(world: World) -> Iterator[str]:
    """V1: the collector's user may not read a table: its references count as none."""
    _do(world, Insert("kept", (KEY,)))
    instance = _blind_instance(world)
    with suppress(Exception):
        world.subject.collect([instance.Schema(world.schema_names[0], create_schema=False)], instance.connection)
    instance.connection.close()
    yield from _broken(world)


def _blind_instance(world: World) -> dj.Instance:
    """Connect as a user who may do everything in the main schema but read one table."""
    database, schema, name = world.database, world.schema_names[0], f"{world.user_name}b"
    tables = [table for table in database.tables(schema) if table != "recording"]
    if database.is_postgresql:
        database.run(f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {name}")
    else:
        database.run(f"CREATE USER {name}@'%' IDENTIFIED BY 'x'; CREATE USER {name}@'localhost' IDENTIFIED BY 'x'")
    hosts = [name] if database.is_postgresql else [f"{name}@'%'", f"{name}@'localhost'"]
    for user in hosts:
        for table in tables:
            database.run(f"GRANT SELECT, INSERT, DELETE ON {database.quoted(schema, table)} TO {user}")
        database.run(f"GRANT INSERT ON {database.quoted(schema, 'recording')} TO {user}")
    return world.connect(name, "x")


def copied_elsewhere(world: World) -> Iterator[str]:
    """V2: a row that was copied into another schema still uses the object."""
    _do(world, Insert("kept", (KEY,)), Copy(KEY, "Archive"), Delete(KEY))
    world.collect_main()
    yield from _broken(world)


def insert_while_collecting(world: World) -> Iterator[str]:
    """V3: a row is committed between the collector's reading of rows and its listing of objects."""
    _do(world, Insert("old", ((2, 1),)))
    for step in range(1, 400):
        world.clear()
        actor: list[Any] = []
        outcome = attempt(
            world,
            Collect(),
            Fault("interleave-writer", step),
            lambda: actor.append(perform(world.other, Insert("new", (KEY,)))),  # noqa: B023 - called at once
        )
        if found := list(_broken(world)):
            yield f"{found[0]} ({outcome.trace[-1]})"
            return
        if not outcome.fired:
            return


def below_a_partition(world: World) -> Iterator[str]:
    """V4: what lies below a partition is never listed."""
    _do(world, Transaction((Insert("left", (KEY,)),), rolls_back=True))
    world.collect_main()
    observed = checks.observe(world)
    yield from (f"{key} is never collected" for key in observed.keys - observed.references)


def failed_insert(world: World) -> Iterator[str]:
    """V5: a duplicate, a rollback or a skipped row leaves an object that nothing knows of."""
    _do(world, Insert("kept", (KEY,)))
    before = checks.observe(world)
    for operation in (
        Insert("new", (KEY,)),
        Transaction((Insert("left", ((1, 2),)),), rolls_back=True),
        Insert("new", (KEY,), skip=True),
    ):
        perform(world.user, operation)
    yield from (message for _, message in checks.leftovers(world, checks.observe(world), before))


def lost_reply(world: World) -> Iterator[str]:
    """V6: the reply to an INSERT is lost; it is sent again, and the row that is there is reported as a duplicate."""
    yield from _after_lost_reply(world, Insert("new", (KEY,)), lambda outcome, there: outcome == "refused" and there)


def lost_reply_to_a_commit(world: World) -> Iterator[str]:
    """V8: the reply to a COMMIT is lost, and nobody can tell what became of it."""
    operation = Transaction((Insert("new", (KEY,)),))
    yield from _after_lost_reply(world, operation, lambda outcome, there: outcome == "unknown" and there)


def _after_lost_reply(world: World, operation: Operation, is_wrong: Callable[[str, bool], bool]) -> Iterator[str]:
    for step in range(1, 12):
        world.clear()
        outcome = attempt(world, operation, Fault("drop-reply", step), lambda: None)
        world.settle()
        rows = checks.observe(world).rows
        if is_wrong(outcome.ending, bool(rows)):
            yield f"the row is committed, and the caller was told: {outcome}"
            return


def lost_reply_to_a_staged_insert(world: World) -> Iterator[str]:
    """V7: the reply to the INSERT of a staged write is lost, and the object of the committed row is deleted."""
    for step in range(1, 8):
        world.clear()
        attempt(world, Stage("new", KEY), Fault("drop-reply", step), lambda: None)
        world.settle()
        if found := list(_broken(world)):
            yield from found
            return


def not_flushed(world: World) -> Iterator[str]:
    """V11: nothing is flushed to the disk."""
    if world.cell.store != "local":
        return
    flushed = world.count_flushes(lambda: _do(world, Insert("new", (KEY,))))
    if not flushed:
        yield "the row is committed, and its bytes were never flushed to the disk"


def download_onto_another_file(world: World) -> Iterator[str]:
    """V13: another file at the destination is kept, and the download reports success."""
    _do(world, Insert("kept", (KEY,)))
    target = world.user.directory / "downloaded.dat"
    target.write_bytes(b"something else")
    reference = (world.user.tables["Recording"]() & {"subject": 1, "session": 1}).fetch1("data")
    reference.download(target)
    if target.read_bytes() != payload("kept", "Recording", KEY, "data"):
        yield "download() reported success, and the destination holds another file"


def path_out_of_the_store(world: World, path: str = "../secret.txt") -> Iterator[str]:
    """V20: a path in a row reads a file outside the store."""
    _do(world, Insert("kept", (KEY,)))
    secret = world.place.directory / "secret.txt"
    secret.write_bytes(b"not of the store")
    _point_to(world, path, secret.read_bytes())
    reference = (world.user.tables["Recording"]() & {"subject": 1, "session": 1}).fetch1("data")
    with suppress(Exception):
        if reference.read() == b"not of the store":
            yield "read() returned the bytes of a file outside the store"


def _point_to(world: World, path: str, content: bytes) -> None:
    """Make the only row describe *path*, as somebody may who can write rows."""
    [row] = world.raw.rows()
    described = {"path": path, "size": len(content), "hash": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    value = json.dumps({**row.values["data"], **described})
    world.database.run(f"UPDATE {world.raw.name('Recording')} SET data = %s", (value,))


def secrets_in_a_pickle(world: World) -> Iterator[str]:
    """V23: whoever gets a pickled reference gets the credentials of the store."""
    _do(world, Insert("kept", (KEY,)))
    reference = (world.user.tables["Recording"]() & {"subject": 1, "session": 1}).fetch1("data")
    if any(secret.encode() in pickle.dumps(reference) for secret in world.place.secrets):
        yield "the pickle of a reference holds the store's secret key"


SCENARIOS: dict[str, Scenario] = {
    "V1": blind_collector,
    "V2": copied_elsewhere,
    "V3": insert_while_collecting,
    "V4": below_a_partition,
    "V5": failed_insert,
    "V6": lost_reply,
    "V7": lost_reply_to_a_staged_insert,
    "V8": lost_reply_to_a_commit,
    "V11": not_flushed,
    "V13": download_onto_another_file,
    "V20": path_out_of_the_store,
    "V23": secrets_in_a_pickle,
}


def run(servers: Servers, cell: Cell, seed: int, leave_out: Collection[str] = ()) -> list[Violation]:
    """Play all scenarios in one cell and return what DataJoint's own attribute type breaks."""
    found: list[Violation] = []
    for partition in (None, "{subject}"):
        world = World(servers, cell, ObjectSubject(partition_pattern=partition))
        for name, scenario in SCENARIOS.items():
            if name not in leave_out and (name == "V4") == (partition is not None):
                world.clear()
                found += _violations(world, name, scenario, cell, seed)
                world.settle()
        world.close()
    return found


def _violations(world: World, name: str, scenario: Scenario, cell: Cell, seed: int) -> list[Violation]:
    case = f"B/{cell}/{scenario.__name__}"
    return [Violation("baseline", name, case, message, seed, ()) for message in scenario(world)]

"""What must hold after a case: the invariants I1 to I12, looked at through another door than the one under test.

Nothing is repaired here; a broken invariant is a finding, which `singles` and `schedules` turn into a violation.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import permutations
from typing import Any
from urllib.parse import quote

from tests.torture import places
from tests.torture.attempts import is_defect, is_refusal
from tests.torture.bare import as_json
from tests.torture.operations import GONE, Operation, Refused
from tests.torture.originals import Linked, is_original
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.tables import StoredRow
from tests.torture.trees import Tree, home, is_checkpoint_or_fence, is_directory, listed, manifest_key, member
from tests.torture.values import Finding, Outcome, State
from tests.torture.world import World

Deed = tuple[Operation, Outcome]
"""What somebody did, and how it ended for him."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Rows and objects at one moment, seen through the other door."""

    rows: tuple[StoredRow, ...]
    keys: frozenset[str] = frozenset()
    references: frozenset[str] = frozenset()  # the objects that rows need, also members and manifests of directories
    paths: frozenset[str] = frozenset()  # what rows name

    @property
    def free(self) -> frozenset[str]:
        """The objects that no row needs; a checkpoint or the fence of a directory goes with it."""
        homes = {home(path) for path in self.paths}
        return frozenset(
            key for key in self.keys - self.references if not (is_checkpoint_or_fence(key) and home(key) in homes)
        )


def observe(world: World) -> Observed:
    """Look at all rows and at the names of all objects."""
    rows = tuple(world.raw.rows())
    paths = frozenset(world.subject.object_key(value, world.place.project) for value in _values(rows))
    keys = frozenset(key for key in world.place.objects.keys() if not is_original(key))  # noqa: SIM118 - of a store
    return Observed(rows, keys, references(world, rows), paths)


def references(world: World, rows: Iterable[StoredRow] | None = None) -> frozenset[str]:
    """Return the keys of the objects that committed rows refer to."""
    rows = world.raw.rows() if rows is None else rows
    return frozenset(key for value in _values(rows) for key in world.objects_of(value))


def _values(rows: Iterable[StoredRow]) -> Iterator[Any]:
    return (value for row in rows for value in row.values.values() if value is not None)


def allowed_states(before: State, deeds: Sequence[Deed]) -> list[State]:
    """Return every state that *deeds*, done in any order, may have left, given what their callers were told."""
    found: list[State] = []
    for order in permutations(deeds):
        for state in _played([before], order):
            if state not in found:
                found.append(state)
    return found


def allowed_states_in_order(before: State, deeds: Sequence[Deed]) -> list[State]:
    """Return every state that *deeds*, done one after the other, may have left."""
    return _played([before], deeds)


def _played(states: list[State], deeds: Sequence[Deed]) -> list[State]:
    for operation, outcome in deeds:
        states = [after for state in states for after in _after(state, operation, outcome)]
    return states


def _after(state: State, operation: Operation, outcome: Outcome) -> list[State]:
    """Return what one deed may have made of *state*: success means done, a refusal not done, anything else either."""
    try:
        done = [operation.effect(state)]
    except Refused:
        done = []
    if outcome.ending == "success":
        return done
    return [state] if outcome.ending == "refused" else [state, *done]


def matching(world: World, observed: Observed, states: Iterable[State]) -> State | None:
    """Return the state whose rows are those observed, as far as rows tell."""
    return next((state for state in states if _matches(world, observed, state)), None)


def _matches(world: World, observed: Observed, state: State) -> bool:
    rows = {(row.table, row.key): row.values for row in observed.rows}
    return rows.keys() == {slot for slot in state if not slot[0].startswith(GONE)} and all(
        _describes(world, values.get(name), content)
        for slot, values in rows.items()
        for name, content in state[slot].items()
    )


def _describes(world: World, value: Any, content: bytes | None) -> bool:
    if value is None or content is None:
        return value is content
    return world.subject.describes(value, content)


def answer(world: World, outcome: Outcome, *, was_done: bool) -> Iterator[Finding]:
    """Yield a wrong answer to what became of an operation whose caller was not told (I6)."""
    if outcome.ending != "unknown" or outcome.error is None:
        return
    told = world.subject.resolve(outcome.error, world.user.connection)
    truth = "committed" if was_done else "rolled back"
    if told not in (None, truth):
        yield "I6", f"asked what became of it, the answer is {told!r}, and it was {truth}"


def silence(world: World, deed: Deed, others: Iterable[Deed]) -> Iterator[Finding]:
    """Yield who could not do what he wanted, for no reason that there may be (I11): he would prove nothing."""
    operation, outcome = deed
    if is_defect(outcome.error):
        yield "I11", f"{operation}: {outcome}, which no fault explains"
    for other, end in others:
        if end.ending != "success" and not is_refusal(world.other, end.error):
            yield "I11", f"another actor could not do {other}: {end}"


def integrity(world: World, observed: Observed, state: State) -> Iterator[Finding]:
    """Yield each committed value whose object is gone or has other bytes (I1, I2), or lies elsewhere (I9)."""
    for row in observed.rows:
        for name, value in row.values.items():
            if value is not None and not world.damaged & world.objects_of(value):
                yield from _value(world, f"{row.table}{row.key}.{name}", value, state[row.table, row.key][name])
    yield from wholeness(world, observed)
    yield from (("I8", message) for message in world.originals.lost())


def _value(world: World, slot: str, value: Any, expected: bytes | None) -> Iterator[Finding]:
    key = world.subject.object_key(value, world.place.project)
    if not key.startswith(f"{world.place.project}/") or "/../" in key:
        yield "I9", f"{slot}: the path {key!r} is not in the project"
    found = world.content_of(value)
    if found is None:
        yield "I1", f"{slot}: a committed row, and its object {key} is gone"
    elif found != expected:
        yield "I1", f"{slot}: the object {key} has {len(found)} other bytes than the {len(expected or b'')} inserted"


def wholeness(world: World, observed: Observed) -> Iterator[Finding]:
    """Yield what a directory lacks of which the manifest is there, or has beside it (I12): at no time may it.

    Whether a row names it or not, for the next insert may adopt it; unless the journal says that it is over: a writer
    whose lease has ended does not know it yet.
    """
    manifests = [key for key in observed.keys if key == manifest_key(key)]
    states = [(home(path), state == "reclaimed") for path, state, _ in (intents(world) if manifests else ())]
    over = {place for place, is_over in states if is_over} - {place for place, is_over in states if not is_over}
    over -= {home(path) for path in observed.paths}
    for manifest in (key for key in manifests if home(key) not in over):
        place = f"{home(manifest)}/"
        there = {member(key) for key in observed.keys if key.startswith(place)} - {""}
        wanted = listed(world.manifest(manifest)).keys()
        yield from (
            ("I12", f"{place} has a manifest, and its member {name} is gone")
            for name in wanted - there - {member(key) for key in world.damaged if key.startswith(place)}
        )
        yield from (("I12", f"{place} has a manifest that knows nothing of {name}") for name in there - wanted)


def order(trace: Iterable[str], *, is_collecting: bool) -> Iterator[Finding]:
    """Yield what is done in the wrong order (I12).

    Nothing is stored or deleted of a directory of which the manifest is there; who *is_collecting* deletes that first.
    """
    complete: set[str] = set()
    gone: set[str] = set()
    for line in trace:
        _, area, verb, key = (*line.partition("   <--")[0].split(" ", 3), "", "")[:4]  # of the second place `delete@…`
        if area != "store" or verb not in ("upload", "delete"):
            continue
        if key == manifest_key(key):
            (complete if verb == "upload" else gone).add(home(key))
        elif member(key) and home(key) in complete:
            yield "I12", f"{verb} of {key}, of which the manifest is stored"
        elif member(key) and is_collecting and verb == "delete" and home(key) not in gone:
            yield "I12", f"{key} is deleted before its manifest"


def leftovers(world: World, observed: Observed, before: Observed, once: Set[str] = frozenset()) -> Iterator[Finding]:
    """Yield what is stored, and neither a row nor anything noted knows of it (I3).

    What a row referred to *before*, or *once* in between, must stand in a history.
    """
    places, removed = {home(path) for path in noted(world)}, before.references | once
    for key in sorted(key for key in observed.free if home(key) not in places):
        if world.subject.journals and key in removed:
            yield "I3", f"{key} was taken out of its row, and no history knows of it"
        elif key not in before.keys | removed:
            yield "I3", f"{key} is stored, and neither a row nor an intent knows of it"


def noted(world: World) -> set[str]:
    """Return the object keys that the journal knows."""
    return {path for path, _, _ in intents(world)} | {path for path, *_ in entries(world)}


def wrongly_condemned(world: World, observed: Observed) -> Iterator[Finding]:
    """Yield what the collector has decided to delete although a row refers to it (I8): it did not see all rows."""
    for path, state, *_ in entries(world):
        if state in ("condemned", "purged") and path in observed.paths:
            yield "I8", f"{path} is {state}, and a row refers to it"


def wrongly_noted(world: World, observed: Observed, *, has_reverted: bool = False) -> Iterator[Finding]:
    """Yield each note of an object that contradicts a committed row (I2).

    An intent would be taken for given up; the history says that the very row does not have it any more, unless it was
    put there again.
    """
    for path, state, _ in intents(world):
        if state not in ("reclaimed", "sharing") and path in observed.paths:
            yield "I2", f"an intent says that {path} is {state}, and a committed row refers to it"
    there = {
        (world.raw.name(row.table), world.subject.object_key(value, world.place.project))
        for row in observed.rows
        for value in row.values.values()
        if value is not None
    }
    for path, _, table, why in entries(world) if not has_reverted else ():
        if (table, path) in there:
            yield "I2", f"the history says that {path} left {table} by {why}, and a committed row of it has it"


def entries(world: World) -> list[tuple[str, str, str, str]]:
    """Return path, state, table (quoted) and why of every entry of a history that names an object."""
    found: list[tuple[str, str, str, str]] = []
    for schema, table in world.hidden:
        if table == "~file_history":
            query = f"SELECT path, state, table_name, why FROM {world.database.quoted(schema, table)}"
            rows = world.database.run(f"{query} WHERE path IS NOT NULL")
            found += [(path, state, world.database.quoted(schema, name), why) for path, state, name, why in rows]
    return found


def intents(world: World) -> list[tuple[str, str, Any]]:
    """Return path, state and metadata of every intent there is."""
    found: list[tuple[str, str, Any]] = []
    for schema, table in world.hidden:
        if table == "~file_intent":
            query = f"SELECT path, state, metadata FROM {world.database.quoted(schema, table)}"
            found += [(path, state, as_json(metadata)) for path, state, metadata in world.database.run(query)]
    return found


def bytes_to_send(world: World, before: State, after: State) -> int:
    """Return how many bytes a retry has to send: those of new values of which nothing is stored and noted.

    Of a directory that was begun, and that nobody is at, those of the members that are missing, and the manifest.
    """
    stored = Counter(described["hash"] for _, state, described in intents(world) if state == "stored" and described)
    total = 0
    for slot, row in after.items():
        if slot[0].startswith(GONE):
            continue
        for name, content in row.items():
            if content is not None and before.get(slot, {}).get(name) is not content:
                hashed = content.manifest if isinstance(content, Tree) else content
                digest = f"sha256:{hashlib.sha256(hashed).hexdigest()}"
                total += 0 if stored[digest] > 0 else _unsent(world, content)
                stored[digest] -= 1
    return total


def _unsent(world: World, content: bytes) -> int:
    """Return how many bytes of a value, which is not stored as a whole, have to be sent."""
    if isinstance(content, Linked):
        return 0
    if not isinstance(content, Tree):
        return len(content)
    files = {quote(name): file for name, file in content.files.items()}
    objects, most = world.place.objects, len(content) + len(content.manifest)
    for path in _begun(world):
        beside = [key for key in objects.keys() if home(key) == home(path)]  # noqa: SIM118 - of a store
        keys = {key: objects.get(key) for key in beside if not is_checkpoint_or_fence(key) and "/~partial-" not in key}
        there = {member(key): found for key, found in keys.items() if member(key)}
        is_whole = keys.get(manifest_key(path)) == content.manifest and there == files
        if is_whole or (len(there) == len(keys) and there.items() <= files.items()):
            missing = sum(len(files[name]) for name in files.keys() - there.keys())
            most = min(most, 0 if is_whole else missing + len(content.manifest))
    return most


def _begun(world: World) -> list[str]:
    """Return the paths of the directories that were begun, and that nobody holds any more."""
    now = "clock_timestamp()" if world.database.is_postgresql else "UTC_TIMESTAMP(6)"
    return [
        path
        for schema, table in world.hidden
        if table == "~file_intent"
        for (path,) in world.database.run(
            f"SELECT path FROM {world.database.quoted(schema, table)} "
            f"WHERE state = 'begun' AND RIGHT(path, 1) = '/' AND lease_until < {now}"
        )
    ]


def collection(world: World, state: State, *, is_young: bool = False, always: bool = False) -> Iterator[Finding]:
    """Run the collector after the grace period, and yield what it broke or left (I2, I3, I8).

    *is_young*: once before as well, when it may take nothing. Not *always*: not again for a situation that it has been
    seen to leave right in this world.
    """
    situation = "" if always else f"{is_young} {_situation(world)}"
    if not world.subject.collects or situation in world.collected:
        return
    findings = list(_collection(world, state, is_young=is_young))
    if not findings and not always:
        world.collected.add(situation)
    yield from findings


def _situation(world: World) -> str:
    """Return all that the collector's decisions rest on, without names: rows, objects, intents and their relations."""
    observed, known = observe(world), intents(world)
    states = {home(path): state for path, state, _ in known}
    whole = {key if key != manifest_key(key) else home(key) for key in observed.keys}
    rows = sorted((row.table, row.key, tuple(value is None for value in row.values.values())) for row in observed.rows)
    free = sorted((_kind(key), states.get(home(key), "")) for key in observed.free)
    noted_ = sorted((state, _is_in(path, whole), path in observed.paths) for path, state, _ in known)
    removed = sorted((state, _is_in(path, whole), path in observed.paths) for path, state, *_ in entries(world))
    theirs = sorted(_kind(key) for key in world.second_keys() - observed.references)
    remains = len(world.place.objects.unfinished()) if world.has_parts else 0
    return str(
        (
            rows,
            len(observed.references - observed.keys),
            free,
            noted_,
            removed,
            _hidden_rows(world),
            remains,
            theirs,
            world.is_moved(),
        )
    )


def _kind(key: str) -> str:
    """Return what an object is: of a write, a member of a directory, or something that stands beside it."""
    found = re.search(r"~(partial|sent|manifest)", key)
    return found[1] if found else member(key)


def _is_in(path: str, whole: Set[str]) -> bool:
    return (home(path) if is_directory(path) else path) in whole


def _hidden_rows(world: World) -> list[int]:
    """Count the rows of the package's own tables."""
    tables = [world.database.quoted(*table) for table in world.hidden if table[1] != "~file_registry"]
    return [world.database.run(f"SELECT count(*) FROM {table}")[0][0] for table in tables]


def _collection(world: World, state: State, *, is_young: bool) -> Iterator[Finding]:
    yield from places.brought(world)
    try:
        if world.subject.waits:
            yield from _collected_early(world) if is_young else ()
            world.collecting.collect(2 * GRACE_SECONDS)
        world.collecting.collect(2 * GRACE_SECONDS)
    except Exception as error:
        yield "I8", f"the collector refuses: {type(error).__name__}: {error}"
        return
    observed = observe(world)
    yield from (("I2", f"after the collector: {message}") for _, message in integrity(world, observed, state))
    yield from places.second_place(world, observed.rows, state, is_complete=True)
    yield from places.waste(world, observed.references)
    for key in sorted(observed.free):
        yield "I3", f"{key} is still there after the collector ran twice past the grace period"
    for key in world.place.objects.unfinished() if world.has_parts else ():
        yield "I3", f"parts of an upload of {key} are still there after the collector ran twice past the grace period"


def _collected_early(world: World) -> Iterator[Finding]:
    before = observe(world)
    world.collecting.collect(int(0.9 * GRACE_SECONDS))
    for key in sorted(before.keys - observe(world).keys):
        yield "I3", f"{key} was removed before the grace period was over"


def secrecy(world: World, texts: Iterable[str]) -> Iterator[Finding]:
    """Yield each text that holds a secret (I10)."""
    for text in texts:
        for secret in world.secrets:
            if secret in text:
                at = text.index(secret)
                yield "I10", f"a secret in {text[max(0, at - 60) : at]!r}…"

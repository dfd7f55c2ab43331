"""Preflight checks: whether this database is the one whose rows tell what is in use. A pure judge.

Marks and the state of schemas in, refusals with the way on out. It changes nothing, and reads only by what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from datajoint_file.collector.plan import OVERRULED, Refusal, refuse
from datajoint_file.journal.store_marks import NESTED, PLACES, BadMark, Identity, Mark
from datajoint_file.model.wording import RIGHT_PLACE, as_dropped, not_dropped
from datajoint_file.sql import Presence


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What the database tells of one schema.

    ``there``: it is, and all of it may be read. ``gone``: this server has none. ``unreadable``: it may be there.
    """

    presence: Presence
    schema_id: str = ""  # as its registry table has it; empty if it has none
    epochs: Mapping[int, str] = field(default_factory=dict)  # their tokens, as its registry table has them
    was_marked: bool = False  # its registry table knows that the store has had a mark of it


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from the marks."""

    refusals: tuple[Refusal, ...]  # why this database may not decide
    notes: tuple[str, ...]
    schemas: tuple[str, ...]  # those of this database that use the project, sorted
    forget: tuple[str, ...]  # keys of the marks that are to be removed when the plan is carried out


@dataclass
class _Case:
    """One judgement under way."""

    identity: Identity
    schemas: Mapping[str, SchemaState]
    key_of: Callable[[Mark], str]
    take_over: bool
    dropped: Collection[str]
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)

    def object_to(self, refusal: Refusal, keys: Collection[str], *, waived: bool) -> None:
        """Refuse, unless the caller has said that he knows; then the marks are to be forgotten."""
        if waived:
            self.forget += keys
            self.notes.append(f"{OVERRULED}{refusal.reason}")
        else:
            self.refusals.append(refusal)


def judge(
    identity: Identity,
    project: str,
    marks: Collection[Mark],
    bad: Collection[BadMark],
    schemas: Mapping[str, SchemaState],
    *,
    key_of: Callable[[Mark], str],
    has_objects: Callable[[], bool],
    take_over: bool = False,
    dropped: Collection[str] = (),
) -> Verdict:
    """Decide whether the database *identity* sees every reference to the project's objects.

    *schemas* are those of it that have a mark or a registry table; *key_of* gives the object key of a mark, and
    *has_objects* tells whether the project has any object, which is asked only if there is no mark at all. The caller
    has checked, he says, that this database counts (*take_over*), and that the schemas *dropped* are gone for good.
    """
    case = _Case(identity, schemas, key_of, take_over, dropped)
    ours = [mark for mark in marks if mark.registration.identity == identity]
    others = [mark for mark in marks if mark.registration.identity != identity]
    _judge_bad(case, bad)
    _judge_names(case, marks, project)
    _judge_others(case, _in_use(others), is_alone=not ours)
    if not marks and not bad:
        if has_objects():
            case.object_to(_UNREGISTERED, (), waived=take_over)
        elif any(state.was_marked for state in schemas.values()):
            case.object_to(_EMPTIED, (), waived=take_over)
    known = {mark.registration.schema for mark in ours}
    for name in sorted(known):
        _judge_schema(case, name, [mark for mark in ours if mark.registration.schema == name])
    idle = sorted(set(dropped) - {mark.registration.schema for mark in ours if key_of(mark) in case.forget})
    case.refusals += [Refusal("not-dropped", not_dropped(name, known), "Leave it out, or correct it") for name in idle]
    if take_over and not any(note.startswith(OVERRULED) for note in case.notes):
        case.notes.append("there is nothing to take over: all marks are those of this database")
    there = tuple(sorted(name for name, state in schemas.items() if state.presence == "there"))
    return Verdict(tuple(case.refusals), tuple(case.notes), there, tuple(case.forget))


def refuse_nested(project: str, outer: str) -> None:
    """Refuse a project whose place lies in another's, *outer*; nothing if that is empty."""
    if outer:
        raise refuse(Refusal("nested", NESTED.format(project=project, outer=outer), PLACES))


_EMPTIED = Refusal(
    "emptied",
    f"the store has nothing of the project, and the database knows that files were stored there: {RIGHT_PLACE}",
    "If it was emptied on purpose, use take_over=True (--take-over)",
)

_UNREGISTERED = Refusal(
    "unregistered",
    "the project has objects and no mark says which databases use it: the marks were deleted, or all files were stored "
    "by a version that wrote none",
    "If the rows of all of them are in this database, use take_over=True (--take-over)",
)


def _judge_bad(case: _Case, bad: Collection[BadMark]) -> None:
    for mark in bad:
        other = mark.way_on or f"Find out what it was; take_over=True (--take-over) removes it ({mark.key})"
        way_on = "Upgrade datajoint-file" if mark.is_newer else other
        refusal = Refusal("mark", f"{mark.key} is not a mark that can be trusted: {mark.problem}", way_on)
        case.object_to(refusal, [mark.key], waived=case.take_over and not mark.is_newer)


def _judge_names(case: _Case, marks: Collection[Mark], project: str) -> None:
    """Refuse where the project's directory has had another name: the paths in its rows begin with that one."""
    for name in sorted({mark.registration.project for mark in marks} - {project}):
        reason = (
            f"the store belongs to the project {name!r}, and is configured as {project!r}: rows that name its objects "
            f"begin with {name}/ and would not be found"
        )
        way_on = f"Give the project its name {name!r} back in datajoint.toml, and each project a place of its own"
        case.refusals.append(Refusal("renamed", reason, way_on))


def _in_use(marks: Collection[Mark]) -> list[Mark]:
    """Return *marks* without those of schemas that were dropped."""
    groups = {
        mark.registration: [other for other in marks if other.registration == mark.registration] for mark in marks
    }
    return [mark for group in groups.values() if not _was_dropped(group) for mark in group]


def _was_dropped(marks: Collection[Mark]) -> bool:
    """Tell whether *marks*, of one registration, say that the schema was dropped, and nobody has another history."""
    dropped = {(mark.epoch, mark.token) for mark in marks if mark.is_dropped}
    return bool(dropped) and {(mark.epoch, mark.token) for mark in marks} == dropped


def _judge_others(case: _Case, others: Collection[Mark], *, is_alone: bool) -> None:
    for identity in sorted({mark.registration.identity for mark in others}, key=str):
        theirs = [mark for mark in others if mark.registration.identity == identity]
        names = ", ".join(sorted({mark.registration.schema for mark in theirs}))
        written = f"{min(mark.written for mark in theirs)} to {max(mark.written for mark in theirs)}"
        what = f"the project is used by the database {identity} (schemas {names}; marks of {written})"
        kind, reason = "other-database", f"{what}, whose references cannot be read from here ({case.identity})"
        way_on = "Give that database a project of its own. If it is gone for good, or this one has taken its place"
        if is_alone:
            kind, looks = "clone", "this looks like a copy of that database"
            reason = f"{what} and was never used by this one ({case.identity}): {looks}"
            way_on = "Run the collector there. If this database has taken its place for good"
        if identity.server == case.identity.server:
            reason = f"{reason}. Here is {identity.differences(case.identity)}"
            way_on = "If the server was moved, or its container has got another host name, and no copy of it is in use"
        refusal = Refusal(kind, reason, f"{way_on}, use take_over=True (--take-over)")
        case.object_to(refusal, [case.key_of(mark) for mark in theirs], waived=case.take_over)


def _judge_schema(case: _Case, name: str, marks: list[Mark]) -> None:
    state = case.schemas.get(name, SchemaState("unreadable"))
    if state.presence == "unreadable":
        case.refusals.append(_unreadable(name))
        return
    for schema_id in sorted({mark.registration.schema_id for mark in marks}):
        _judge_registration(case, name, state, [mark for mark in marks if mark.registration.schema_id == schema_id])


def _judge_registration(case: _Case, name: str, state: SchemaState, marks: list[Mark]) -> None:
    """Judge the marks of one schema id, which stands for one life of a schema."""
    schema_id, keys = marks[0].registration.schema_id, [case.key_of(mark) for mark in marks]
    if state.presence == "there" and schema_id in ("", state.schema_id):
        for mark in marks:
            _judge_mark(case, name, state, mark)
    elif _was_dropped(marks):
        case.notes.append(f"the schema {name} was dropped; {as_dropped(name)} forgets its marks")
        if name in case.dropped:
            case.forget += keys
    elif state.presence == "there":
        case.object_to(_recreated(name), keys, waived=case.take_over or name in case.dropped)
    else:
        heirs = [other for other, known in case.schemas.items() if schema_id and known.schema_id == schema_id]
        case.object_to(_gone(name, sorted(heirs)), keys, waived=name in case.dropped)


def _judge_mark(case: _Case, name: str, state: SchemaState, mark: Mark) -> None:
    """Judge a mark of a schema that is there."""
    if not mark.registration.schema_id:
        return
    if mark.is_dropped:
        reason = (
            f"the schema {name} was dropped ({mark.written}), and is here all the same: it was restored from a dump, "
            "or a copy of this database has dropped it"
        )
        way_on = "If no copy of it is in use, and no row is missing here"
    elif state.epochs.get(mark.epoch) != mark.token:
        reason = (
            f"the store knows epoch {mark.epoch} of the schema {name} ({mark.written}), and the database, now at epoch "
            f"{max(state.epochs, default=0)}, does not: it was restored from an older dump, or one of two is a copy. "
            "Files that were stored after the dump, or by the other one, would be taken for unused"
        )
        way_on = "Restore a newer dump first; or, if the lost rows are given up and no copy is in use"
    else:
        return
    refusal = Refusal("restored", reason, f"{way_on}, use take_over=True (--take-over)")
    case.object_to(refusal, [case.key_of(mark)], waived=case.take_over)


def _recreated(name: str) -> Refusal:
    return Refusal(
        "recreated",
        f"the schema {name} is not the one that was registered under this name: it was dropped and made again, or "
        "restored without its table ~file_registry",
        f"If it was dropped on purpose, use {as_dropped(name)}. If it was restored, look first "
        "whether rows are missing",
    )


def _gone(name: str, heirs: list[str]) -> Refusal:
    looks = f"{' and '.join(heirs)} has its id, so it was renamed or copied" if heirs else "it may have been dropped"
    return Refusal(
        "gone",
        f"the schema {name} uses the project, and this server has none of that name ({looks}). That it is not here "
        "does not prove that no row needs its files",
        f"If it was dropped, or renamed, on purpose, use {as_dropped(name)}. If not, this may be the "
        "wrong server, or a copy of the right one",
    )


def _unreadable(name: str) -> Refusal:
    return Refusal(
        "unreadable-schema",
        f"the schema {name} uses the project, and this user may not read all of it: its references are not known",
        "Grant this user SELECT on the whole schema (and, on PostgreSQL, USAGE)",
    )

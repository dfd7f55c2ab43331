"""Plan values: what the collector would do, what it has done, and why it refuses.

They are made by `make_plan`, which has the evidence, and carried out by `execute_plan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from datajoint_file.collector.evidence import NOTHING, Amount, Evidence
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.model.wording import counted, format_size, spoken

MINIMAL_GRACE = timedelta(hours=24)
"""A shorter grace must be asked for by name: it is what a writer has that nobody knows of."""

BRAKE_SHARE = 0.10
BRAKE_COUNT = 20
"""More than this share of all objects, and more than this many, are not deleted without being told to."""

OVERRULED = "overruled: "

Action = Literal["reclaim", "purge", "expire", "wait", "noted", "unknown"]

ACTIONS: tuple[Action, ...] = get_args(Action)
"""What can be planned for an object; the sets of the evidence that say for which have the same names."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason for doing nothing.

    Parameters
    ----------
    kind : str
        A short name for programs: ``clone``, ``restored``, ``unreadable``, ``brake`` …
    reason : str
        What was found.
    way_on : str
        What to do about it.
    """

    kind: str
    reason: str
    way_on: str

    def __str__(self) -> str:
        return f"{self.reason}. {self.way_on}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object and what is planned for it.

    Parameters
    ----------
    action : str
        ``reclaim`` (an upload that was given up), ``purge`` (removed from all rows, its retention is over), ``expire``
        (the same, but not noted before this run: a later one deletes it), ``wait`` (removed, and kept), ``noted``
        (it was unknown, and is kept for the grace), ``unknown`` (in the store, nothing tells how it came there).
    key : str
        The object key.
    size : int
        Bytes as stored, or as expected; 0 where nobody knows.
    stored : datetime or None
        When it was stored, by the store's clock, if the store was listed.
    """

    action: Action
    key: str
    size: int
    stored: datetime | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A row whose object is not in the store.

    Parameters
    ----------
    key : str
        The object key in the row.
    attribute : str
        ``schema.Table.attribute``.
    """

    key: str
    attribute: str


@dataclass(frozen=True)
class Plan:
    """What a run of the collector would do now. Made by `datajoint_file.gc.plan`, carried out by ``execute``.

    True if there is something to do. Nothing has been changed; the store and the database may go on changing, which
    is why ``execute`` looks again before it deletes anything.

    Parameters
    ----------
    project : str
        Whose objects.
    grace : timedelta
        How long uploads must have been given up, and unknown objects known.
    is_scan : bool
        Whether the store was listed.
    with_unknown : bool
        Whether unknown objects are noted for deletion.
    made_at : datetime
        When, by the database's clock, aware, in UTC.
    reclaim, purge, expire, wait, noted, unknown : Amount
        Objects and bytes, by what is planned for them; ``unknown`` only with ``is_scan``.
    listed : Amount
        Objects of this package in the store. Only with ``is_scan``.
    foreign : Amount
        Other files in the project's directory or prefix, which are never touched. Only with ``is_scan``.
    references : int
        Different objects that rows refer to; 0 where nobody had to ask.
    unfinished : Amount
        Remains of uploads that never became objects and began longer ago than the grace.
    is_complete : bool
        The listing left nothing out, and no object that a row refers to is missing. If not, no unknown object is noted
        for deletion.
    missing : tuple of Missing
        Rows whose objects are not in the store, the first hundred of them.
    missing_count : int
        How many there are.
    refusals : tuple of Refusal
        Why ``execute`` would refuse. Empty if it would not.
    notes : tuple of str
        What else is worth knowing.
    schemas : tuple of str
        The registered schemas of this database whose rows were looked at, with all others that hold files.
    database : str
        What the database calls itself.
    take_over, dropped
        As they were given.
    evidence : Evidence or None
        What was found, in a file of its own.
    """

    project: str
    grace: timedelta
    is_scan: bool
    with_unknown: bool
    made_at: datetime
    reclaim: Amount = NOTHING
    purge: Amount = NOTHING
    expire: Amount = NOTHING
    wait: Amount = NOTHING
    noted: Amount = NOTHING
    unknown: Amount = NOTHING
    listed: Amount = NOTHING
    foreign: Amount = NOTHING
    references: int = 0
    unfinished: Amount = NOTHING
    is_complete: bool = True
    missing: tuple[Missing, ...] = ()
    missing_count: int = 0
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    database: str = ""
    take_over: bool = False
    dropped: tuple[str, ...] = ()
    evidence: Evidence | None = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        deletes = (self.reclaim, self.purge, self.expire, self.unfinished, self.with_unknown and self.unknown)
        return any((*deletes, self.dropped, any(note.startswith(OVERRULED) for note in self.notes)))

    def __str__(self) -> str:
        rows = {name: getattr(self, name) for name in (*ACTIONS, "unfinished")}
        rows["missing"] = Amount(self.missing_count)
        lines = [f"{verb:<12} {amount.count:>9} {format_size(amount.size):>10}" for verb, amount in rows.items()]
        refused = [f"refused [{refusal.kind}]: {refusal}" for refusal in self.refusals]
        return "\n".join([f"project {self.project}", *lines, *refused, *(f"note: {note}" for note in self.notes)])

    def entries(self) -> Iterator[Entry]:
        """Give every object and what is planned for it, sorted by action and key. From disk, one at a time."""
        if self.evidence is None:
            return
        for action in ACTIONS:
            for item in self.evidence.items(action):
                yield Entry(action, item.key, item.size, item.stored)

    @property
    def are_most_missing(self) -> bool:
        """Whether most objects that rows refer to are not there, which speaks for the wrong store."""
        return self.missing_count > 1 and 2 * self.missing_count > self.references

    def standing_refusals(self, *, force: bool = False) -> tuple[Refusal, ...]:
        """Return the refusals that hold: *force* releases the brake, and nothing else."""
        return tuple(refusal for refusal in self.refusals if not (force and refusal.kind == "brake"))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON, without the single entries."""
        return {
            "project": self.project,
            "scan": self.is_scan,
            "grace_seconds": int(self.grace.total_seconds()),
            "made_at": self.made_at.isoformat(),
            **{name: asdict(getattr(self, name)) for name in (*ACTIONS, "unfinished", "listed", "foreign")},
            "references": self.references,
            "complete": self.is_complete,
            "missing": self.missing_count,
            "missing_examples": [asdict(one) for one in self.missing],
            "refusals": [asdict(refusal) for refusal in self.refusals],
            "notes": list(self.notes),
            "schemas": list(self.schemas),
        }


@dataclass(frozen=True)
class Collected:
    """What a run of the collector has done. True unless something failed.

    Parameters
    ----------
    reclaimed, purged, expired, noted, discarded : Amount
        Objects (and remains of uploads) by what was done: ``expired`` ones are deleted by a later run; unknown ones
        were ``noted`` for deletion.
    spared : int
        Objects that were due and turned out to be in use after all, or locked by somebody.
    failures : tuple of (str, str)
        Keys that could not be deleted, and why; they are noted as before, and the next run tries again.
    notes : tuple of str
        What else is worth knowing.
    """

    reclaimed: Amount = NOTHING
    purged: Amount = NOTHING
    expired: Amount = NOTHING
    noted: Amount = NOTHING
    discarded: Amount = NOTHING
    spared: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values for JSON."""
        failures = [{"key": key, "problem": problem} for key, problem in self.failures]
        return {**asdict(self), "failures": failures, "notes": list(self.notes)}


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that was removed from a row, or is unknown, and that the history keeps.

    Parameters
    ----------
    key : str
        The object key.
    size : int
        Its bytes.
    why : str
        What has removed it: ``update``, ``replace``, ``delete``, ``drop``, ``alter``; or ``unknown``.
    since : datetime
        When, by the database's clock, aware, in UTC.
    until : datetime or None
        Until when it is kept at least; None as long as it is one of the last ``versions``.
    event : str
        The same for all that was removed together, as in `datajoint_file.history`.
    """

    key: str
    size: int
    why: str
    since: datetime
    until: datetime | None
    event: str


def refuse(*refusals: Refusal) -> CollectionRefusedError:
    """Return the error that says why nothing was done."""
    error = CollectionRefusedError("\n".join(f"refused [{refusal.kind}]: {refusal}" for refusal in refusals))
    error.__dict__["refusals"] = refusals
    return error


def refusals_of(error: CollectionRefusedError) -> tuple[Refusal, ...]:
    """Return the reasons that an error made by `refuse` carries."""
    return tuple(error.__dict__.get("refusals", ()))


def check_grace(grace: timedelta, *, allow_short: bool) -> None:
    """Refuse unless *grace* is long enough for writers that nobody knows of."""
    if grace < timedelta(0):
        way_on = "Give how long objects must have been unused"
        raise refuse(Refusal("grace", f"a grace of {spoken(grace)} is negative", way_on))
    if grace < MINIMAL_GRACE and not allow_short:
        reason = (
            f"a grace of {spoken(grace)} is less than 24 hours: objects of transactions that are still open, or of "
            "writers without intents, could be deleted"
        )
        way_on = "Give 24 hours or more; allow_short_grace=True (--short-grace) if you know that nobody is writing"
        raise refuse(Refusal("grace", reason, way_on))


def brake(count: int, known: int) -> Refusal | None:
    """Return the refusal for a run that would delete more than anybody expects, if this is one.

    Examples
    --------
    >>> brake(21, 1000) is None, brake(21, 100).kind
    (True, 'brake')
    """
    if count <= BRAKE_COUNT or count <= BRAKE_SHARE * known:
        return None
    return Refusal(
        "brake",
        f"{counted(count, 'object')} would be deleted, of {known} that are known: more than {BRAKE_SHARE:.0%}",
        "Look at the entries of the plan; if all is as it should be, use force=True (--force)",
    )

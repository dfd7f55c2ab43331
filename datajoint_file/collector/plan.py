"""Plan values: what the collector would do, what it has done, and why it refuses.

They are made by `make_plan`, which has the evidence, and carried out by `execute_plan` and `reclaim`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from datajoint_file.collector.evidence import NOTHING, Amount, Evidence
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.model.wording import counted, spoken
from datajoint_file.pipeline.fileref import format_size

MINIMAL_GRACE = timedelta(hours=24)
"""A shorter grace must be asked for by name: it is what a writer has that nobody knows of."""

BRAKE_SHARE = 0.10
BRAKE_COUNT = 20
"""More than this share of all objects, and more than this many, are not set aside or deleted without being told to."""

Action = Literal["reclaim", "quarantine", "wait", "purge", "release"]

ACTIONS: dict[Action, str] = {
    "reclaim": "abandoned",
    "quarantine": "quarantine",
    "wait": "waiting",
    "purge": "purge",
    "release": "release",
}
"""What can be planned for an object, and the set of the evidence that says for which."""


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
        ``reclaim`` (an upload that was given up), ``quarantine``, ``wait`` (its grace is running), ``purge`` or
        ``release`` (referenced again).
    key : str
        The object key.
    size : int
        Bytes as stored, or as expected; 0 where nobody knows.
    """

    action: Action
    key: str
    size: int


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
        How long an object must have been unused.
    is_scan : bool
        Whether the store was listed; if not, only uploads that were given up are known.
    made_at : datetime
        When, by the database's clock, in UTC.
    reclaim, quarantine, wait, purge, release : Amount
        Objects and bytes, by what is planned for them.
    listed : Amount
        Objects of this package in the store. Only with ``is_scan``.
    foreign : Amount
        Other files in the project's directory or prefix, which are never touched. Only with ``is_scan``.
    references : int
        Different objects that rows refer to. Only with ``is_scan``.
    unfinished : Amount
        Remains of uploads that never became objects and began longer ago than the grace.
    is_complete : bool
        The listing left nothing out, and no object that a row refers to is missing. If not, nothing is deleted that
        only the listing speaks against.
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
    made_at: datetime
    reclaim: Amount = NOTHING
    quarantine: Amount = NOTHING
    wait: Amount = NOTHING
    purge: Amount = NOTHING
    release: Amount = NOTHING
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
        return any((self.reclaim, self.quarantine, self.purge, self.release, self.unfinished))

    def __str__(self) -> str:
        rows = {name: getattr(self, name) for name in (*ACTIONS, "unfinished")} | {
            "missing": Amount(self.missing_count)
        }
        lines = [f"{verb:<12} {amount.count:>9} {format_size(amount.size):>10}" for verb, amount in rows.items()]
        refused = [f"refused: {refusal}" for refusal in self.refusals]
        return "\n".join([f"project {self.project}", *lines, *refused, *(f"note: {note}" for note in self.notes)])

    def entries(self) -> Iterator[Entry]:
        """Give every object and what is planned for it, sorted by action and key. From disk, one at a time."""
        if self.evidence is None:
            return
        for action, name in ACTIONS.items():
            planned: Action = "wait" if action == "purge" and not self.is_complete else action
            for item in self.evidence.items(name):
                yield Entry(planned, item.key, item.size)

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
            "made_at": f"{self.made_at.isoformat()}Z",
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
    reclaimed, quarantined, purged, released, discarded : Amount
        Objects (and remains of uploads) by what was done.
    spared : int
        Objects that were due and turned out to be in use after all, or locked by somebody.
    failures : tuple of (str, str)
        Keys that could not be deleted, and why; they are noted as before, and the next run tries again.
    notes : tuple of str
        What else is worth knowing.
    """

    reclaimed: Amount = NOTHING
    quarantined: Amount = NOTHING
    purged: Amount = NOTHING
    released: Amount = NOTHING
    discarded: Amount = NOTHING
    spared: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values for JSON."""
        done = ("reclaimed", "quarantined", "purged", "released", "discarded")
        return {
            **{name: asdict(getattr(self, name)) for name in done},
            "spared": self.spared,
            "failures": [{"key": key, "problem": problem} for key, problem in self.failures],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An object in quarantine.

    Parameters
    ----------
    key : str
        The object key.
    size : int
        Its bytes as stored.
    first_seen : datetime
        When it was set aside, by the database's clock, in UTC.
    due : datetime
        When it may be deleted, if nothing refers to it by then.
    """

    key: str
    size: int
    first_seen: datetime
    due: datetime


def refuse(*refusals: Refusal) -> CollectionRefusedError:
    """Return the error that says why nothing was done."""
    reasons = "\n".join(f"- {refusal}" for refusal in refusals)
    error = CollectionRefusedError(f"refused:\n{reasons}" if len(refusals) > 1 else f"refused: {refusals[0]}")
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


def brake(plan_quarantine: Amount, plan_purge: Amount, listed: Amount) -> Refusal | None:
    """Return the refusal for a run that would set aside or delete more than anybody expects, if this is one.

    Examples
    --------
    >>> brake(Amount(21), Amount(0), Amount(1000)) is None, brake(Amount(20), Amount(1), Amount(100)).kind
    (True, 'brake')
    """
    count = plan_quarantine.count + plan_purge.count
    if count <= BRAKE_COUNT or count <= BRAKE_SHARE * listed.count:
        return None
    return Refusal(
        "brake",
        f"{counted(plan_quarantine.count, 'object')} would be set aside and {plan_purge.count} deleted, of "
        f"{listed.count} in the store: more than {BRAKE_SHARE:.0%}",
        "Look at the entries of the plan; if all is as it should be, use force=True (--force)",
    )

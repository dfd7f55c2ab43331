"""What a run of the harness talks about: cases, faults, outcomes and violations, all of them values.

They are plain data: the engine (`steps`), the operations and the checks give them their meaning.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.wire.answers import Fault as Lie

Area = Literal["sql", "store"]
"""Where a step happens."""

Kind = Literal[
    "error-before",
    "error-lasting",
    "error-after",
    "deadlock",
    "crash-before",
    "crash-after",
    "torn",
    "torn-crash",
    "drop-request",
    "drop-reply",
    "drop-lasting",
    "drop-reply-lasting",
    "interleave-gc",
    "interleave-gc-now",
    "interleave-writer",
    "interleave-twin",
    "interleave-copy",
    "answer-lost",
    "answer-error",
    "answer-empty",
    "answer-foreign",
    "answer-short",
    "answer-instead",
    "interleave-revert",
    "interleave-read",
]

KINDS: dict[Kind, frozenset[Area]] = {
    "error-before": frozenset({"sql", "store"}),
    "error-lasting": frozenset({"store"}),
    "error-after": frozenset({"sql", "store"}),
    "deadlock": frozenset({"sql"}),
    "crash-before": frozenset({"sql", "store"}),
    "crash-after": frozenset({"sql", "store"}),
    "torn": frozenset({"store"}),
    "torn-crash": frozenset({"store"}),
    "drop-request": frozenset({"sql"}),
    "drop-reply": frozenset({"sql"}),
    "drop-lasting": frozenset({"sql"}),
    "drop-reply-lasting": frozenset({"sql"}),
    "interleave-gc": frozenset({"sql", "store"}),
    "interleave-gc-now": frozenset({"sql", "store"}),
    "interleave-writer": frozenset({"sql", "store"}),
    "interleave-twin": frozenset({"sql", "store"}),
    "interleave-copy": frozenset({"sql", "store"}),
    "answer-lost": frozenset({"store"}),
    "answer-error": frozenset({"store"}),
    "answer-empty": frozenset({"store"}),
    "answer-foreign": frozenset({"store"}),
    "answer-short": frozenset({"store"}),
    "answer-instead": frozenset({"store"}),
    "interleave-revert": frozenset({"sql", "store"}),
    "interleave-read": frozenset({"sql", "store"}),
}
"""Every kind of fault, and at which steps it can happen.

``error-before``: refused, nothing done. ``error-lasting``: the store fails from this step on. ``error-after``: done,
but an error is reported (of the store), or Ctrl-C comes just then (SQL). ``deadlock``: the server rolls the transaction
back. ``crash``: ``kill -9`` of a forked child. ``torn``: a part of the bytes, then an error or a kill.
``drop-request``: the connection breaks before the statement reaches the server; ``drop-reply``: after it was done;
``…-lasting``: and nobody can connect again. ``interleave``: at this step another actor runs to its end: the collector
with a clock far on, or with the right one, a writer of the same key, one who does the same, one who
copies the row to another schema and deletes the original, one who inserts a file again that was deleted, one who
reads everything. ``answer``: a
proxy before the store does to one answer of this step what `tests.wire.answers` has words for; the store has done what
it was asked for, but for ``answer-instead``: then it has never heard of it, and somebody else says that all is well.
"""

ANSWERS: dict[Kind, Lie] = {
    "answer-lost": "lost",
    "answer-error": "503",
    "answer-empty": "empty",
    "answer-foreign": "foreign",
    "answer-short": "short",
    "answer-instead": "foreign",
}
"""What becomes of an answer."""

CRASHES: frozenset[Kind] = frozenset({"crash-before", "crash-after", "torn-crash"})
DROPS: frozenset[Kind] = frozenset({"drop-request", "drop-reply", "drop-lasting", "drop-reply-lasting"})
INTERLEAVINGS: frozenset[Kind] = frozenset(kind for kind in KINDS if kind.startswith("interleave"))

Payload = bytes | None
Row = dict[str, Payload]
State = dict[tuple[str, tuple[int, ...]], Row]
"""Committed rows by table and key: the bytes of each file attribute."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One corner of the matrix: which attribute type, on which servers."""

    subject: str
    database: str
    store: str

    def __str__(self) -> str:
        return f"{self.subject}/{self.database}/{self.store}"


@dataclass(frozen=True, slots=True)
class Case:
    """One run that can be repeated: a tier, a cell, a seed, and what happens.

    ``name`` is all that is needed to run it again: ``T1/file/mysql/local/insert1/crash-after/7`` or
    ``T2/file/mysql/local/1234``.
    """

    tier: str
    cell: Cell
    what: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        return "/".join((self.tier, str(self.cell), *self.what))

    @classmethod
    def parse(cls, name: str, seed: int) -> Case:
        tier, subject, database, store, *what = name.split("/")
        return cls(tier, Cell(subject, database, store), tuple(what), seed)

    @property
    def command(self) -> str:
        return f"make torture SEED={self.seed} CASE={self.name}"

    def randomness(self, *labels: object) -> random.Random:
        """Return the generator of this case for *labels*: the same in every process and version of Python."""
        text = "|".join(map(str, (self.seed, self.name, *labels)))
        return random.Random(hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: a kind, and the step at which it does, counted from 1."""

    kind: Kind
    step: int

    def __str__(self) -> str:
        return f"{self.kind} at step {self.step}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended for whoever called it.

    ``success``; ``refused``: an error that says that nothing was done; ``unknown``: one that says that it cannot tell
    (`error` may be given to ``resolve``); ``interrupted``: Ctrl-C; ``killed``: the process is gone; ``hang``.
    """

    ending: Literal["success", "refused", "unknown", "interrupted", "killed", "hang"]
    error: BaseException | None = None
    fired: bool = False
    trace: tuple[str, ...] = ()
    result: Any = None

    def __str__(self) -> str:
        return self.ending if self.error is None else f"{self.ending} ({type(self.error).__name__}: {self.error})"


Finding = tuple[str, str]
"""An invariant, and how it is broken."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant: which, of which known class, in which case, and the schedule that led to it."""

    invariant: str
    kind: str
    case: str
    message: str
    seed: int
    schedule: tuple[str, ...] = field(default=())

    @property
    def command(self) -> str:
        return f"make torture SEED={self.seed} CASE={self.case}"

    def __str__(self) -> str:
        steps = "".join(f"\n    {step}" for step in self.schedule)
        return f"{self.invariant} {self.kind}  {self.case}\n  {self.message}\n  again: {self.command}{steps}"

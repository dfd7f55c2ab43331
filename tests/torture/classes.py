"""To which known class a violation belongs: V1 to V23 of the faults that DataJoint's own attribute types have.

A class is a name for reports; what is a violation is decided in `checks`.
"""

from __future__ import annotations

from tests.torture.operations import Collect, Download, Operation, Stage
from tests.torture.values import Outcome

KNOWN = {
    "V1": "a table that cannot be read counts as one without references, and live objects are deleted",
    "V2": "an object still used through INSERT … SELECT into another schema is deleted",
    "V3": "a row committed while the collector lists loses its object",
    "V4": "objects below a partition are never collected",
    "V5": "a failed, rolled-back or skipped insert leaves an object that nothing knows of",
    "V6": "a committed row is reported as a duplicate after a lost reply",
    "V7": "the object of a committed row is deleted after a lost reply",
    "V8": "a commit whose reply was lost is reported as an error, and nobody can tell",
    "V9": "a lost connection to PostgreSQL is not recognised as one",
    "V11": "bytes are not flushed to the disk before the row is inserted",
    "V13": "a download silently keeps a different file and reports success",
    "V14": "update1 makes a path without the primary key",
    "V20": "a path in a row reads a file outside the store",
    "V23": "credentials in a pickle or a repr",
}


def violation_class(invariant: str, message: str, operation: Operation, kind: str, outcome: Outcome) -> str:
    """Return the class of a violation: one of `KNOWN`, else the invariant with the fault's kind."""
    if invariant == "I3" and "neither a row nor an intent" in message:
        return "V5"
    if invariant in ("I1", "I2") and "gone" in message:
        return _of_a_lost_object(operation, kind, message)
    if invariant == "I6" and kind.startswith("drop"):
        return "V6" if "Duplicate" in str(outcome) else "V8"
    if invariant == "I7" and "connection" in message:
        return "V9"
    if invariant == "I4" and isinstance(operation, Download):
        return "V13"
    return f"{invariant}:{kind}"


def _of_a_lost_object(operation: Operation, kind: str, message: str) -> str:
    if isinstance(operation, Stage):
        return "V7"
    if "Archive" in message:
        return "V2"
    if isinstance(operation, Collect):
        return "V3" if kind.startswith("interleave") else "V1"
    return "V3" if kind == "interleave-gc" else "I1:lost"

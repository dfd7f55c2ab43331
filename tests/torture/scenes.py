"""The scenes of tier 1: each an operation, and what was done before it; and what others do meanwhile.

Which faults happen in them is decided in `singles`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.torture.operations import (
    Collect,
    Copy,
    Create,
    CutShort,
    Delete,
    Download,
    Insert,
    Operation,
    OwnTransaction,
    Populate,
    Stage,
    Tolerant,
    Transaction,
    Update,
)
from tests.torture.places import Damage, Mirror, Move, Read, Repair
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.values import Kind

KEY, OTHER_KEY = (1, 1), (1, 2)

ADOPTION_SECONDS = 300
"""After so long a process may adopt what one that was killed has stored."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An operation, what was done before it, and how many seconds before; *kept* is the token of rows that go.

    With *verbs* of a store, faults happen at steps of those alone: the others are like those of another scene.
    """

    operation: Operation
    before: tuple[Operation, ...] = ()
    seconds: int = 0
    kept: str = "kept"
    verbs: tuple[str, ...] = ()


def _kept(token: str = "kept") -> Insert:
    return Insert(token, (KEY, OTHER_KEY), attributes=("data", "notes"))


_LEFT = Transaction((Insert("left", (KEY,)),), rolls_back=True)

_LEFT_TREE = Transaction((Insert("tree-left", (KEY,)),), rolls_back=True)

_REMOVED_TREES = (
    CutShort(Insert("tree-begun", (KEY,))),
    Insert("tree-kept", (OTHER_KEY,)),
    Delete(OTHER_KEY),
    Collect(2 * GRACE_SECONDS),
)
"""A directory that was begun, and one that no row names any more, which the collector has marked."""

_REMOVED_LINKS = (
    Insert("link-kept", (KEY, OTHER_KEY), attributes=("data", "notes")),
    Copy(KEY, "Archive"),
    Update("link-new", KEY),
    Delete(OTHER_KEY),
    Collect(2 * GRACE_SECONDS),
)
"""Links that rows name, that only another schema's row names any more, and that no row does."""

_REMOVED = (_LEFT, _kept(), Copy(KEY, "Archive"), Delete(KEY), Delete(OTHER_KEY))
"""An upload that was given up, a file that only another schema's row names any more, and some that no row does."""

SCENES: dict[str, Scene] = {
    "insert1": Scene(Insert("new", (KEY,))),
    "insert": Scene(Insert("new", ((1, 1), (1, 2), (2, 1)), attributes=("data", "notes"))),
    "skip": Scene(Insert("new", (KEY, OTHER_KEY), skip=True), (Insert("kept", (KEY,)),)),
    "replace": Scene(Insert("new", (KEY,), replace=True), (_kept(),)),
    "update1": Scene(Update("new", KEY), (_kept(),)),
    "copy": Scene(Copy(KEY, "Backup"), (_kept(),)),
    "copy-schema": Scene(Copy(KEY, "Archive"), (_kept(),)),
    "delete": Scene(Delete(KEY), (_kept(), Insert("part", ((1, 1, 1), (1, 1, 2)), table="Trace"))),
    "commit": Scene(
        Transaction((Insert("new", (KEY,)), Insert("more", (OTHER_KEY,)), Update("newer", (2, 1)))),
        (Insert("kept", ((2, 1),)),),
    ),
    "rollback": Scene(Transaction((Insert("new", (KEY,)), Insert("more", (OTHER_KEY,))), rolls_back=True)),
    "populate": Scene(Populate("new", KEY, "Spectrum"), (_kept(),)),
    "populate-3": Scene(Populate("new", KEY, "Summary"), (_kept(),)),
    "staged": Scene(Stage("new", KEY)),
    "gc-mark": Scene(Collect(2 * GRACE_SECONDS), _REMOVED),
    "gc-purge": Scene(Collect(2 * GRACE_SECONDS), (*_REMOVED, Collect(2 * GRACE_SECONDS))),
    "adopt": Scene(Insert("left", (KEY,)), (_LEFT,), ADOPTION_SECONDS),
    "adopt-other": Scene(Insert("twin-b", (KEY,)), (Transaction((Insert("twin-a", (KEY,)),), rolls_back=True),)),
    "own-sql": Scene(OwnTransaction((Insert("new", (KEY,)), Insert("more", (OTHER_KEY,))))),
    "caught": Scene(
        Transaction((Insert("more", ((2, 1),)), Tolerant(Insert("new", (KEY,))), Insert("third", ((2, 2),)))),
        (_kept(),),
    ),
    "large": Scene(Insert("large", (KEY,))),
    "download": Scene(Download(KEY), (_kept(),)),
    "link-insert1": Scene(Insert("link-new", (KEY,), attributes=("data", "notes"))),
    "link-purge": Scene(Collect(2 * GRACE_SECONDS), _REMOVED_LINKS, kept="link-kept"),
    "tree-insert1": Scene(Insert("tree-new", (KEY,))),
    "tree-update1": Scene(Update("tree-new", KEY), (Insert("tree-kept", (KEY,)),)),
    "tree-delete": Scene(Delete(KEY), (Insert("tree-kept", (KEY, OTHER_KEY)),)),
    "tree-adopt": Scene(Insert("tree-left", (KEY,)), (_LEFT_TREE,), ADOPTION_SECONDS),
    "tree-resume": Scene(Insert("tree-left", (KEY,)), (CutShort(Insert("tree-left", (KEY,))),)),
    "tree-resume-other": Scene(Insert("tree-twin-b", (KEY,)), (CutShort(Insert("tree-twin-a", (KEY,))),)),
    "tree-create": Scene(Create("tree-new", KEY)),
    "tree-purge": Scene(
        Collect(2 * GRACE_SECONDS), _REMOVED_TREES, kept="tree-kept", verbs=("delete", "list", "unfinished")
    ),
}
"""The operations; those of trees store directories, those of links nothing."""

_TWO = (
    _kept(),
    Insert("tree-kept", ((2, 1),)),
    Insert("kept", ((2, 2),)),
    Delete((2, 2)),
    Mirror(),
)
"""Files and a directory that both places have, and a file that a history keeps."""

_DAMAGED = (
    *_TWO,
    Damage(KEY, "first", "flip"),
    Damage(OTHER_KEY, "second", "delete"),
    Damage((2, 1), "first", "delete", 2),
    Damage((2, 1), "second", "truncate", 3),
)

OF_PLACES: dict[str, Scene] = {
    "mirror-fill": Scene(Mirror(), (_kept(), Insert("tree-kept", ((2, 1),)), Damage(KEY, "second", "delete"))),
    "mirror-mend": Scene(Mirror(verify=True), _DAMAGED),
    "mirror-repair": Scene(Repair(), (*_TWO, Damage(KEY, "first", "flip"), Damage((2, 1), "first", "delete", 1))),
    "mirror-move": Scene(Move(), (*_TWO[:-1], Damage(KEY, "first", "flip"))),
    "mirror-download": Scene(Download(KEY), (*_TWO, Damage(KEY, "first", "flip"))),
}
"""Those of a project in two places."""

IN_TWO_PLACES = (
    *OF_PLACES,
    *("insert1", "insert", "update1", "staged", "commit", "adopt", "delete", "gc-mark", "gc-purge"),
    *("tree-insert1", "tree-create", "tree-resume", "tree-purge"),
)
"""What is played in a project of two places."""

SCENES |= OF_PLACES

# What others do meanwhile; a twin does the same.
ACTORS: dict[Kind, tuple[Operation, ...]] = {
    "interleave-gc": (Collect(2 * GRACE_SECONDS), Collect(2 * GRACE_SECONDS)),
    "interleave-gc-now": (Collect(),),
    "interleave-writer": (Insert("rival", (KEY,)), Insert("rival", (OTHER_KEY,))),
    "interleave-copy": (Copy(KEY, "Archive"), Delete(KEY)),
    "interleave-read": (Read(),),
}

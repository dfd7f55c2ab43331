"""Planted bugs of a project in two places: copies, fallbacks, repairs, deletions and moves that do not look first.

Each changes one place of the package; scenes of two places find it, or a case of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import datajoint_file
from datajoint_file.errors import DataJointFileError
from datajoint_file.insert import uploads
from datajoint_file.mirror import marks, project_move
from datajoint_file.mirror.mirror_run import MirrorReport, MirrorRun
from datajoint_file.pipeline import mirror_note, mirroring
from datajoint_file.pipeline.fallback import Fallback
from datajoint_file.pipeline.stores import Stores
from datajoint_file.storage.wrappers import MirroredBackend
from datajoint_file.transfer import fetch, hashing
from datajoint_file.verification import mend
from tests.torture.planting import Bug, Hunt, changed, inserted, problems_of, scenes
from tests.torture.values import Kind, Violation
from tests.torture.world import World

_CRASHES: tuple[Kind, ...] = ("crash-before", "crash-after")


class _Unverified(hashing.VerifyingReader):
    def _check(self, **_: Any) -> None:
        pass


def _copied_unverified() -> AbstractContextManager[None]:
    return changed(mirroring, "VerifyingReader", _Unverified)


@contextmanager
def _fallback_unverified() -> Iterator[None]:
    """Take from the mirror what it has, as it is."""
    original = Fallback.read

    def read(self: Any, metadata: Any, take: Callable[[Any], Any], anew: Callable[[], object] = lambda: None) -> Any:
        first, mirror = self._stores.of_object(metadata), self._stores.mirror_of(metadata)
        if mirror is None:
            return original(self, metadata, take, anew)
        with suppress(DataJointFileError):
            return take(first)
        with (
            changed(hashing.VerifyingReader, "_check", lambda self, **_: None),
            changed(fetch, "require_hash", lambda *_: None),
            changed(fetch, "require_size", lambda *_: None),
        ):
            return take(mirror)

    with changed(Fallback, "read", read):
        yield


def _mends_unread() -> AbstractContextManager[None]:
    """Delete what is wrong before the other copy was read."""
    return changed(mend, "fetch", lambda *_: None)


def _row_before_mirror() -> AbstractContextManager[None]:
    return changed(uploads, "is_mirrored_at_once", lambda pipeline: False)


def _deleted_in_one_place() -> AbstractContextManager[None]:
    return changed(Stores, "both", property(lambda self: self.own))


def _deletes_beside_in_mirror() -> AbstractContextManager[None]:
    """Let the mirror forget with an object all that is in the same directory of the store."""

    def forget(self: Any, key: str) -> None:
        for found in list(self._mirror.list(key.rpartition("/")[0].rpartition("/")[0])):
            self._mirror.delete(found.key)

    return changed(MirroredBackend, "_forget", forget)


def _swaps_unread() -> AbstractContextManager[None]:
    def through(self: Any, values: Any) -> MirrorReport:
        return MirrorReport(values=len(list(values())))

    return changed(MirrorRun, "through", through)


def _swaps_the_other_way_round() -> AbstractContextManager[None]:
    """Take the note away from the new place before the old one has it: for a moment both count."""

    def swap(sides: Any) -> None:
        marks.copy_marks(sides.first, sides.second)
        old, new = (mirror_note.MirrorNote(side.backend, side.project) for side in (sides.first, sides.second))
        new.remove()
        old.write(sides.second.backend)

    return changed(project_move, "_swap", swap)


def _spoilt(first: Callable[[bytes], bytes | None], second: Callable[[bytes], bytes | None], then: Hunt) -> Hunt:
    """Hunt with one row whose object is spoilt in the two places as told; None takes it away."""

    def hunt(world: World, seed: int) -> list[Violation]:
        assert world.second is not None
        key = inserted(world)["path"]
        whole = world.place.objects.get(key)
        assert whole is not None
        for objects, spoil in ((world.place.objects, first), (world.second, second)):
            content = spoil(whole)
            objects.delete([key])
            if content is not None:
                objects.put(key, content)
        return then(world, seed)

    return hunt


def _flip(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def _filled(world: World, seed: int) -> list[Violation]:
    """A run must not bring to the mirror what the store has wrong."""
    report = datajoint_file.mirror.run(world.other.connection, progress=False)
    assert world.second is not None
    wrong = [f"the mirror was given {key} as it is not" for key in world.second.keys()]  # noqa: SIM118 - of a store
    return problems_of("mirror", seed, wrong + ["it was told that both places have it"] * bool(report))


def _read(world: World, seed: int) -> list[Violation]:
    """What neither place has right is not given to anybody."""
    with suppress(DataJointFileError):
        world.other.tables["Recording"].fetch1("data").read()
        return problems_of("fallback", seed, ["bytes came that are not the file's"])
    return []


def _mended(world: World, seed: int) -> list[Violation]:
    """What is wrong in both places is left as it is."""
    before = len(world.place.objects.keys())
    datajoint_file.mirror.run(world.other.connection, progress=False)
    is_deleted = len(world.place.objects.keys()) < before
    return problems_of("mend", seed, ["an object was deleted for one that is as wrong"] * is_deleted)


BUGS: dict[str, Bug] = {
    "mirror copies unverified": Bug(_copied_unverified, _spoilt(_flip, lambda _: None, _filled), store="local+later"),
    "fallback without verification": Bug(
        _fallback_unverified, _spoilt(lambda _: None, _flip, _read), store="local+both"
    ),
    "mends before the other is read": Bug(
        _mends_unread, _spoilt(lambda content: content[:-1], _flip, _mended), store="local+both"
    ),
    "row before its mirror": Bug(_row_before_mirror, scenes("insert1", kinds=()), store="local+both"),
    "collector forgets the mirror": Bug(_deleted_in_one_place, scenes("gc-purge", kinds=()), store="local+both"),
    "collector deletes beside in the mirror": Bug(
        _deletes_beside_in_mirror, scenes("gc-purge", kinds=()), store="local+both"
    ),
    "move swaps unread": Bug(_swaps_unread, scenes("mirror-move", kinds=()), store="local+later"),
    "move takes the note away first": Bug(
        _swaps_the_other_way_round, scenes("mirror-move", kinds=_CRASHES, tail=12), store="local+later"
    ),
}

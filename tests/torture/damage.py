"""Tier 5: bytes change in the store behind everybody's back. Whoever reads must be told, and never get them.

Every damage is done through the other door; what finds it is the package.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.torture.operations import Insert, payload
from tests.torture.values import Case, Violation
from tests.torture.world import World

KINDS = ("flip", "truncate", "extend", "empty", "swap", "delete")
KEYS = tuple((subject, session) for subject in (1, 2) for session in (1, 2, 3))


class Damages:
    """Tier 5 over one cell.

    Parameters
    ----------
    world : World
        The cell, made ready.
    seed : int
        Where all damage comes from.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.references: dict[tuple[int, ...], Any] = {}

    def prepare(self) -> None:
        """Insert some rows, whose objects are damaged one after the other, and mended."""
        self.world.clear()
        Insert("whole", KEYS).run(self.world.user)
        table = self.world.user.tables["Recording"]
        rows = table().to_dicts()
        self.references = {(row["subject"], row["session"]): row["data"] for row in rows}

    def run(self, number: int) -> list[Violation]:
        """Do one damage, read, mend, and return what was not noticed."""
        case = Case("T5", self.world.cell, (str(number),), self.seed)
        generator = case.randomness()
        key = generator.choice(KEYS)
        kind = generator.choice(KINDS)
        whole = payload("whole", "Recording", key, "data")
        path = self._path(key)
        damaged = self._damaged(kind, whole, generator, key)
        if damaged == whole:
            return []
        self._put(path, damaged)
        try:
            problems = self._unnoticed(key, generator)
        finally:
            self.world.place.objects.put(path, whole)
        return [Violation("I5", f"I5:{kind}", case.name, f"{kind}: {problem}", self.seed, ()) for problem in problems]

    def _path(self, key: tuple[int, ...]) -> str:
        value = {"path": self.references[key].path}
        return self.world.subject.object_key(value, self.world.place.project)

    def _damaged(self, kind: str, whole: bytes, generator: random.Random, key: tuple[int, ...]) -> bytes | None:
        if kind == "delete":
            return None
        if kind == "swap":
            other = generator.choice([candidate for candidate in KEYS if candidate != key])
            return payload("whole", "Recording", other, "data")
        changes: dict[str, Callable[[], bytes]] = {
            "flip": lambda: _flipped(whole, generator),
            "truncate": lambda: whole[: generator.randrange(len(whole) or 1)],
            "extend": lambda: whole + generator.randbytes(generator.randint(1, 100)),
            "empty": lambda: b"",
        }
        return changes[kind]()

    def _put(self, path: str, content: bytes | None) -> None:
        if content is None:
            self.world.place.objects.delete([path])
        else:
            self.world.place.objects.put(path, content)

    def _unnoticed(self, key: tuple[int, ...], generator: random.Random) -> list[str]:
        reference, problems = self.references[key], []
        try:
            reference.read()
            problems.append(f"read() of {key} returned bytes")
        except Exception:
            pass
        target = self.world.user.directory / f"{generator.randrange(10**9)}.dat"
        try:
            reference.download(target)
            problems.append(f"download() of {key} succeeded")
        except Exception:
            pass
        if target.exists():
            problems.append(f"download() of {key} left a file")
            target.unlink()
        return problems


def _flipped(whole: bytes, generator: random.Random) -> bytes:
    """Return *whole* with one bit changed."""
    if not whole:
        return b"\0"
    content = bytearray(whole)
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)

"""Planted bugs of a migration: late rows that nobody looks for, files of users that are taken for its own."""

from __future__ import annotations

from contextlib import AbstractContextManager

from datajoint_file.migrate.old_rows import OldRows
from datajoint_file.migrate.passes import Passes
from tests.torture.migrations import Migrations
from tests.torture.planting import Bug, changed
from tests.torture.values import Violation
from tests.torture.world import World


def _late_rows_not_looked_for() -> AbstractContextManager[None]:
    """Exchange the names under the lock without another look."""
    return changed(Passes, "is_ready", lambda self: True)


def _changes_overlooked() -> AbstractContextManager[None]:
    """Take what has a file for done, whatever its old value is by now."""
    return changed(OldRows, "undone", lambda self: (f"({self.filled()[0]} AND djf_path IS NULL)", []))


def _late(world: World, seed: int) -> list[Violation]:
    """Another program writes at each step of ``finish`` in turn, from where it has looked for such rows."""
    migrations = Migrations(world, seed)
    return next((found for step in range(22, 28) if (found := migrations.late(step))), [])


def _changed_before(world: World, seed: int) -> list[Violation]:
    """Another program writes between ``check`` and ``finish``."""
    return Migrations(world, seed).late(0)


BUGS: dict[str, Bug] = {
    "finish without a look for late rows": Bug(_late_rows_not_looked_for, _late),
    "what was changed is taken for moved": Bug(_changes_overlooked, _changed_before),
}

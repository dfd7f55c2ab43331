"""A project with a store and a mirror, as tests of the mirror make and look at it, past the package under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.errors import MirrorWarning
from tests.projects import Store, bare_filesystem

CONTENT = b"spikes " * 1000


@dataclass(frozen=True)
class Places:
    """The two places of a project, and a table whose files they have."""

    first: Store
    mirror: Store
    table: Any
    document: dict[str, Any]

    def both(self) -> tuple[list[str], list[str]]:
        return self.first.object_keys(), self.mirror.object_keys()

    @property
    def connection(self) -> Any:
        return self.table.connection


Make = Callable[..., Places]


def tree(tmp_path: Path) -> Path:
    home = tmp_path / "run.zarr"
    (home / "c").mkdir(parents=True)
    for number in range(5):
        (home / "c" / str(number)).write_bytes(bytes([number]) * (1000 + number))
    (home / "empty").write_bytes(b"")
    return home


def contents(store: Store) -> dict[str, bytes]:
    """All objects of a store but the remains of uploads, by key; of a bucket through one client."""
    keys = [key for key in store.object_keys() if "~partial-" not in key]
    if store.is_local:
        return {key: store.content(key) for key in keys}
    found = bare_filesystem(store.table).cat([f"{store.root_name}/{key}" for key in keys])
    return {name.removeprefix(f"{store.root_name}/"): content for name, content in found.items()}


@contextmanager
def one_warning(match: str = "") -> Iterator[None]:
    with pytest.warns(MirrorWarning, match=match) as told:
        yield
    assert len([one for one in told if one.category is MirrorWarning]) == 1

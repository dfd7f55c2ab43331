"""Kills at every step of a run and of a move: the next one finishes it, and both places have what was stored."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datajoint_file import gc, mirror
from tests.integration.mirror.test_mirror import _mirror_and_die, filled, run
from tests.integration.mirror.test_move import Moving, _move_and_die, moving
from tests.integration.mirrors import Make, contents
from tests.projects import Store

__all__ = ["moving"]

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]


def deaths(stores: tuple[Store, Store], aside: Path, target: Callable[..., None], *args: Any) -> Iterator[int]:
    """Give, for each call of a place's verbs, its number, when what was stored then has seen a kill just before it."""
    homes = [Path(store.table["path"]) for store in stores]
    for home in homes:
        shutil.copytree(home, aside / home.name)
    call = 0
    while True:
        call += 1
        for home in homes:
            shutil.rmtree(home)
            shutil.copytree(aside / home.name, home)
        process = multiprocessing.get_context("fork").Process(target=target, args=(*args, None, call))
        process.start()
        process.join(120)
        if process.exitcode == 0:
            return
        assert process.exitcode == -9, call
        yield call


@pytest.mark.parametrize("side", ["old", "new"])
def test_move(moving: Moving, tmp_path: Path, side: str) -> None:
    (tmp_path / "aside").mkdir()
    whole, call = contents(moving.old), 0
    for call in deaths((moving.old, moving.new), tmp_path / "aside", _move_and_die, moving, side):
        connection = moving.opened(moving.old_toml).connection
        assert mirror.move(moving.new_toml, connection).is_swapped, call
        assert moving.notes() == (True, False), call
        assert contents(moving.old) == contents(moving.new) == whole, call
        assert not gc.plan(moving.opened(moving.new_toml).connection).refusals, call
    assert call > 10


@pytest.mark.parametrize("side", ["first", "mirror"])
def test_run_with_damage_in_both_places(places: Make, tmp_path: Path, database: Any, side: str) -> None:
    (tmp_path / "aside").mkdir()
    found, call = filled(places, tmp_path), 0
    run(found)
    whole = contents(found.first)
    dats = [key for key in whole if key.endswith(".dat")]
    found.first.damage(dats[0], b"?")
    found.mirror.damage(dats[1], b"?")
    for key in whole:
        if key in dats[2:] or "run.zarr" in key:
            found.mirror.remove(key)
    args = (found.document, database, found.table.database, side)
    for call in deaths((found.first, found.mirror), tmp_path / "aside", _mirror_and_die, *args):
        assert run(found, verify=True), call
        assert contents(found.first) == contents(found.mirror) == whole, call
    assert call > 10

"""Kills of a migration while another one of the same attribute, a writer and a reader are at work: nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file import gc
from tests.integration.migrate.scenes import Scene
from tests.torture.values import Fault

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]

EACH = 5
"""Every so many steps one is met: who is where just then is up to the machine anyway."""

FIRST_KEY, MOST_ROWS = 100, 40
"""More would come faster than batches of two rows are moved."""


def _write(scene: Scene, told: int, stop: Any) -> None:
    """Insert some rows until *stop*, whatever the attribute is by now; tell which are there."""
    connection, key = scene.opened().connection, FIRST_KEY
    while not stop.is_set() and key < FIRST_KEY + MOST_ROWS:
        path = scene.home / "given" / f"{key}.dat"
        path.write_bytes(b"w%d" % key)
        try:
            dj.FreeTable(connection, scene.full_name).insert1({"id": key, "raw": str(path)})
        except Exception:
            connection.connect()
        else:
            os.write(told, b"%d\n" % key)
        key += 1
        stop.wait(0.03)


@contextmanager
def writer(scene: Scene) -> Iterator[None]:
    """Rows are inserted as long as the block runs; then the scene knows of them."""
    context, (source, target) = multiprocessing.get_context("fork"), os.pipe()
    stop = context.Event()
    process = context.Process(target=_write, args=(scene, target, stop))
    process.start()
    os.close(target)
    try:
        yield
    finally:
        stop.set()
        with os.fdopen(source) as lines:
            keys = [int(line) for line in lines]
        process.join(60)
    assert process.exitcode == 0
    scene.old |= {key: {"": b"w%d" % key} for key in keys}
    scene.new |= {key: {"": b"w%d" % key} for key in keys}


def read_all(scene: Scene) -> None:
    """Read what was there before anybody began, by the name that users know; names may be exchanged at any moment."""
    names = scene.table().heading.names
    try:
        found = scene.read("raw")
        assert all(found[key] in (scene.old[key], scene.new[key]) for key in scene.new)
    except Exception:
        if "raw__before" in names or "raw__before" not in scene.table().heading.names:
            raise


def finished(scene: Scene) -> None:
    """Do the rest; check that all is there, and nothing that nobody refers to."""
    for verb in ("run", "check", "finish", "check"):
        report = getattr(scene.migration(), verb)()
        assert report, report
    assert scene.read("raw") == scene.new
    for key, content in scene.read("raw__before").items():  # the writer's rows may have come since
        assert content == scene.old[key] or (content is None and key >= FIRST_KEY)
    left = scene.settled()
    assert (left["intents"], left["verified"]) == ([], True)
    plan = gc.plan(scene.connection, scan=True, progress=False)
    assert not any((plan.reclaim, plan.wait, plan.unknown, plan.missing)), plan


@pytest.mark.parametrize("verb", ["run", "finish"])
def test_one_is_killed_while_others_are_at_work(database: Any, tmp_path: Path, verb: str) -> None:
    with Scene(database, tmp_path / "whole", "path") as whole:
        whole.prepare(verb)
        steps = whole.trace(verb)
    kills = 0
    for number in range(1, len(steps) + 10, EACH):
        with Scene(database, tmp_path / "killed", "path") as scene:
            scene.prepare(verb)
            with writer(scene):
                one, other = scene.start(verb, Fault("crash-before", number)), scene.start(verb, None)
                for process in (one, other):
                    while process.is_alive():
                        read_all(scene)
                        process.join(0.05)
            kills += one.exitcode == -signal.SIGKILL
            assert one.exitcode in (0, -signal.SIGKILL), steps[number - 1 : number]
            assert other.exitcode == 0, steps[number - 1 : number]
            finished(scene)
    assert kills > len(steps) // EACH // 2

"""Tracebacks of mistakes: they show the user's line and where DataJoint was called, not the rooms of this package."""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import MISTAKES


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    Recording.insert1({"k": 1, "raw": ("a.dat", b"a")})
    return Recording


def declare(table: Any) -> None:
    class Wrong(dj.Manual):
        definition = """
        raw : file
        """

    dj.Schema(table().database, connection=table().connection)(Wrong)


def is_removed(table: Any) -> Any:
    ref = table.fetch1("raw")
    table().connection.query(f"DELETE FROM {table().full_table_name}")
    for path in Path.cwd().rglob("a.dat"):
        path.unlink()
    return ref


MISTAKEN: dict[str, Callable[[Any], Any]] = {
    "missing path": lambda table: table.insert1({"k": 2, "raw": "/nowhere/a.dat"}),
    "wrong type": lambda table: table.insert([{"k": 2, "raw": 5}]),
    "stream at its end": lambda table: table.insert1({"k": 2, "raw": ("a", _written())}),
    "no value": lambda table: table.insert1({"k": 2}),
    "unknown attribute": lambda table: table.insert1({"k": 2, "rwa": ("a.dat", b"a")}),
    "duplicate": lambda table: table.insert1({"k": 1, "raw": ("a.dat", b"a")}),
    "update": lambda table: table.update1({"k": 1, "raw": "/nowhere/a.dat"}),
    "declaration": declare,
    "restriction": lambda table: table.proj(raw="k + 1") & {"raw": table.fetch1("raw")},
    "configuration": lambda table: datajoint_file.configure(5),
    "destination": lambda table: table.fetch1("raw").download("/proc/x/"),
    "lost object": lambda table: is_removed(table).read(),
    "download": lambda table: datajoint_file.download(table, "/proc/x"),
    "prefetch": lambda table: datajoint_file.prefetch(table, directory="/proc"),
    "verification": lambda table: datajoint_file.verify(table.proj()),
}


def _written() -> io.BytesIO:
    stream = io.BytesIO()
    stream.write(b"x")
    return stream


def ours(frame: Any) -> bool:
    return str(frame.f_globals["__name__"]).startswith("datajoint_file.")


@pytest.fixture
def error(request: pytest.FixtureRequest, table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    monkeypatch.chdir(tmp_path)
    try:
        MISTAKEN[request.param](table)
    except Exception as error:
        return error
    raise AssertionError("it was no mistake")


@pytest.mark.parametrize("error", MISTAKEN, indirect=True)
def test_frames_of_ours_are_hidden_and_no_others(error: BaseException) -> None:
    assert isinstance(error, MISTAKES)
    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            is_hidden = frame.f_locals.get("__tracebackhide__", False)
            assert is_hidden == (ours(frame) or frame.f_globals["__name__"] == "contextlib"), frame
        cause = cause.__cause__ or cause.__context__


@pytest.mark.parametrize("error", ["missing path", "lost object"], indirect=True)
def test_notebook_shows_the_users_line_and_at_most_the_raise_of_ours(error: BaseException) -> None:
    ultratb = pytest.importorskip("IPython.core.ultratb")
    shown = ultratb.VerboseTB(theme_name="nocolor").text(type(error), error, error.__traceback__)
    last = shown[shown.rindex("Traceback (most recent call last)") :]
    assert "test_tracebacks.py" in last
    assert "skipping hidden" in last
    assert last.count("/datajoint_file/") == 1


def test_fault_of_ours_is_shown_whole(table: Any) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            return b""

        @property
        def name(self) -> str:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault") as caught:
        table.insert1({"k": 2, "raw": Broken()})
    assert [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__) if ours(frame)]
    assert not any("__tracebackhide__" in frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__))

"""Formats that users and other packages add, and which format a file gets."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datajoint_file import formats
from datajoint_file.errors import FormatError, MissingLibraryError, UnsupportedValueError
from datajoint_file.formats import registry
from tests.unit.formats.conftest import Keep


class Spikes(list[int]):
    """A type of a laboratory."""


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_formats", dict(registry._formats))
    yield
    registry._entry_points.cache_clear()


def _load(path: Path) -> Spikes:
    return Spikes(map(int, path.read_text().split()))


def _save(spikes: Spikes, path: Path) -> None:
    path.write_text(" ".join(map(str, spikes)))


def test_a_format_of_ones_own_is_written_read_and_compared(keep: Keep) -> None:
    with pytest.raises(UnsupportedValueError, match=r"Spikes.*register adds formats"):
        keep(("a.npz", Spikes([1])))
    formats.register(
        ".Spikes.txt",
        load=_load,
        save=_save,
        types=[Spikes],
        differs=lambda given, loaded: "" if given == loaded else "a spike is lost",
        media_types=["application/x-spikes"],
    )
    ref = keep(("a.spikes.txt", Spikes([3, 1])))
    assert ref.read() == b"3 1"
    assert ref.load() == Spikes([3, 1])
    assert keep(("b.txt", b"3 1")).load() == "3 1"
    assert keep(("b.txt", b"3 1")).load(format=".spikes.txt") == Spikes([3, 1])
    assert keep(Spikes([1]), {"Spikes": ".spikes.txt"}).original_name == "raw_data.spikes.txt"
    with pytest.raises(FormatError, match="ValueError"):
        keep(("a.spikes.txt", Spikes(["x"])))  # type: ignore[list-item]


def test_what_cannot_be_registered_is_refused() -> None:
    for suffix in ("xyz", ".a/b", "", ".", ".é"):
        with pytest.raises(ValueError, match="give a dot"):
            formats.register(suffix, load=_load)
    with pytest.raises(ValueError, match="has a format already"):
        formats.register(".csv", load=_load)
    with pytest.raises(ValueError, match="give load="):
        formats.register(".xyz")
    with pytest.raises(ValueError, match="give load="):
        formats.register(".xyz", save=_save)
    formats.register(".csv", load=_load, replace=True)


def test_a_package_adds_formats_by_an_entry_point(keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_formats.py").write_text(
        "from datajoint_file import formats\nformats.register('.lab', load=lambda path: path.read_bytes()[::-1])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        importlib.metadata.EntryPoint(".lab", "lab_formats", registry.GROUP),
        importlib.metadata.EntryPoint(".gone", "json", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])
    registry._entry_points.cache_clear()
    assert "lab_formats" not in sys.modules
    assert keep(("a.lab", b"abc")).load() == b"cba"
    with pytest.raises(FormatError, match=r"json is to register the format .gone"):
        keep(("a.gone", b"abc")).load()
    del sys.modules["lab_formats"]


def test_a_missing_library_is_named_with_its_line_of_pip(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for attempt in (lambda: keep(("a.yaml", {"a": 1})), lambda: keep(("a.yaml", b"a: 1")).load()):
        with pytest.raises(MissingLibraryError, match=r"a.yaml.*pip install pyyaml"):
            attempt()


def test_a_file_of_no_format_says_what_could_be_done(keep: Keep, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a.xyz .*application/octet-stream: use read\(\) or open\(\), or load\(form"):
        keep(("a.xyz", b"\0\1")).load()
    with pytest.raises(UnsupportedValueError, match=r"format = '.xyz' is none of the formats .csv"):
        keep(("a.csv", b"a\n1\n")).load(format=".xyz")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FormatError, match=r"a directory of no format.*one of .zarr"):
        keep(str(tmp_path / "folder.csv")).load()
    with pytest.raises(FormatError, match="a file of no format"):
        keep(("a.zarr", b"")).load()

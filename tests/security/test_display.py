"""Attacks on people who look: notebooks, terminals, logs, spreadsheets; and code that would run what it reads."""

from __future__ import annotations

import ast
import io
import logging
import pickle
import tracemalloc
import zlib
from pathlib import Path
from typing import Any, ClassVar

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import File, FileMetadata, FileRef
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import DataJointFileError, UnsupportedValueError
from datajoint_file.transfer.atomic_write import atomic_write
from tests.security.attacks import KEPT_NAMES, REFUSED_NAMES, attack, attacks
from tests.security.conftest import Arena, by_database, on_disk

PACKAGE = Path(datajoint_file.__file__).parent
SCRIPTS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'onmouseover='alert(1)", "&lt;b&gt;"]


def forged(**changes: Any) -> FileRef:
    fields: dict[str, Any] = {
        "path": "lab/x/y",
        "size": 3,
        "hash": "sha256:" + "0" * 64,
        "original_name": "x.bin",
        "timestamp": FileMetadata.from_json(ROW).timestamp,
        "mime_type": "text/plain",
    }
    return FileRef(FileMetadata(**{**fields, **changes}), "")


ROW = {
    "path": "lab/x/y",
    "size": 3,
    "hash": "sha256:" + "0" * 64,
    "original_name": "x.bin",
    "timestamp": "2025-01-15T10:30:00Z",
}


@attacks(34)
@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("field", ["original_name", "path", "hash", "mime_type"])
def test_card_shows_hostile_text_as_text(field: str, text: str) -> None:
    card = forged(**{field: text})._repr_html_()
    assert text not in card
    assert "<script" not in card
    assert "<img" not in card


@attacks(6, 34, 50)
@pytest.mark.parametrize("name", [case for case in [*REFUSED_NAMES, *KEPT_NAMES] if len(case.values[0]) < 1000])
def test_name_is_shown_on_one_line_with_nothing_hidden(name: str) -> None:
    ref = forged(original_name=name)
    assert repr(ref).isprintable()
    assert str(ref).isprintable()
    assert f"{ref}".isprintable()
    assert ref._repr_html_().isprintable()


@by_database
@attacks(34)
def test_table_shows_hostile_names_as_text(arena: Arena) -> None:
    arena.insert(("<script>alert(1)", b"x"))
    shown = arena.table()._repr_html_()
    assert "&lt;script&gt;alert(1), 1 B" in shown
    assert "<script" not in shown
    assert repr(arena.table()).replace("\n", "").isprintable()


@by_database
@attacks(33)
def test_content_is_never_shown_and_its_media_type_is_only_recorded(arena: Arena) -> None:
    page = b"<html><script>alert(1)</script>"
    cases = {"page.html": "text/html", "lie.png": "image/png", "no suffix": "text/html", "drawing.svg": "image/svg+xml"}
    for name, mime_type in cases.items():
        ref = arena.fetch(arena.insert((name, page)))
        assert "alert" not in ref._repr_html_() + repr(ref)
        assert ref.mime_type in (mime_type, "application/octet-stream")
        assert "?" not in ref.url
    polyglot = b"\x89PNG\r\n\x1a\n<script>alert(1)</script>"
    assert "alert" not in arena.fetch(arena.insert(File(polyglot, name="x", mime_type="text/html")))._repr_html_()


@by_database
@attacks(30, 33, 36)
def test_preview_shows_content_as_text_and_unpacks_no_bomb(arena: Arena) -> None:
    page = b"<html><script>alert(1)</script>\x1b[2J"
    for name in ("page.html", "drawing.svg", "no suffix", "table.csv", "data.json"):
        shown = arena.fetch(arena.insert((name, page))).preview()
        assert "&lt;script&gt;alert(1)" in shown._repr_html_()
        assert "<script" not in shown._repr_html_()
        assert str(shown).replace("\n", "").isprintable()
    bomb = zlib.compressobj(wbits=31)
    packed = bomb.compress(b"1,2\n" * 5_000_000) + bomb.flush()
    tracemalloc.start()
    try:
        shown = arena.fetch(arena.insert(("bomb.csv.gz", packed))).preview()
        assert "first rows of 2 columns" in str(shown)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    code = arena.fetch(arena.insert(("code.npy", pickle.dumps(_Harm())))).preview()
    assert "80 04" in str(code)
    assert not _Harm.done


class _Harm:
    done: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _Harm.done.append, ("harm",)


@by_database
@pytest.mark.parametrize(
    "mime_type",
    [attack(33, "text/html\r\nSet-Cookie: x"), attack(33, "<b>/x"), attack(33, "x" * 300 + "/y", name="long")],
)
def test_media_type_that_is_none_is_refused(arena: Arena, mime_type: str) -> None:
    before = arena.store.object_keys()
    with pytest.raises(UnsupportedValueError, match="mime_type"):
        arena.insert(File(b"x", name="x", mime_type=mime_type))
    assert arena.store.object_keys() == before


@on_disk
@attacks(35)
def test_formula_in_a_name_is_exported_as_it_is(arena: Arena) -> None:
    ref = arena.fetch(arena.insert(("=cmd|' !A1'", b"x")))
    assert ref.to_dict()["original_name"] == "=cmd|' !A1'"
    assert repr(ref).startswith("FileRef(")


@by_database
@attacks(50)
def test_nothing_hostile_breaks_a_line_of_a_log(arena: Arena, caplog: pytest.LogCaptureFixture) -> None:
    definition = "label : varchar(60)\n---\nraw = null : file"
    table = arena.schema(type("Noted", (dj.Manual,), {"definition": definition}))
    caplog.set_level(logging.DEBUG, "datajoint_file")
    line = "a\n2026-11-21 12:00:00 ERROR stolen \x1b[31m"
    values: list[Any] = [(line, b"x"), line, File(b"x", name=line), ("x", _Broken(line)), {line: line}]
    for value in values:
        with pytest.raises(DataJointFileError) as caught:
            table.insert1({"label": line, "raw": value})
        assert str(caught.value).isprintable()
    table.insert1({"label": line, "raw": ("x", b"x")})
    assert (table & {"label": line}).fetch1("raw").read() == b"x"
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("datajoint_file")]
    assert ours
    assert all(message.isprintable() for message in ours)


class _Broken(io.RawIOBase):
    def __init__(self, says: str) -> None:
        self.says = says

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        raise OSError(self.says)


@attacks(50)
def test_progress_bar_shows_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("storing a\n\x1b]0;title\x07\u202eb", 1, show=True) as advance:
        advance(1)
    shown = capsys.readouterr().err
    assert not any(text in shown for text in ("\x1b]0", "\x07", "\u202e"))


@attacks(50)
def test_destination_that_cannot_be_written_is_named_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").write_bytes(b"")
    with pytest.raises(DataJointFileError) as caught, atomic_write(tmp_path / "a\nb" / "c"):
        pass
    assert str(caught.value).isprintable()


RUNNING_WHAT_IS_READ = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads"),
    *("shelve.open", "yaml.load", "yaml.unsafe_load", "np.load", "numpy.load", "joblib.load", "subprocess.getoutput"),
    *("tarfile.open", "zipfile.ZipFile", "shutil.unpack_archive", "tempfile.mktemp"),
}
BETWEEN_OURSELVES = {("executors.py", "pickle.loads")}
"""Orders to an executor's workers, and their answers, which the executor would unpickle otherwise."""

LOOKED_INTO = {("arrays.py", "zipfile.ZipFile")}
"""Arrays are read from archives in memory, in bounds: `tests/unit/preview/test_hostile` has bombs."""


@attacks(12, 29, 36)
def test_package_runs_and_unpacks_nothing_that_it_reads() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                shell = any(
                    keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False"
                    for keyword in node.keywords
                )
                if (name in RUNNING_WHAT_IS_READ and (path.name, name) not in BETWEEN_OURSELVES | LOOKED_INTO) or shell:
                    found.append(f"{path.name}:{node.lineno}: {name}")
    assert found == []

"""Declarations: ``file`` becomes ``<file>`` where it is a type, and nowhere else; what cannot work is refused.

The other door is DataJoint's own parser, which reads what was rewritten.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from datajoint import declare as dj_declare
from datajoint.adapters import get_adapter
from hypothesis import example, given
from hypothesis import strategies as st

from datajoint_file.config import bind
from datajoint_file.errors import DeclarationError
from datajoint_file.hooks.declare import prepare_declare, rewrite

KEY = "subject_id : int32\n---\n"

BARE_PREPARE_DECLARE = inspect.unwrap(dj_declare.prepare_declare)  # DataJoint's own


def compiled(definition: str) -> Any:
    """Compile *definition* to SQL as DataJoint does, without a database."""
    return BARE_PREPARE_DECLARE(definition, {}, get_adapter("mysql"))


SPELLINGS = [
    "raw : file",
    "raw:file",
    "raw :file",
    "raw: file",
    "raw\t:\tfile",
    "raw : file   ",
    "raw : file # the recording",
    "raw : file# the recording",
    "raw : file #",
    "raw : file # with : file and <file> and -> in it",
    "raw : <file>",
    "raw : < file >",
    "raw:<file># x",
    "raw = null : file",
    "raw=null:file",
    "raw = NULL : file # x",
    "raw = null : <file>",
    "raw : FILE",
    "raw : <File>",
    "file : file",
    "profile : file",
    "index : file",
    "raw_2 : file",
]


@pytest.mark.parametrize("line", SPELLINGS)
def test_every_spelling_is_a_file_attribute(line: str) -> None:
    rewritten, names = rewrite(KEY + line)
    assert names == [re.split(r"[\s:=]", line)[0]]
    parsed = dj_declare.attribute_parser.parse_string(rewritten.splitlines()[-1] + "#", parse_all=True)
    comment = line.partition("#")[2].strip()
    assert (parsed["name"], parsed["type"].strip()) == (names[0], "<file>")
    assert parsed["comment"].rstrip("#").strip() == comment.rstrip("#")
    assert parsed.get("default", "").strip().lower() == ("null" if "null" in line.lower().partition("#")[0] else "")


@pytest.mark.parametrize("line", SPELLINGS)
def test_every_spelling_compiles_to_the_same_sql_as_the_codec(line: str) -> None:
    name = re.split(r"[\s:=]", line)[0]
    default = " = null" if "null" in line.lower().partition("#")[0] else ""
    comment = line.partition("#")[2].strip()
    codec = f"{KEY}{name}{default} : <file>{f' # {comment}' if comment else ''}"
    sql, expected = (" ".join(map(str, compiled(text))).replace(": ", ":") for text in (rewrite(KEY + line)[0], codec))
    assert re.sub(r"\s+", " ", sql) == re.sub(r"\s+", " ", expected)


NO_FILE_ATTRIBUTES = [
    "name : varchar(10)",
    "file : varchar(10)",
    "profile : varchar(10)",
    "raw : filepath@store",
    "raw : <filepath@store>",
    "raw : files",
    "raw : file_",
    "raw : file(3)",
    "raw : varchar(4) # : file",
    "raw : varchar(4) # raw : file",
    'raw = "x : file" : varchar(20)',
    "raw = 'x : file' : varchar(20)",
    'raw = ": file" : varchar(20)  # : file',
    "raw = null : varchar(20)  # x = null : file",
    "raw : <object@store>",
    "raw : <blob> # : <file>",
    "raw : enum('file', 'b : file')",
    "# raw : file",
    "#raw : <file@store>",
    "-> Other",
    "-> Other  # raw : file",
    "-> [nullable] Other.proj(file='x')  # : file",
    "-> Other.proj(raw='b : file')",
    "index (raw, file)",
    "unique index (raw) # x : file",
    "index(file)",
]


@pytest.mark.parametrize("line", NO_FILE_ATTRIBUTES)
@pytest.mark.parametrize("in_key", [True, False])
def test_other_lines_are_left_alone(line: str, in_key: bool) -> None:
    definition = f"{line}\n---\nx : int32" if in_key else f"x : int32\n---\n{line}"
    assert rewrite(definition) == (definition, [])


@pytest.mark.parametrize("line", NO_FILE_ATTRIBUTES)
def test_other_lines_beside_a_file_attribute_are_left_alone(line: str) -> None:
    assert rewrite(f"x : int32\n---\n{line}\nraw : file") == (f"x : int32\n---\n{line}\nraw : <file>", ["raw"])


def test_attributes_are_named_in_their_order() -> None:
    definition = """
    # recordings : file
    subject_id : int32
    ---
    raw  : file
    name : varchar(10)
    processed = null : file  # later
    """
    assert rewrite(definition)[1] == ["raw", "processed"]


def test_definition_from_windows_is_rewritten_like_any_other() -> None:
    definition = "# a table\r\nsubject_id : int32\r\n---\r\n\r\nraw = null : file  # x\r\nname : varchar(10)\r\n"
    rewritten, names = rewrite(definition)
    assert names == ["raw"]
    assert rewritten == "# a table\nsubject_id : int32\n---\nraw = null : <file>  # x\nname : varchar(10)"
    assert compiled(rewritten)[:3] == compiled(rewritten.replace("\n", "\r\n"))[:3]


@pytest.mark.parametrize("separator", ["---", "------", "--- # the rest", "---file : file"])
def test_key_ends_at_the_line_where_datajoint_ends_it(separator: str) -> None:
    assert rewrite(f"x : int32\n{separator}\nraw : file")[1] == ["raw"]


@pytest.mark.parametrize(
    "definition", ["raw : file", "x : int32\nraw : file\n---\ny : int32", "raw : <file>\n---", "raw = null : file"]
)
def test_file_in_the_primary_key_is_refused(definition: str) -> None:
    with pytest.raises(DeclarationError, match="cannot be part of the primary key; move it below the --- line"):
        rewrite(definition)


@pytest.mark.parametrize(
    "default", ['"x"', "'x'", "0", "CURRENT_TIMESTAMP", '"null"', "''", '"a : b"', "nul", '"->"', "x y"]
)
def test_default_other_than_null_is_refused(default: str) -> None:
    with pytest.raises(DeclarationError, match='has no default but null; declare "raw = null : file"'):
        rewrite(f"{KEY}raw = {default} : file")


@pytest.mark.parametrize(
    "type_", ["file@store", "file@", "<file@store>", "<file@>", "< file @store>", "FILE@x", "file@store # x"]
)
def test_store_is_refused_with_what_to_declare(type_: str) -> None:
    with pytest.raises(DeclarationError, match=r"names no store, storage belongs to the pipeline .* declare") as caught:
        rewrite(f"{KEY}raw : {type_}")
    assert '"raw : <file>' in str(caught.value)


@pytest.mark.parametrize("definition", ["", "\n\n", "x : int32", "---", "# only : file", "\n---\n"])
def test_definition_without_files_names_none(definition: str) -> None:
    assert rewrite(definition)[1] == []


@given(st.text(alphabet="ab_:=<>@#-\"' \n\tfilenu", max_size=60))
@example("raw = null : file\n")
def test_any_text_is_rewritten_or_refused(definition: str) -> None:
    try:
        rewritten, names = rewrite(definition)
    except DeclarationError:
        return
    assert rewritten.count("<file>") >= len(names)
    assert rewrite(rewritten) == (rewritten, names)


# through the hook


def prepared(definition: str, adapter: Any = None) -> tuple[list[str], Any]:
    """Call the hook; return the definitions it passed on and what it gave back."""
    passed: list[str] = []

    def original(text: str, context: Any, adapter: Any, **options: Any) -> Any:
        passed.append(text)
        return BARE_PREPARE_DECLARE(text, context, adapter, **options)

    return passed, prepare_declare(original, definition, {}, adapter or get_adapter("mysql"))


def test_definition_without_files_is_passed_on_as_it_was() -> None:
    definition = "\r\n  # a table \r\n x : int32 \r\n\r\n ---\r\n  name : varchar(10)  \r\n"
    assert prepared(definition)[0] == [definition]


def test_refusal_comes_before_datajoint_sees_anything() -> None:
    def original(*arguments: Any) -> Any:
        raise AssertionError("called")

    with pytest.raises(DeclarationError):
        prepare_declare(original, "raw : file", {}, get_adapter("mysql"))


def bound_adapter(directory: Path, pattern: str) -> Any:
    """Return an adapter whose connection partitions its files by *pattern*."""
    toml = (
        '[project]\nname = "lab"\n[storage]\nbackend = "file"\npath = "objects"\n[object_storage]\npartition_pattern = '
    )
    (directory / "datajoint.toml").write_text(f"{toml}'{pattern}'\n")
    adapter = get_adapter("mysql")
    bind(adapter)
    return adapter


@pytest.mark.parametrize("pattern", ["", "s{subject_id}", "s{subject_id}/{elsewhere}", "x/{session_id:03d}"])
def test_partition_by_the_key_or_by_what_the_table_lacks_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    passed, result = prepared(f"{KEY}raw : file", bound_adapter(tmp_path, pattern))
    assert result == compiled(passed[0])


@pytest.mark.parametrize("pattern", ["{label}", "s{subject_id}/x{label}", "{raw}"])
def test_partition_by_another_attribute_of_the_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter = bound_adapter(tmp_path, pattern)
    with pytest.raises(DeclarationError, match="outside its primary key") as caught:
        prepared(f"{KEY}label : varchar(10)\nraw : file", adapter)
    assert f'partition_pattern = "{pattern}"' in str(caught.value)


def test_table_may_be_declared_before_its_pipeline_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepared(f"{KEY}raw : file")[0] == [f"{KEY}raw : <file>"]

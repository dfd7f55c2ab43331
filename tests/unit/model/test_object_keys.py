"""Names of objects: what may be a file's name, how text becomes a key, what is no key, where a pattern puts things."""

from __future__ import annotations

import re
from datetime import date
from urllib.parse import unquote

import pytest

from datajoint_file.errors import ConfigurationError, InvalidKeyError, UnsafeNameError, UnsafePathError
from datajoint_file.model.key_values import KeyValue, key_value
from datajoint_file.model.names import check_name, encode_component
from datajoint_file.model.object_keys import MAX_KEY_BYTES, Cell, check_object_key, key_digest, new_object_key
from datajoint_file.model.partition import PartitionPattern

KEY = (key_value("subject_id", "int32", 123), key_value("session_id", "int32", 45))
CELL = Cell("lab_ephys", "Recording", "raw_data", KEY)


def key_of(project: str = "lab", pattern: str = "", cell: Cell = CELL, name: str = "recording.dat") -> str:
    return new_object_key(project, PartitionPattern(pattern), cell, name)


IMPOSSIBLE_NAMES = {
    "../x": "separator",
    "a/../../x": "separator",
    "/etc/passwd": "separator",
    "a/b": "separator",
    "C:\\x": "separator",
    "\\\\host\\share": "separator",
    "..\\..\\x": "separator",
    "c:x": "drive letter",
    "": "empty",
    ".": "only dots",
    "..": "only dots",
    "...": "only dots",
    "   ": "spaces",
    ". .": "spaces",
    "a\0b": "control",
    "a\nb": "control",
    "a\rb": "control",
    "a\tb": "control",
    "\x1b[2Ja": "control",
    "a\x7f": "control",
    "a\x85b": "control",
    "a\u2028b": "line-separator",
    "a\u2029b": "line-separator",
    "cod\u202egpj.exe": "writing direction",
    "a\u200fb": "writing direction",
    "a\u061cb": "writing direction",
    "a\u2067b": "writing direction",
    "a\udcffb": "surrogate",
    "x" * 256: "255 bytes",
    "ä" * 128: "255 bytes",
    "🐁" * 64: "255 bytes",
}


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=ascii)
def test_name_that_no_backend_could_hold_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(UnsafeNameError, match=IMPOSSIBLE_NAMES[name]):
        check_name(name)


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=ascii)
def test_refusal_of_a_name_is_one_short_printable_line(name: str) -> None:
    with pytest.raises(UnsafeNameError) as caught:
        check_name(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


LITERAL_NAMES = [
    "recording.dat",
    "x" * 255,
    "🐁" * 63,
    ".hidden",
    "..a",
    "a..",
    "a.",
    "a ",
    "*",
    "?",
    "[1]",
    "{a,b}",
    "**",
    "abc::y",
    "s3:",
    "file:x",
    "a#frag",
    "a?versionId=3",
    "%2e%2e%2f",
    "%00",
    "100%",
    "-rf",
    ";rm -rf ~",
    "$(id)`id`",
    "'\"",
    "CON",
    "nul.txt",
    "aux.",
    "Köln 50%.dat",
    "zero\u200bwidth",
    "a\u0301",
    "á",
    "=cmd()",
    "<script>alert(1)</script>".replace("/", ""),
    "~",
    "~partial-1",
]


@pytest.mark.parametrize("name", LITERAL_NAMES, ids=ascii)
def test_odd_name_is_kept_and_literally_in_the_key(name: str) -> None:
    assert check_name(name) == name
    last = key_of(name=name).split("/")[-1]
    assert "~" in last or unquote(last) == name
    assert re.fullmatch(r"[A-Za-z0-9._=~%-]+", last)


def test_names_in_both_unicode_normal_forms_stay_two_names() -> None:
    assert encode_component("a\u0301") != encode_component("á")


@pytest.mark.parametrize(
    ("text", "component"),
    [
        ("recording.dat", "recording.dat"),
        ("raw data [1]*.dat", "raw%20data%20%5B1%5D%2A.dat"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("..a..b..", "%2E%2Ea..b%2E%2E"),
        ("", "~"),
        ("~", "%7E"),
        ("a=b_c-d", "a=b_c-d"),
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("%2F", "%252F"),
        ("#frag?x&y+z", "%23frag%3Fx%26y%2Bz"),
        ("é", "%C3%A9"),
        ("\0", "%00"),
        ("x" * 200, "x" * 200),
    ],
)
def test_component_is_percent_encoded(text: str, component: str) -> None:
    assert encode_component(text) == component


@pytest.mark.parametrize(
    "text", ["x" * 201, "🐁" * 60, "é" * 67, "x" * 300 + ".tiff", "." * 300, "%" * 100, "x." + "y" * 300]
)
def test_long_component_is_cut_and_told_apart_by_a_digest(text: str) -> None:
    component, other = encode_component(text), encode_component(text + "x")
    assert len(component) <= 200
    assert "~" in component
    assert component != other


def test_long_component_keeps_its_short_extension() -> None:
    assert encode_component("x" * 300 + ".tiff").endswith(".tiff")


@pytest.mark.parametrize("offset", range(8))
def test_long_component_is_never_cut_within_an_escape(offset: int) -> None:
    start, _ = encode_component("x" * offset + "é" * 100).split("~")
    assert re.fullmatch(r"x*(%[0-9A-F]{2})+", start)


NO_KEYS = [
    "",
    "lab",
    "/",
    "//",
    "/lab/x",
    "lab/",
    "lab//x",
    "lab/..",
    "../lab/x",
    "lab/../x",
    "lab/x/..",
    "lab/./x",
    "./lab/x",
    "lab/../../etc/passwd",
    "/etc/passwd",
    "..\\x",
    "lab\\x",
    "lab/..\\x",
    "C:/x",
    "lab/a b",
    "lab/a\0b",
    "lab/a\nb",
    "lab/a\n",
    "lab/é",
    "lab/a*",
    "lab/a?versionId=1",
    "lab/a#b",
    "lab/[a]",
    "s3://bucket/lab/x",
    "file:///etc/passwd",
    "lab/x::zip://y",
    "~root/x y",
    "lab/" + "x" * 1021,
    "lab/" + "x/" * 600 + "x",
    "lab/\ud800",
    "lab/\u2044/x",
]


@pytest.mark.parametrize("path", NO_KEYS, ids=lambda path: ascii(path[:40]))
def test_path_that_is_no_object_key_is_refused_on_one_printable_line(path: str) -> None:
    with pytest.raises(UnsafePathError) as caught:
        check_object_key(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("path", ["lab/x", "lab/%2E%2E/x", "lab/%2e%2e%2f", "l/" + "x" * 1022, "a/~", "a/-rf"])
def test_object_key_is_taken_literally(path: str) -> None:
    assert check_object_key(path) == path


def test_key_is_laid_out_as_the_specification_says() -> None:
    key = key_of("my_project", "subject{subject_id}/session{session_id}")
    layout = (
        r"my_project/subject123/session45/lab_ephys/objects/Recording-raw_data/[a-z2-7]{16}-[a-z2-7]{26}/recording\.dat"
    )
    assert re.fullmatch(layout, key)


def test_key_of_a_part_table_names_its_master() -> None:
    cell = Cell("ephys", "Recording.Trace", "raw", KEY)
    assert "/ephys/objects/Recording.Trace-raw/" in key_of(cell=cell)


def test_no_two_keys_are_the_same() -> None:
    keys = {key_of() for _ in range(1000)}
    assert len(keys) == 1000
    assert len({key.rsplit("/", 1)[0].split("-")[-2] for key in keys}) == 1


@pytest.mark.parametrize("schema", ["lab-x", "lab/x", "läb", "#lab", "..", "~log", "a b", "lab%2Fx", ""])
def test_odd_schema_names_are_encoded(schema: str) -> None:
    key = key_of(cell=Cell(schema, "#Lookup__x", "raw", KEY))
    assert check_object_key(key) == key
    assert "#" not in key


def test_key_longer_than_object_stores_allow_is_refused_before_anything_is_stored() -> None:
    pattern = "/".join(["p" * 200] * 5)
    with pytest.raises(InvalidKeyError, match=f"more than the {MAX_KEY_BYTES} that object stores allow: shorten"):
        key_of(pattern=pattern)


def test_longest_name_that_is_allowed_fits_into_a_component_of_a_file_system() -> None:
    assert max(map(len, key_of(name="🐁" * 63, pattern="{subject_id:>300}").split("/"))) <= 255


def test_digest_of_a_key_is_of_its_type_and_value() -> None:
    keys = [
        (KeyValue("a", "int", 1),),
        (KeyValue("a", "str", "1"),),
        (KeyValue("b", "int", 1),),
        (KeyValue("a", "int", 1), KeyValue("b", "int", 1)),
        (KeyValue("a", "str", '1","b","int","1'),),
        (KeyValue("a", "str", '1"],["b","int","1'),),
        (KeyValue("a", "int", 11),),
        (),
    ]
    assert len({key_digest(key) for key in keys}) == len(keys)


def test_digest_is_the_same_on_every_machine_for_ever() -> None:
    assert key_digest(KEY) == "6ggwzxhngdxefaah"


def test_place_is_written_on_one_line() -> None:
    cell = Cell("lab", "Recording", "raw", (key_value("label", "varchar(20)", "a\n2026-01-01 ERROR\x1b[2J"),))
    assert str(cell).isprintable()
    assert str(cell).startswith("lab.Recording.raw (label='a\\n2026")


def test_place_shows_the_beginning_of_a_long_key() -> None:
    cell = Cell("lab", "Recording", "raw", (key_value("label", "varchar(500)", "x" * 500),))
    assert str(cell) == f"lab.Recording.raw (label={'x' * 57}...)"


# partition patterns


@pytest.mark.parametrize(
    ("pattern", "components"),
    [
        ("", ()),
        ("subject{subject_id}/session{session_id}", ("subject123", "session45")),
        ("subject{subject_id}/session{session_id:03d}", ("subject123", "session045")),
        ("{subject_id}_{session_id}", ("123_45",)),
        ("{subject_id:x}", ("7b",)),
        ("raw", ("raw",)),
        ("raw data/{subject_id}", ("raw%20data", "123")),
        ("{absent}", ()),
        ("{absent}/{subject_id}", ("123",)),
        ("{subject_id}/a{absent}b{session_id}/z", ("123", "z")),
        ("{{subject_id}}", ("%7Bsubject_id%7D",)),
        ("{{{subject_id}}}", ("%7B123%7D",)),
        ("a{{/b", ("a%7B", "b")),
        ("a}}/{{b", ("a%7D", "%7Bb")),
        ("{{x}}/{{y}}", ("%7Bx%7D", "%7By%7D")),
        ("a..b", ("a..b",)),
        ("...", ("%2E%2E%2E",)),
        ("ä*?[1]#~", ("%C3%A4%2A%3F%5B1%5D%23%7E",)),
    ],
)
def test_pattern_is_applied_literally(pattern: str, components: tuple[str, ...]) -> None:
    assert PartitionPattern(pattern).render(KEY) == components


def test_slash_in_a_format_specification_divides_nothing() -> None:
    key = (key_value("day", "date", "2024-02-29"),)
    assert PartitionPattern("{day:%Y/%m}/x").render(key) == ("2024%2F02", "x")


@pytest.mark.parametrize(
    "value", ["..", ".", "", "../../etc", "a/b", "a\\b", "a\0b", "-", "~", "%2e%2e", "é", "x" * 500]
)
def test_value_cannot_leave_its_component(value: str) -> None:
    rendered = PartitionPattern("{label}/p{label}").render((key_value("label", "varchar(500)", value),))
    assert len(rendered) == 2
    for component in rendered:
        assert check_object_key(f"lab/{component}")
        assert len(component) <= 200


def test_different_values_have_different_partitions() -> None:
    pattern = PartitionPattern("{label}")
    labels = ["", "~", "%7E", ".", "%2E", "a/b", "a%2Fb", "A", "a", "é", "e\u0301", "x" * 300, "x" * 301]
    assert len({pattern.render((key_value("label", "varchar(500)", label),)) for label in labels}) == len(labels)


def test_placeholders_are_the_attributes_of_every_component() -> None:
    assert PartitionPattern("{a}/x{b:03d}{c}/{{d}}/{a}").placeholders == {"a", "b", "c"}


BAD_PATTERNS = {
    "a//b": "the component '' is empty",
    "/a": "the component '' is empty",
    "a/": "the component '' is empty",
    "/": "the component '' is empty",
    "..": "the component '..'",
    "a/../b": "the component '..'",
    "./a": "the component '.'",
    "{a": "not a format string",
    "a}": "not a format string",
    "{}": "not the name of an attribute",
    "{0}": "not the name of an attribute",
    "{a.b}": "not the name of an attribute",
    "{a.__class__}": "not the name of an attribute",
    "{a[0]}": "not the name of an attribute",
    "{A}": "not the name of an attribute",
    "{a b}": "not the name of an attribute",
    "{a/b}": "not the name of an attribute",
    "{a!r}": "plain format specification",
    "{a:{b}}": "plain format specification|not a format string",
    "a\nb": "control characters",
    "a\0": "control characters",
    "a\u202eb": "control characters",
}


@pytest.mark.parametrize("text", BAD_PATTERNS, ids=ascii)
def test_bad_pattern_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(ConfigurationError, match=BAD_PATTERNS[text]):
        PartitionPattern(text)


@pytest.mark.parametrize(
    ("pattern", "key", "why"),
    [
        ("{subject_id:q}", KEY, "Unknown format code"),
        ("{label:03d}", (key_value("label", "varchar(9)", "x"),), "Unknown format code"),
        ("{id:x}", (key_value("id", "uuid", "12345678123456781234567812345678"),), "unsupported format string"),
    ],
)
def test_value_that_does_not_suit_the_pattern_is_an_error_that_names_both(
    pattern: str, key: tuple[KeyValue, ...], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        PartitionPattern(pattern).render(key)
    assert f'partition_pattern = "{pattern}": {key[0].name} = {key[0].text}' in str(caught.value)


def test_pattern_formats_the_value_and_not_its_spelling() -> None:
    assert PartitionPattern("{day:%d.%m.%y}").render((KeyValue("day", "date", date(2024, 1, 2)),)) == ("02.01.24",)

"""Whatever the text, a component of a key is safe, its own, and says what it was; whatever the key, it stays inside."""

from __future__ import annotations

import posixpath
import random
import re
import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import ConfigurationError, InvalidKeyError, UnsafeNameError, UnsafePathError
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.names import check_name, encode_component
from datajoint_file.model.object_keys import Cell, check_object_key, new_object_key
from datajoint_file.model.partition import PartitionPattern

MUTATIONS = 10_000

_HARD = st.text(alphabet="./~%\\:=-_ aA0é\0\n*?[]#\u202e", max_size=12)
_TEXTS = st.one_of(st.text(), _HARD, st.text(alphabet="a.é~%", min_size=60, max_size=300))
_NAMES = _TEXTS.filter(lambda name: _is_name(name))
_ATTRIBUTES = st.sampled_from(["subject_id", "session_id", "label"])


def _is_name(text: str) -> bool:
    try:
        return bool(check_name(text))
    except UnsafeNameError:
        return False


@given(_TEXTS)
def test_component_is_of_the_alphabet_that_every_store_holds_literally(text: str) -> None:
    component = encode_component(text)
    assert re.fullmatch(r"[A-Za-z0-9._=~%-]+", component)
    assert component not in (".", "..")
    assert not component.startswith(".")
    assert not component.endswith(".")
    assert len(component) <= 200


@given(_TEXTS)
def test_component_that_was_not_shortened_says_what_it_was(text: str) -> None:
    component = encode_component(text)
    assert "~" in component or unquote(component, errors="strict") == text


@given(st.lists(_TEXTS, unique=True))
def test_different_texts_have_different_components(texts: list[str]) -> None:
    assert len({encode_component(text) for text in texts}) == len(texts)


@given(st.text(alphabet="a.é~%/", min_size=150, max_size=300), st.integers(0, 299), st.characters(codec="utf-8"))
def test_long_texts_that_differ_in_one_character_differ(text: str, position: int, character: str) -> None:
    other = text[:position] + character + text[position + 1 :]
    assert (encode_component(text) == encode_component(other)) == (text == other)


@given(_TEXTS)
def test_name_is_refused_or_safe_to_join_to_a_directory(name: str) -> None:
    if _is_name(name):
        assert posixpath.normpath(posixpath.join("/dir", name)) == f"/dir/{name}"
        assert len(name.encode()) <= 255
        assert not any(ord(character) < 32 for character in name)


@st.composite
def _object_keys(draw: st.DrawFn) -> str:
    project = draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._=-]{0,30}\Z"))
    pattern = "/".join(draw(st.lists(st.sampled_from(["p{subject_id}", "{label}", "raw", "{absent}"]), max_size=2)))
    key = (KeyValue("subject_id", "int", draw(st.integers())), KeyValue("label", "str", draw(_TEXTS)))
    cell = Cell(draw(_TEXTS), draw(_HARD), draw(_ATTRIBUTES), key)
    return new_object_key(project, PartitionPattern(pattern), cell, draw(_NAMES))


@given(_object_keys())
def test_every_key_that_is_made_is_accepted(key: str) -> None:
    assert check_object_key(key) == key
    assert max(map(len, key.split("/"))) <= 255


@pytest.mark.parametrize("seed", range(4))
def test_no_key_that_was_tampered_with_leaves_the_project(seed: int) -> None:
    chance = random.Random(seed)
    refused = 0
    for _ in range(MUTATIONS // 4):
        tampered = _tampered(chance, "lab/subject7/ephys/objects/Recording-raw_data/k7-x2/recording.dat")
        with pytest.raises(UnsafePathError):
            check_object_key(tampered)
        refused += 1
    assert refused == MUTATIONS // 4


_OUTWARDS = ["..", ".", "", "..\\..", "\\", "C:", "a\0", "a\nb", "~ /", "..\u2215", "\uff0e\uff0e"]


def _tampered(chance: random.Random, key: str) -> str:
    """Change *key* so that some system could take it for a path outside of its project."""
    parts = key.split("/")
    position = chance.randrange(len(parts) + 1)
    parts.insert(position, chance.choice(_OUTWARDS))
    tampered = "/".join(parts)
    for _ in range(chance.randrange(4)):
        cut = chance.randrange(len(tampered))
        tampered = tampered[:cut] + chance.choice(string.printable + "é") + tampered[cut:]
        tampered += "/.."
    return tampered


@given(st.text(alphabet="ab./%2eE~-\\\0é", max_size=30))
def test_key_is_refused_or_below_its_project_wherever_the_root_is(key: str) -> None:
    try:
        project = check_object_key(key).split("/")[0]
    except UnsafePathError:
        return
    assert posixpath.normpath(posixpath.join("/root", key)).startswith(f"/root/{project}/")


@given(st.text(alphabet="ab{}:/.!%[]03d \n", max_size=20), _TEXTS)
def test_pattern_is_refused_or_gives_components_of_the_alphabet(text: str, value: str) -> None:
    key = (KeyValue("a", "str", value), KeyValue("b", "int", 7))
    try:
        components = PartitionPattern(text).render(key)
    except ConfigurationError:
        return
    for component in components:
        assert check_object_key(f"lab/{component}")


@given(st.lists(st.sampled_from(["x", "{{", "}}", "{a}", "{b:03d}", "é"]), min_size=1, max_size=6), _TEXTS)
def test_pattern_is_what_str_format_makes_of_it(parts: list[str], value: str) -> None:
    pattern = PartitionPattern("".join(parts))
    expected = encode_component("".join(parts).format(a=value, b=7))
    assert pattern.render((KeyValue("a", "str", value), KeyValue("b", "int", 7))) == (expected,)


@given(st.text(min_size=1000, max_size=2000))
def test_key_is_never_longer_than_stores_allow(value: str) -> None:
    cell = Cell("ephys", "Recording", "raw", (KeyValue("label", "str", value),))
    pattern = PartitionPattern("/".join(["{label}"] * 6))
    with pytest.raises(InvalidKeyError):
        new_object_key("lab", pattern, cell, "x")

"""A hundred thousand rows and names that a machine made up: refused by errors of ours, or sound; never outside."""

from __future__ import annotations

import json
import os.path
import random
import string
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datajoint_file.errors import DataJointFileError, MetadataError, UnsafeNameError, UnsafePathError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_name, encode_component
from datajoint_file.model.object_keys import check_object_key
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.storage.disk.backend import LocalBackend
from tests.security.attacks import KEPT_NAMES, OUTSIDE_PATHS, REFUSED_NAMES, attacks

ROUNDS = 25_000
ROOT = "/store/of/lab"

SOUND = {
    "path": "lab/subject7/ephys/objects/Recording-raw_data/k7-x2/recording.dat",
    "size": 3,
    "hash": "sha256:" + "0" * 64,
    "original_name": "recording.dat",
    "timestamp": "2025-01-15T10:30:00Z",
    "mime_type": "text/plain",
}
PIECES = [
    *("", "..", "../", "/", "//", ".", "./", "\\", "..\\", "~", "%", "%2e", "%2E%2F", "%00", "\0", "\n", "\r", "\x1b"),
    *("\u202e", "\u2028", "\ud800", "\u200b", "\uff0e\uff0e", "é", "\U0001f600", ":", "C:", "::", "s3://", "?", "#"),
    *("*", "[a]", "{a}", " ", "lab/", "x" * 300, "9" * 20, "-1", "e9", "Z", "+00:00", "T", ";", "'", '"', "<b>"),
]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 2**63, 10**400, 1.5, 1e300, float("nan"), float("inf"), [], {}, [[]], {"path": "x"}),
    *("", "x" * 100_000, b"x", {"a": {"b": {"c": {}}}}, object),
]
SEEDS = [str(case.values[0]) for case in [*REFUSED_NAMES, *KEPT_NAMES, *OUTSIDE_PATHS] if len(case.values[0]) < 2000]

backend = LocalBackend(Path(ROOT), "lab")


def stays_inside(path: str) -> bool:
    """Tell whether *path* is refused by the store on the disk, or leads below its root. Nothing is opened."""
    try:
        named = backend.url(path).removeprefix("file://")
    except UnsafePathError:
        return True
    return os.path.normpath(named).startswith(f"{ROOT}/") and os.path.normpath(named) == named


def edited(chance: random.Random, text: str) -> str:
    """Return *text* with a few pieces put in, taken out or repeated."""
    for _ in range(chance.randrange(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randrange(6))
        text = text[:start] + chance.choice(PIECES) + text[end:]
    return text


def mutated(chance: random.Random) -> dict[str, Any]:
    """Return a sound row in which a few fields are something else, missing or new."""
    row: dict[str, Any] = dict(SOUND)
    for _ in range(chance.randrange(1, 4)):
        name = chance.choice([*SOUND, "path", "path", "original_name", "format", "unknown"])
        value, how = row.get(name), chance.random()
        if how < 0.7 and isinstance(value, str):
            row[name] = edited(chance, value)
        elif how < 0.75:
            row.pop(name, None)
        else:
            row[name] = chance.choice(ODD) if how < 0.9 else chance.choice(SEEDS)
    return row


def check_row(row: object) -> bool:
    """Read *row*; return whether it was taken. What is taken must be sound, what is refused must be short."""
    try:
        ref = FileRef.from_row(row, "")
        assert repr(ref).isprintable()
        assert ref._repr_html_().isprintable()
        _ = ref.metadata
    except MetadataError as error:
        message = str(error)
        assert message.isprintable(), ascii(message)
        assert len(message) < 400
        return False
    assert stays_inside(ref.path), ref.path
    assert 0 <= ref.size < 2**63
    assert check_name(ref.original_name)
    assert repr(ref).isprintable()
    assert ref._repr_html_().isprintable()
    assert FileMetadata.from_json(json.loads(json.dumps(ref.to_dict()))) == ref.metadata
    return True


@attacks(1, 2, 3, 4, 5, 6, 13, 20, 22, 34, 50)
@pytest.mark.parametrize("seed", range(2))
def test_mutated_rows_are_read_as_sound_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    taken = sum(check_row(mutated(chance)) for _ in range(ROUNDS))
    assert 0.02 < taken / ROUNDS < 0.9  # otherwise one side has not been tried


@attacks(1, 2, 3, 4, 5, 6, 11, 13)
def test_mutated_names_and_keys_are_taken_or_refused_and_stay_apart() -> None:
    chance = random.Random(7)
    components: dict[str, str] = {}
    names = 0
    for _ in range(ROUNDS):
        text = edited(chance, chance.choice(SEEDS))
        names += raises_only(UnsafeNameError, check_name, text)
        raises_only(UnsafePathError, check_object_key, text)
        raises_only(UnsafePathError, check_object_key, f"lab/{text}")
        assert stays_inside(f"lab/{text}")
        if not any(0xD800 <= ord(letter) < 0xE000 for letter in text):
            component = encode_component(text)
            assert components.setdefault(component, text) == text
            assert check_object_key(f"lab/{component}")
            assert stays_inside(f"lab/{component}")
    assert 0.02 < names / ROUNDS < 0.98
    assert len(components) > ROUNDS / 2


@attacks(22)
def test_garbage_of_the_database_is_read_as_sound_or_refused() -> None:
    chance = random.Random(11)
    text = json.dumps(SOUND)
    for _ in range(ROUNDS):
        start = chance.randrange(len(text))
        garbage = text[:start] + chance.choice(string.printable) + text[start + chance.randrange(3) :]
        try:
            row = json.loads(garbage)
        except ValueError:
            row = garbage
        check_row(row)


def raises_only(error: type[DataJointFileError], function: Callable[[str], str], text: str) -> bool:
    try:
        taken = function(text)
    except error as refusal:
        message = str(refusal)
    else:
        assert taken == text
        return True
    assert message.isprintable(), ascii(message)
    return False


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from([*SOUND, "format", "unknown"])


@attacks(22)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_FIELDS, _JSON | st.sampled_from(SEEDS)), st.booleans())
def test_rows_of_every_shape_are_read_as_sound_or_refused(changes: dict[str, Any], is_whole: bool) -> None:
    check_row({**SOUND, **changes} if is_whole else changes)


@attacks(22)
def test_row_nested_without_end_is_refused_and_takes_no_memory() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    tracemalloc.start()
    try:
        for name in [*SOUND, "format"]:
            with pytest.raises(MetadataError):
                _ = FileRef.from_row({**SOUND, name: nested}, "").metadata
        check_row({**SOUND, "unknown": nested})
        check_row({**SOUND, "size": 2**63 - 1})
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
        while nested:  # by hand: freeing it at once would be a recursion of its own
            nested = nested.pop()

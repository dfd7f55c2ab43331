"""Rows are untrusted input: whatever JSON one holds, it is read as sound metadata or refused as `MetadataError`."""

from __future__ import annotations

import json
import posixpath
import random
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import MetadataError, UnsafeNameError, UnsafePathError
from datajoint_file.model.metadata import FileMetadata, is_mime_type
from datajoint_file.model.names import check_name, encode_member
from datajoint_file.model.object_keys import MAX_KEY_BYTES, check_link, write_id_of
from datajoint_file.pipeline.fileref import FileRef

ROWS = 10_000

_SOUND = {
    "path": "lab/ephys/objects/Recording-raw_data/k7-x2/recording.dat",
    "size": 3,
    "hash": "sha256:" + "0" * 64,
    "original_name": "recording.dat",
    "timestamp": "2025-01-15T10:30:00Z",
    "mime_type": "text/plain",
}
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str)
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
_LINK = {**_SOUND, "path": "nas/rig%203/.run1.dat", "linked": True}
_FIELDS = st.sampled_from([*_SOUND, "format", "unknown", "linked", "files"])
_ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 2**63, 2**64, 10**400, 1.5, float("nan"), float("inf"), float("-inf")),
    *("", ".", "..", "/", "\0", "\n", "~", "%", "\ud800", "\U0010ffff", "é", "x" * 300),
    *("2025-01-15T10:30:00", "Z", "+00:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
    *([], {}, [[]], {"path": "x"}, "a/b", "a/../b", "/a/b", "a//b", "a/b/..", "sha256:"),
    *(
        "nas/x/",
        "nas/../x/",
        "nas/%2e%2e/x",
        "nas/a%2Fb",
        "nas/a%00b",
        "%2e%2e/x/",
        "nas/",
        "nas//x/",
        "nas/%7Ex",
        "nas/.x",
    ),
    f"lab/s/objects/T-a/{'a' * 16}-{'b' * 26}/x.dat",
]
_PIECES = ["", "../", "/", ".", "\0", "é", "%2e", "\\", "9", "T", "\u202e", "\n"]
_NAMES = st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "S"]), min_size=1, max_size=60)


def check(row: object) -> None:
    """Read *row*: what comes out must be sound, or the refusal short."""
    try:
        metadata = FileRef.from_row(row, "").metadata
    except MetadataError as error:
        message = str(error)
    else:
        check_sound(metadata)
        return
    assert message.isprintable()
    assert len(message) < 400


def check_sound(metadata: FileMetadata) -> None:
    """Look at *metadata* by other means than those that read it."""
    for path in filter(None, (metadata.path, metadata.linked)):
        root = posixpath.join("/root", path.partition("/")[0])
        assert posixpath.normpath(posixpath.join("/root", path)).startswith(f"{root}/")
        assert "\\" not in path
    for name in metadata.linked.rstrip("/").split("/")[1:]:  # which is called so at its root
        assert unquote(name) not in (".", "..", "")
        assert not {"/", "\\", "\0"} & set(unquote(name))
    assert metadata.project == ("" if metadata.is_link else metadata.path.partition("/")[0])
    assert not (metadata.is_link and write_id_of(metadata.path))
    assert 0 <= metadata.size < 2**63
    assert type(metadata.size) is int
    assert len(metadata.hash) == 71
    assert check_name(metadata.original_name)
    assert metadata.timestamp.tzinfo is timezone.utc
    assert metadata.mime_type is None or is_mime_type(metadata.mime_type)
    assert FileMetadata.from_json(json.loads(json.dumps(metadata.to_json()))).path == metadata.path


@given(_JSON)
def test_any_json_is_read_or_refused(row: object) -> None:
    check(row)


@pytest.mark.parametrize("row", [_SOUND, _LINK], ids=["stored", "linked"])
@given(changes=st.dictionaries(_FIELDS, _JSON | st.sampled_from(_ODD)))
def test_sound_row_with_any_fields_changed_is_read_or_refused(row: dict[str, Any], changes: dict[str, Any]) -> None:
    check({**row, **changes})


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_mutated_rows_are_read_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROWS // 4):
        check(_mutated(chance))


def _mutated(chance: random.Random) -> Any:
    row: dict[str, Any] = dict(chance.choice((_SOUND, _LINK)))
    for _ in range(chance.randrange(1, 4)):
        name = chance.choice([*_SOUND, "format", "unknown", "linked"])
        value = row.get(name)
        row[name] = _edited(chance, value) if isinstance(value, str) and chance.random() < 0.7 else chance.choice(_ODD)
    return row


def _edited(chance: random.Random, text: str) -> str:
    start = chance.randrange(len(text) + 1)
    end = min(len(text), start + chance.randrange(4))
    return text[:start] + chance.choice(_PIECES) + text[end:]


@st.composite
def _metadata(draw: st.DrawFn) -> FileMetadata:
    moment = draw(st.datetimes(timezones=st.just(timezone.utc))).replace(microsecond=0)
    digest = f"sha256:{draw(st.binary(min_size=32, max_size=32)).hex()}"
    size, mime_type = draw(st.integers(0, 2**63 - 1)), draw(st.none() | st.just("a/b"))
    return FileMetadata("lab/x/y", size, digest, draw(_NAMES), moment, mime_type)


@given(_metadata())
def test_what_is_written_is_read_back(metadata: FileMetadata) -> None:
    assert FileMetadata.from_json(json.loads(json.dumps(metadata.to_json()))) == metadata


@given(st.lists(_NAMES, min_size=1, max_size=4))
def test_any_file_of_a_root_can_be_named_and_found_again(names: list[str]) -> None:
    try:
        encoded = [encode_member(check_name(name)) for name in names]
    except UnsafeNameError:
        return
    link = f"nas/{'/'.join(encoded)}"
    row = {**_SOUND, "path": link, "linked": True}
    if len(link) <= MAX_KEY_BYTES:
        assert FileMetadata.from_json(row).linked == check_link(link) == link
        assert [unquote(part) for part in link.split("/")[1:]] == names
    else:
        with pytest.raises(UnsafePathError):
            FileMetadata.from_json(row)
    with pytest.raises(MetadataError):
        FileMetadata.from_json({**row, "path": f"{link}/"})


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-23 * 60, 23 * 60))
def test_timestamp_of_any_offset_is_the_moment_it_was(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert FileMetadata.from_json({**_SOUND, "timestamp": moment.isoformat()}).timestamp == moment

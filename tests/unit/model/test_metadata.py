"""The row's JSON: what is written, and that whatever is read is either sound or refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from datajoint_file.errors import MetadataError, UnsafePathError
from datajoint_file.model.metadata import MAX_SIZE, FileMetadata, format_timestamp, is_mime_type, parse_timestamp

SEED: dict[str, Any] = {
    "path": "my_project/subject123/session45/lab_ephys/objects/Recording-raw_data/k7-x2/recording.dat",
    "size": 12345,
    "hash": "sha256:" + "0123456789abcdef" * 4,
    "original_name": "recording.dat",
    "timestamp": "2025-01-15T10:30:00Z",
    "mime_type": "application/octet-stream",
}
REQUIRED = ["path", "size", "hash", "original_name", "timestamp"]


def row(**changes: Any) -> dict[str, Any]:
    return {**SEED, **changes}


def test_row_has_exactly_the_fields_of_the_specification() -> None:
    assert FileMetadata.from_json(SEED).to_json() == SEED


def test_row_survives_the_database_as_text() -> None:
    metadata = FileMetadata.from_json(row(original_name="Köln 50% 🐁.dat"))
    assert FileMetadata.from_json(json.loads(json.dumps(metadata.to_json()))) == metadata


def test_media_type_may_be_absent_and_is_then_not_written() -> None:
    absent = {name: value for name, value in SEED.items() if name != "mime_type"}
    assert FileMetadata.from_json(absent).to_json() == absent
    assert FileMetadata.from_json(row(mime_type=None)).to_json() == absent


def test_metadata_is_a_frozen_hashable_value() -> None:
    metadata = FileMetadata.from_json(SEED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        metadata.path = "x"  # type: ignore[misc]
    assert {metadata: 1}[FileMetadata.from_json(dict(SEED))] == 1
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    assert not hasattr(metadata, "__dict__")


def test_project_is_the_first_part_of_the_path() -> None:
    assert FileMetadata.from_json(SEED).project == "my_project"


def test_unknown_fields_are_ignored() -> None:
    assert FileMetadata.from_json(row(etag="x", stored={"size": 3}, _x=None)) == FileMetadata.from_json(SEED)


def test_row_that_says_its_format_is_read() -> None:
    assert FileMetadata.from_json(row(format=1)).to_json() == SEED


def test_row_of_a_newer_format_is_refused_with_the_way_out() -> None:
    with pytest.raises(MetadataError, match=r"format 3, newer than format 2 .*upgrade datajoint-file"):
        FileMetadata.from_json(row(format=3))


@pytest.mark.parametrize("version", [True, False, 0, -1, "1", 1.0, None, [], {}, 10**30])
def test_row_of_no_format_is_refused(version: object) -> None:
    with pytest.raises(MetadataError, match="format"):
        FileMetadata.from_json(row(format=version))


@pytest.mark.parametrize("value", [None, 5, "text", b"x", [], [SEED], True, 1.5, json.dumps(SEED), [("path", "x")]])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(MetadataError, match="where a `file` attribute has a JSON object"):
        FileMetadata.from_json(value)


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_field_is_named(name: str) -> None:
    with pytest.raises(MetadataError, match=rf"^{name} = None in the row's JSON; expected"):
        FileMetadata.from_json({key: value for key, value in SEED.items() if key != name})


@pytest.mark.parametrize("name", [*REQUIRED, "mime_type"])
@pytest.mark.parametrize("value", [True, 1.5, [], {}, ["x"], {"x": "y"}, "", float("nan")], ids=repr)
def test_field_of_another_type_is_named(name: str, value: object) -> None:
    with pytest.raises(MetadataError, match=f"{name} "):
        FileMetadata.from_json(row(**{name: value}))


@pytest.mark.parametrize("size", [-1, -(2**63), 2**63, 10**30, 10**5000, 1.0, "12", True, None], ids=type)
def test_size_that_is_no_number_of_bytes_is_refused(size: object) -> None:
    with pytest.raises(MetadataError, match=r"^size = "):
        FileMetadata.from_json(row(size=size))


@pytest.mark.parametrize("size", [0, 1, MAX_SIZE])
def test_every_size_a_file_can_have_is_read(size: int) -> None:
    assert FileMetadata.from_json(row(size=size)).size == size


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "SHA256:" + "0" * 64,
        "md5:" + "0" * 32,
        "0" * 64,
        "sha256:" + "0" * 64 + "\n",
        " sha256:" + "0" * 64,
        "sha256:" + "\u0660" * 64,
    ],
    ids=ascii,
)
def test_hash_of_another_form_is_refused(digest: str) -> None:
    with pytest.raises(MetadataError, match=r"^hash = "):
        FileMetadata.from_json(row(hash=digest))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "lab/../../etc", "lab", "", "lab//x", "lab/a\0", "lab/é"])
def test_path_that_leaves_the_project_is_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        FileMetadata.from_json(row(path=path))


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".", "..", "a\0", "a\nb", "C:\\x", "\ud800", "x" * 256, "\u202ea"], ids=ascii
)
def test_original_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(MetadataError, match=r"^original_name in the row: ") as caught:
        FileMetadata.from_json(row(original_name=name))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "yesterday",
        "2025-01-15",
        "2025-01-15T10:30:00",
        "2025-13-15T10:30:00Z",
        "2025-01-15T10:30:00ZZ",
        "2025-01-15T10:30:00z",
        "2025-01-15T10:30Z",
        "20250115T103000Z",
        "2025-01-15T10:30:00Z\n",
        "2025-01-15T24:30:00Z",
        "2025-01-15T10:30:00+25:00",
        "2025-02-30T10:30:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "1737000000",
        "\ud800",
        "2025-01-15T10:30:00\u2212\u0660\u0660",
        "x" * 10**6,
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_timestamp_that_is_no_aware_moment_is_refused(text: str) -> None:
    with pytest.raises(MetadataError, match=r"^timestamp = ") as caught:
        FileMetadata.from_json(row(timestamp=text))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text", ["T10:30:00Z", "T10:30:00+00:00", "T12:30:00+02:00", " 05:30:00-05:00", "T10:30:00.0Z"]
)
def test_timestamp_of_any_zone_is_the_same_moment_in_utc(text: str) -> None:
    moment = parse_timestamp(f"2025-01-15{text}")
    assert moment == datetime(2025, 1, 15, 10, 30, tzinfo=timezone.utc)
    assert moment.tzinfo is timezone.utc
    assert format_timestamp(moment) == "2025-01-15T10:30:00Z"


@pytest.mark.parametrize("year", [1, 99, 999, 1969, 9999])
def test_timestamp_of_any_year_is_written_as_it_is_read(year: int) -> None:
    moment = datetime(year, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert parse_timestamp(format_timestamp(moment)) == moment


def test_timestamp_is_written_in_utc_and_to_the_second() -> None:
    moment = datetime(2025, 1, 15, 12, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_timestamp(moment) == "2025-01-15T10:30:00Z"


@pytest.mark.parametrize("text", ["text/plain", "image/svg+xml", "text/plain; charset=utf-8", "x/vnd.x-y.z_1+json"])
def test_media_type_has_the_form_type_slash_subtype(text: str) -> None:
    assert is_mime_type(text)
    assert FileMetadata.from_json(row(mime_type=text)).mime_type == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "/",
        "text/",
        "/plain",
        " text/plain",
        "text/plain\n",
        "text/plain;\nX: y",
        "a b/c",
        "text/<x>",
        "é/x",
        "a/b;\x1b",
        "a/b;" + "x" * 255,
    ],
    ids=ascii,
)
def test_media_type_of_another_form_is_refused(text: str) -> None:
    assert not is_mime_type(text)
    with pytest.raises(MetadataError, match=r"^mime_type"):
        FileMetadata.from_json(row(mime_type=text))


def test_value_nested_too_deeply_is_refused_as_any_other() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(MetadataError, match="path = a value of type list"):
        FileMetadata.from_json(row(path=nested))


@pytest.mark.parametrize("name", [*REQUIRED, "mime_type", "format"])
def test_refusal_is_short_and_printable_whatever_the_row_holds(name: str) -> None:
    with pytest.raises(MetadataError) as caught:
        FileMetadata.from_json(row(**{name: "\n\x1b[2J\u202e" * 100_000}))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()

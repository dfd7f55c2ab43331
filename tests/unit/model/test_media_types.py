"""The media type of a file: from its name, else from its first bytes, and always one that a row may hold."""

from __future__ import annotations

import mimetypes
import os
import random

import puremagic.main
import pytest

from datajoint_file.model.media_types import HEAD_SIZE, UNKNOWN, of_content, of_name, suffix_for, without_compression
from datajoint_file.model.metadata import is_mime_type


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("a.png", "image/png"),
        ("A.PNG", "image/png"),
        ("a.tif", "image/tiff"),
        ("a.csv", "text/csv"),
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.nwb", "application/x-hdf5"),
        ("a.h5", "application/x-hdf5"),
        ("a.npy", "application/x-npy"),
        ("a.nii", "application/x-nifti"),
        ("a.mat", "application/x-matlab-data"),
        ("a.tar.gz", "application/gzip"),
        ("a.nii.gz", "application/gzip"),
        ("a.csv.bz2", "application/x-bzip2"),
        ("a.csv.xz", "application/x-xz"),
        ("a.csv.zst", "application/zstd"),
        ("a [1]#?.png", "image/png"),
    ],
)
def test_name_tells_and_nothing_is_read(name: str, mime_type: str) -> None:
    assert of_name(name) == mime_type


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"GIF89a\1\0\1\0", "image/gif"),
        (b"PK\x03\x04" + b"\0" * 26, "application/zip"),
        (b"\x89HDF\r\n\x1a\n\0\0", "application/x-hdf5"),
        (b"\x93NUMPY\1\0v\0{'descr'", "application/x-npy"),
        (b"\x1f\x8b\x08\0\0", "application/gzip"),
        (b"II*\0\x08\0\0\0", "image/tiff"),
        (b"ISc(\0\0", "application/vnd.ms-cab-compressed"),
        (b"", UNKNOWN),
        (b"\0", UNKNOWN),
        (b"\0" * HEAD_SIZE, UNKNOWN),
        (b"x", UNKNOWN),
    ],
)
@pytest.mark.parametrize("name", ["", "scan", "recording.dat", ".hidden"])
def test_first_bytes_tell_where_the_name_does_not(name: str, head: bytes, mime_type: str) -> None:
    assert of_content(head) == mime_type


def test_random_bytes_are_of_no_type() -> None:
    chance = random.Random(0)
    assert {of_content(chance.randbytes(64)) for _ in range(200)} == {UNKNOWN}


@pytest.mark.parametrize(
    "tail", [b"", b"\0" * 64, b"a b,c\n" * 10, os.urandom(64)], ids=["", "zeros", "text", "random"]
)
def test_type_of_every_beginning_that_is_known_can_stand_in_a_row(tail: bytes) -> None:
    heads = [b"\0" * known.offset + known.byte_match + tail for known in puremagic.main.magic_header_array]
    assert [head for head in heads if not is_mime_type(of_content(head[:HEAD_SIZE]))] == []


@pytest.mark.parametrize(
    "name", ["data:,x", "data:a;b=c,x", "data:;base64,x", "DATA:;,", "http:x", "x:[y", "a%2e%2e", "~", "?"]
)
def test_type_of_any_name_can_stand_in_a_row(name: str) -> None:
    assert is_mime_type(of_name(name) or UNKNOWN)


def test_types_of_this_machine_and_process_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mimetypes.types_map, ".zz", "x/of-this-machine")
    assert mimetypes.guess_type("a.zz")[0] == "x/of-this-machine"
    assert of_name("a.zz") == ""


@pytest.mark.parametrize(
    ("mime_type", "suffix"),
    [
        ("image/png", ".png"),
        ("application/zip", ".zip"),
        ("application/x-hdf5", ".h5"),
        (UNKNOWN, ""),
        ("x/nobody-knows", ""),
        ("", ""),
    ],
)
def test_suffix_is_that_of_the_type_if_it_says_anything(mime_type: str, suffix: str) -> None:
    assert suffix_for(mime_type) == suffix


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv.gz", "a.csv"),
        ("A.CSV.GZ", "A.CSV"),
        ("run.tgz", "run.tar"),
        ("b.svgz", "b.svg"),
        ("a.zst", "a"),
        ("/data.gz/a", ""),
        ("a.csv", ""),
        (".gz", ""),
        ("gz", ""),
        ("", ""),
    ],
)
def test_compressed_file_is_named_without_its_compression(name: str, expected: str) -> None:
    assert without_compression(name) == expected

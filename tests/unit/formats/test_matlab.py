"""Files of MATLAB: honest ones are read; those that would take the memory, or end the process, are refused before."""

from __future__ import annotations

import os
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from datajoint_file.errors import FormatError, UnsafeContentError
from datajoint_file.formats import limits
from tests.unit.conftest import InChild
from tests.unit.formats.conftest import Keep

CELL, STRUCT, OBJECT, CHAR, SPARSE, DOUBLE = 1, 2, 3, 4, 5, 6
INT8, INT32, UINT32, FLOAT64, MATRIX, COMPRESSED, UTF8 = 1, 5, 6, 9, 14, 15, 16


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def header(of_class: int, *shape: int) -> bytes:
    dimensions = struct.pack(f"<{len(shape)}i", *shape)
    return element(UINT32, struct.pack("<II", of_class, 0)) + element(INT32, dimensions) + element(INT8, b"x")


def matrix(of_class: int, shape: tuple[int, ...], *parts: bytes) -> bytes:
    return element(MATRIX, header(of_class, *shape) + b"".join(parts))


def compressed(variable: bytes) -> bytes:
    data = zlib.compress(variable, 1)
    return struct.pack("<II", COMPRESSED, len(data)) + data


def mat(*variables: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(variables)


MANY = (1, 2**20)
FIELDS = element(INT32, struct.pack("<i", 8)) + element(INT8, b"a".ljust(8, b"\0"))
ONE = matrix(DOUBLE, (1, 1), element(FLOAT64, bytes(8)))
FAR = matrix(
    SPARSE,
    (3, 3),
    element(INT32, struct.pack("<3i", 0, 2**30, 2)),
    element(INT32, struct.pack("<4i", 0, 1, 2, 3)),
    element(FLOAT64, bytes(24)),
)
CHARS = matrix(CHAR, MANY, element(UTF8, b""))
GREEDY = {
    "text": CHARS,
    "cells": matrix(CELL, MANY),
    "less than none": matrix(CELL, (-1, 1)),
    "empty cells": matrix(CELL, (1, 20_000), struct.pack("<II", MATRIX, 0) * 20_000),
    "structs": matrix(STRUCT, MANY, FIELDS),
    "structs without fields": matrix(STRUCT, MANY, element(INT32, struct.pack("<i", 8)), element(INT8, b"")),
    "objects": matrix(OBJECT, MANY, element(INT8, b"kind"), FIELDS),
    "text in a cell": matrix(CELL, (1, 1), CHARS),
    "text in a cell of a struct": matrix(STRUCT, (1, 1), FIELDS, matrix(CELL, (1, 2), ONE, CHARS)),
}


@pytest.mark.parametrize("pack", [bytes, compressed])
@pytest.mark.parametrize("name", GREEDY)
def test_room_that_headers_ask_for_is_not_taken(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**20)
    monkeypatch.setattr(limits, "RATIO", 1)  # 20,000 cells without anything have 8 bytes each
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep(("a.mat", mat(pack(ONE), pack(GREEDY[name])))).load()


def test_what_ends_the_process_in_scipy_is_an_error(keep: Keep, in_child: InChild) -> None:
    deep = b"".join([struct.pack("<II", MATRIX, 8) + header(CELL, 1, 1)] * 100_000)
    unknown = matrix(DOUBLE, (1, 1), element(2**15, bytes(8)))

    def load(content: bytes) -> str:
        with pytest.raises(FormatError) as raised:
            keep(("a.mat", content)).load()
        return str(raised.value)

    assert "RecursionError" in in_child(load, mat(compressed(deep)))
    assert "of type 32768" in in_child(load, mat(unknown))
    for variable in (FAR, matrix(CELL, (1, 2), ONE, FAR), matrix(STRUCT, (1, 1), FIELDS, FAR)):
        assert "indices must be < 3" in in_child(load, mat(variable))  # where `toarray` would write


def test_lengths_are_not_believed(keep: Keep) -> None:
    claimed = header(CHAR, 1, 4) + struct.pack("<II", UTF8, 2**28)
    with pytest.raises(FormatError, match="ends early"):
        keep(("a.mat", mat(compressed(struct.pack("<II", MATRIX, 8) + claimed)))).load()


def test_a_large_file_is_looked_through_piece_by_piece(tmp_path: Path) -> None:
    from datajoint_file.formats.matlab import load_mat

    noise = matrix(DOUBLE, (1, 2**22), element(FLOAT64, os.urandom(2**25)))
    (tmp_path / "a.mat").write_bytes(mat(compressed(noise), matrix(CELL, (2**15, 2**15))))
    with (tmp_path / "a.mat").open("rb") as file:
        tracemalloc.start()
        try:
            with pytest.raises(UnsafeContentError):
                load_mat(file)
            assert tracemalloc.get_traced_memory()[1] < 2**23
        finally:
            tracemalloc.stop()


REAL = sorted((Path(scipy.io.__file__).parent / "matlab" / "tests" / "data").glob("*.mat"))
"""What versions of MATLAB on several machines have written, and files that were damaged."""


def read_by_scipy(path: Path) -> Any:
    try:
        return scipy.io.loadmat(path)
    except Exception:  # any, of a damaged file
        return None


def test_what_matlab_has_written_is_read_as_scipy_reads_it(keep: Keep, tmp_path: Path) -> None:
    cells = np.empty((2, 3), dtype=object)
    cells[:] = [["abc", np.eye(2), 1j], [{"a": 1, "b": {"c": "d"}}, np.zeros((0, 3)), scipy.sparse.eye(3).tocsc()]]
    for is_compressed in (False, True):
        path = tmp_path / f"own{is_compressed}.mat"
        scipy.io.savemat(path, {"x": cells, "empty": np.array([]), "s": {}}, do_compression=is_compressed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {path: read_by_scipy(path) for path in (*REAL, *tmp_path.glob("own*.mat"))}
        assert sum(content is not None for content in found.values()) > 90
        for path, content in found.items():
            if content is not None:
                kept = {name: value for name, value in content.items() if not name.startswith("__")}
                assert repr(keep(str(path)).load()) == repr(kept), path.name

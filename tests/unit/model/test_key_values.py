"""Primary-key values: one key of the database, one canonical form, however Python spells it."""

from __future__ import annotations

import enum
import re
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datajoint_file.errors import InvalidKeyError
from datajoint_file.model.key_values import KeyValue, key_value, kind_of
from datajoint_file.model.object_keys import key_digest

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Stage(str, enum.Enum):
    RAW = "raw"


class Level(enum.IntEnum):
    ONE = 1


SAME: dict[str, tuple[str, list[Any]]] = {
    "int32": (
        "1",
        [
            1,
            "1",
            " 1 ",
            "01",
            "+1",
            b"1",
            np.int64(1),
            np.uint8(1),
            np.int32(1),
            True,
            np.True_,
            1.0,
            np.float32(1),
            Decimal(1),
            Decimal("1.00"),
            Level.ONE,
            np.str_("1"),
        ],
    ),
    "int64": (str(2**63 - 1), [2**63 - 1, str(2**63 - 1), np.int64(2**63 - 1), Decimal(2**63 - 1)]),
    "bigint unsigned": (str(2**64 - 1), [2**64 - 1, np.uint64(2**64 - 1)]),
    "bool": ("1", [True, 1, "1", "true", "True", np.True_, np.int8(1), 1.0]),
    "tinyint(1)": ("0", [False, 0, "0", "false", np.False_]),
    "decimal(6,3)": (
        "1.500",
        [
            1.5,
            "1.5",
            "1.500",
            "15e-1",
            " 1.5 ",
            Decimal("1.5"),
            Decimal("1.5000"),
            np.float64(1.5),
            np.float32(1.5),
            "1.4995",
            "1.50049",
            Decimal("1.4995"),
        ],
    ),
    "decimal(6,2)": ("0.10", [0.1, np.float32(0.1), "0.1", Decimal("0.1"), 0.1 + 1e-9]),
    "decimal(4,0)": ("0", [0, -0.0, "0", "-0", "-0.4", Decimal("-0.0"), "0.4999", False, np.False_]),
    "decimal(10)": ("1000", [1000, 1e3, "1e3", Decimal("1E+3"), "999.5"]),
    "decimal(65,30)": (
        "12345678901234567890123456789012345.123456789012345678901234567890",
        [
            "12345678901234567890123456789012345.123456789012345678901234567890",
            Decimal("12345678901234567890123456789012345.12345678901234567890123456789"),
        ],
    ),
    "float64": ("0.1", [0.1, "0.1", np.float64(0.1), np.float32(0.1), np.float16(0.1), Decimal("0.1")]),
    "double": ("0.0", [0, 0.0, -0.0, "0", "-0.0", False, np.float64(-0.0)]),
    "float32": ("0.1", [0.1, np.float32(0.1), 0.10000000149011612, "0.1", 0.1 + 1e-12]),
    "date": (
        "2024-01-31",
        [
            date(2024, 1, 31),
            "2024-01-31",
            " 2024-01-31 ",
            datetime(2024, 1, 31, 23, 59),
            "2024-01-31 10:00:00",
            np.datetime64("2024-01-31"),
            np.datetime64("2024-01-31T10:00:00.000000001"),
            pd.Timestamp("2024-01-31 10:00"),
        ],
    ),
    "datetime": (
        "2024-01-31T10:00:00",
        [
            datetime(2024, 1, 31, 10),
            "2024-01-31 10:00:00",
            "2024-01-31T10:00:00",
            "2024-01-31 10:00",
            np.datetime64("2024-01-31T10:00:00"),
            np.datetime64("2024-01-31T10:00:00.000000000"),
            np.datetime64("2024-01-31T10"),
            pd.Timestamp("2024-01-31 10:00"),
            pd.Timestamp("2024-01-31T10:00:00.000000499"),
            np.datetime64("2024-01-31T09:59:59.999999500"),
        ],
    ),
    "datetime(6)": (
        "2024-01-31T10:00:00.000001",
        [
            datetime(2024, 1, 31, 10, 0, 0, 1),
            "2024-01-31 10:00:00.000001",
            "2024-01-31T10:00:00.000001",
            np.datetime64("2024-01-31T10:00:00.000001"),
            np.datetime64("2024-01-31T10:00:00.000001000"),
            pd.Timestamp("2024-01-31T10:00:00.000001"),
            pd.Timestamp("2024-01-31T10:00:00.000000500"),
        ],
    ),
    "timestamp": ("2024-01-31T00:00:00", [date(2024, 1, 31), "2024-01-31", datetime(2024, 1, 31)]),
    "time": (
        "10:00:00",
        [
            time(10),
            timedelta(hours=10),
            "10:00:00",
            "10:00",
            pd.Timedelta("10:00:00"),
            np.timedelta64(10, "h"),
            np.timedelta64(36000000000000, "ns"),
        ],
    ),
    "time(3)": ("1 day, 6:00:00", [timedelta(hours=30)]),
    "uuid": (
        str(UUID),
        [
            UUID,
            str(UUID),
            str(UUID).upper(),
            UUID.hex,
            UUID.bytes,
            bytearray(UUID.bytes),
            f"{{{UUID}}}",
            UUID.urn,
            np.void(UUID.bytes),
            np.str_(str(UUID)),
        ],
    ),
    "varchar(32)": ("raw", ["raw", np.str_("raw"), b"raw", np.bytes_(b"raw"), Stage.RAW]),
    "enum('raw','clean')": ("raw", ["raw", Stage.RAW, np.str_("raw")]),
    "char(4)": ("1", ["1", 1, np.int64(1)]),
    "binary(2)": ("00ff", [b"\0\xff", bytearray(b"\0\xff"), memoryview(b"\0\xff"), np.void(b"\0\xff")]),
}

_SPELLINGS = [(declared, text, value) for declared, (text, values) in SAME.items() for value in values]
every_spelling = pytest.mark.parametrize(
    ("declared", "text", "value"),
    _SPELLINGS,
    ids=lambda value: re.sub(r" at 0x\w+", "", f"{type(value).__name__} {value}")[:40],
)


@every_spelling
def test_every_spelling_of_a_key_is_one_key(declared: str, text: str, value: Any) -> None:
    found = key_value("attribute", declared, value)
    first = key_value("attribute", declared, SAME[declared][1][0])
    assert found.text == text
    assert (found, hash(found)) == (first, hash(first))
    assert key_digest((found,)) == key_digest((first,))


@every_spelling
def test_canonical_value_is_its_own_canonical_form(declared: str, text: str, value: Any) -> None:
    found = key_value("attribute", declared, value)
    assert key_value("attribute", declared, found.value) == found


DIFFERENT: dict[str, list[Any]] = {
    "int32": [1, 2, -1, 0, 11],
    "bool": [0, 1, 2],
    "decimal(6,3)": ["1.0005", "1.000", "-1.0005", "-1", "1.002", 0],
    "decimal(65,30)": ["1." + "0" * 29 + "1", "1." + "0" * 29 + "2", "1" + "0" * 34, "1" + "0" * 33 + "1"],
    "float64": [0.1, 0.1 + 1e-16, np.nextafter(0.1, 1), 1e300, float("inf"), float("-inf"), 5e-324][::2],
    "date": ["2024-01-31", "2024-02-01", "0001-01-01", "9999-12-31"],
    "datetime(6)": [
        datetime(2024, 1, 31),
        datetime(2024, 1, 31, microsecond=1),
        datetime(2024, 1, 31, microsecond=2),
        "2024-01-31 00:00:01",
        datetime(2024, 1, 31, tzinfo=timezone.utc),
        datetime(2024, 1, 31, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
    "time": [time(0), time(0, microsecond=1), timedelta(days=1), timedelta(hours=-1), "23:59:59.999999"],
    "uuid": [uuid.UUID(int=0), uuid.UUID(int=1), "f" * 32],
    "varchar(32)": [
        "",
        " ",
        "a",
        "A",
        "é",
        "e\u0301",
        "/",
        "a/b",
        "%",
        "a%2Fb",
        "#",
        "[1]",
        "*",
        "?",
        "1",
        "1.0",
        "\0",
    ],
    "binary(2)": [b"", b"\0", b"\0\0", b"00"],
}


@pytest.mark.parametrize("declared", DIFFERENT)
def test_different_keys_have_different_digests(declared: str) -> None:
    values = [key_value("attribute", declared, value) for value in DIFFERENT[declared]]
    assert len({key_digest((value,)) for value in values}) == len(values)
    assert len(set(values)) == len(values)


NONE_OF_THE_TYPE: dict[str, list[Any]] = {
    "int32": [
        1.5,
        "1.5",
        "x",
        "",
        b"\xff",
        float("inf"),
        Decimal("1.1"),
        Decimal("1e999999999"),
        2**64,
        -(2**63) - 1,
        10**5000,
        1j,
        [1],
        {},
        object(),
        date(2024, 1, 1),
        UUID,
        np.array([1]),
        np.array([1, 2]),
    ],
    "bool": ["yes", 0.5, "", "maybe"],
    "decimal(6,3)": ["x", "", float("inf"), "1e999999999", "1" + "0" * 2000, [1], (1, (1,), 2), np.array([1.0, 2.0])],
    "float32": [1e39, "x", "nan", [1.0]],
    "float64": ["x", "nan", "", [1.0], Decimal("NaN"), Decimal("sNaN")],
    "date": [
        "x",
        "",
        "31.01.2024",
        "2024-13-01",
        20240131,
        time(10),
        1.5,
        np.timedelta64(1, "D"),
        np.datetime64(10**15, "Y"),
    ],
    "datetime": ["x", "", "2024-01-31 25:00", 1706695200, time(10), timedelta(1)],
    "time": ["x", "", "25:00", 10, 10.5, date(2024, 1, 1)],
    "uuid": ["x", "", b"x", 5, b"x" * 17, [1]],
    "varchar(9)": [b"\xff", "\ud800", "a\udcff"],
    "binary(2)": ["ab", 5, [1]],
}


@pytest.mark.parametrize(
    ("declared", "value"),
    [(declared, value) for declared, values in NONE_OF_THE_TYPE.items() for value in values],
    ids=lambda value: f"{type(value).__name__}",
)
def test_value_that_is_none_of_the_type_is_refused_by_name_and_type(declared: str, value: Any) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        key_value("subject_id", declared, value)
    assert str(caught.value).startswith("the key attribute subject_id = ")
    assert str(caught.value).endswith(f" is no value of type {declared}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("declared", SAME)
@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        np.float64("nan"),
        np.float32("nan"),
        pd.NA,
        pd.NaT,
        np.datetime64("NaT", "s"),
        np.timedelta64("NaT", "s"),
    ],
    ids=repr,
)
def test_no_value_is_refused_for_every_type(declared: str, value: Any) -> None:
    with pytest.raises(InvalidKeyError, match="the key attribute subject_id has no value"):
        key_value("subject_id", declared, value)


KINDS = {
    "int": "int8|int16|int32|int64|uint8|int|INT|integer|int(11)|int4|int unsigned|int(11) unsigned auto_increment|"
    "tinyint|smallint|mediumint|bigint|bigint unsigned|serial|bigserial|year|year(4)|tinyint(4)",
    "bool": "bool|boolean|tinyint(1)| Bool ",
    "decimal": "decimal(6,3)|numeric|numeric(8, 3)|dec(3)|fixed(3,1) unsigned",
    "float": "float32|float64|float|double|double precision|real|float(7,4)",
    "date": "date|DATE",
    "datetime": "datetime|datetime(6)|timestamp|timestamp(3)|timestamptz|timestamp without time zone",
    "time": "time|time(6)|time without time zone",
    "uuid": "uuid|UUID",
    "bytes": "bytes|bytea|binary(16)|varbinary(9)|blob|longblob",
    "str": "varchar(9)|char(1)|enum('int','date')|enum('bool')|text|json|character varying|interval|inet|enum_3f2a",
}


@pytest.mark.parametrize(
    ("declared", "kind"), [(declared, kind) for kind, types in KINDS.items() for declared in types.split("|")]
)
def test_kind_is_that_of_the_declared_type(declared: str, kind: str) -> None:
    assert kind_of(declared) == kind


def test_key_value_is_equal_to_nothing_else() -> None:
    assert KeyValue("a", "int", 1) != ("a", "int", 1)
    assert KeyValue("a", "int", 1) != KeyValue("a", "str", "1")
    assert KeyValue("a", "int", 1) != KeyValue("b", "int", 1)

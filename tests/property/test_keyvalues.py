"""Equal keys of the database have equal digests, different ones different: over generated values, not chosen ones."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import InvalidKeyError
from datajoint_file.model.key_values import key_value
from datajoint_file.model.object_keys import key_digest

_ANYTHING = st.one_of(
    *(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.decimals(),
        st.text(),
        st.binary(),
        st.complex_numbers(),
    ),
    *(st.dates(), st.datetimes(), st.times(), st.timedeltas(), st.uuids(), st.lists(st.integers()), st.just(pd.NaT)),
    *(
        st.fractions(),
        st.dictionaries(st.text(), st.none()),
        st.integers(0, 2**62).map(lambda n: np.datetime64(n, "ns")),
    ),
)
_TYPES = st.sampled_from(
    [
        "int32",
        "bool",
        "decimal(6,3)",
        "float32",
        "float64",
        "date",
        "datetime(6)",
        "time",
        "uuid",
        "varchar(9)",
        "binary(3)",
    ]
)


def digest(declared: str, value: Any) -> str:
    return key_digest((key_value("attribute", declared, value),))


def digests(declared: str, *spellings: Any) -> set[str]:
    return {digest(declared, spelling) for spelling in spellings}


@given(_TYPES, _ANYTHING)
def test_any_value_has_a_digest_or_is_refused(declared: str, value: Any) -> None:
    try:
        found = key_value("attribute", declared, value)
    except InvalidKeyError as error:
        refused = str(error)
    else:
        assert key_digest((found,)) == digest(declared, found.value)
        return
    assert refused.isprintable()


@given(st.integers(-(2**63), 2**63 - 1))
def test_integer_is_one_key_in_every_spelling(number: int) -> None:
    assert len(digests("int64", number, str(number), np.int64(number), Decimal(number), f" {number} ")) == 1


@given(st.decimals(-999, 999, places=6, allow_nan=False), st.decimals(-999, 999, places=6, allow_nan=False))
def test_decimals_are_one_key_if_the_database_rounds_them_to_one(one: Decimal, other: Decimal) -> None:
    kept = [number.quantize(Decimal("0.001"), ROUND_HALF_UP) for number in (one, other)]
    assert (digest("decimal(6,3)", one) == digest("decimal(6,3)", str(other))) == (kept[0] == kept[1])


@given(st.integers(-(10**40), 10**40), st.integers(-(10**40), 10**40))
def test_decimals_of_forty_digits_are_told_apart(one: int, other: int) -> None:
    with localcontext() as context:
        context.prec = 60
        values = [Decimal(number).scaleb(-20) for number in (one, other)]
    assert (digest("decimal(50,20)", values[0]) == digest("decimal(50,20)", values[1])) == (one == other)


@given(st.floats(allow_nan=False))
def test_float_is_one_key_in_every_spelling(number: float) -> None:
    assert len(digests("float64", number, repr(number), np.float64(number))) == 1


@given(st.floats(allow_nan=False, width=32), st.floats(allow_nan=False, width=32))
def test_floats_of_single_precision_are_one_key_if_they_are_one_number(one: float, other: float) -> None:
    assert len(digests("float32", one, np.float32(one), str(np.float32(one)))) == 1
    assert (digest("float32", one) == digest("float32", other)) == (one == other)


@given(st.dates(), st.times())
def test_date_is_one_key_in_every_spelling(day: date, moment: time) -> None:
    assert len(digests("date", day, day.isoformat(), datetime.combine(day, moment), np.datetime64(day))) == 1


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))
def test_moment_is_one_key_in_every_spelling(moment: datetime) -> None:
    spellings = (
        moment.isoformat(),
        str(moment),
        np.datetime64(moment),
        np.datetime64(moment, "ns"),
        pd.Timestamp(moment),
    )
    assert len(digests("datetime(6)", moment, *spellings)) == 1


@given(st.datetimes(max_value=datetime(9999, 1, 1)), st.integers(1, 10**12))
def test_moments_a_microsecond_and_more_apart_are_two_keys(moment: datetime, microseconds: int) -> None:
    assert len(digests("datetime(6)", moment, moment + timedelta(microseconds=microseconds))) == 2


@given(st.integers(-(10**18), 4 * 10**18))
def test_nanoseconds_are_rounded_alike_whoever_holds_them(nanoseconds: int) -> None:
    assert len(digests("datetime(6)", pd.Timestamp(nanoseconds), np.datetime64(nanoseconds, "ns"))) == 1


@given(st.times())
def test_time_of_day_is_one_key_in_every_spelling(moment: time) -> None:
    since_midnight = datetime.combine(date.min, moment) - datetime.min
    assert len(digests("time(6)", moment, moment.isoformat(), since_midnight, np.timedelta64(since_midnight))) == 1


@given(st.uuids())
def test_uuid_is_one_key_in_every_spelling(identifier: uuid.UUID) -> None:
    assert len(digests("uuid", identifier, str(identifier), identifier.hex.upper(), identifier.bytes)) == 1


@given(st.lists(st.text(), unique=True))
def test_different_texts_are_different_keys(texts: list[str]) -> None:
    assert len(digests("varchar(99)", *texts)) == len(texts)


@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2).map(tuple), unique=True))
def test_keys_of_two_attributes_are_told_apart_wherever_one_ends(keys: list[tuple[str, str]]) -> None:
    made = [tuple(key_value(name, "varchar(9)", text) for name, text in zip("ab", key, strict=True)) for key in keys]
    assert len({key_digest(key) for key in made}) == len(keys)


@pytest.mark.parametrize("declared", ["int32", "date", "uuid"])
def test_sets_and_dictionaries_find_a_key_by_its_digest(declared: str) -> None:
    spelled = {"int32": ("1", 1), "date": ("2024-01-31", date(2024, 1, 31)), "uuid": ("0" * 32, uuid.UUID(int=0))}[
        declared
    ]
    assert len({key_value("attribute", declared, value) for value in spelled}) == 1

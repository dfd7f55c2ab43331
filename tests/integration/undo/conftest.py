"""A session with recordings and their traces: what people delete and want back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import datajoint as dj
import numpy as np
import pytest

KEY = {"session": "ab'c"}


@pytest.fixture
def lab(schema: dj.Schema) -> Any:
    @schema
    class Session(dj.Manual):
        definition = """
        session : varchar(30)
        ---
        rate : float32
        exact : float64
        began = CURRENT_TIMESTAMP : datetime(6)
        kind : enum('acute', 'chronic')
        cost : decimal(6,2)
        waves = null : <blob>
        is_good : bool
        day : date
        """

    @schema
    class Recording(dj.Manual):
        definition = """
        -> Session
        number : int16
        ---
        raw : file
        extra = null : file
        settings = null : json
        """

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            samples : <blob>
            """

    Session.insert1(
        {
            **KEY,
            "rate": 1.23456789,
            "exact": 0.1 + 0.2,
            "began": "2020-01-02 03:04:05.123456",
            "kind": "chronic",
            "cost": "12.30",
            "waves": {"x": np.arange(5)},
            "is_good": True,
            "day": "2021-02-03",
        }
    )
    for number in range(3):
        extra = ("x.dat", b"x") if number else None
        settings = {"a": [1, "ü"]}
        raw = ("r.dat", b"%d" % number)
        Recording.insert1({**KEY, "number": number, "raw": raw, "extra": extra, "settings": settings})
        Recording.Trace.insert1({**KEY, "number": number, "trace": 5, "samples": np.arange(3)})
    return SimpleNamespace(Session=Session, Recording=Recording, tables=(Session, Recording, Recording.Trace))


def rows(table: Any) -> list[str]:
    return sorted(map(str, table().to_dicts()))

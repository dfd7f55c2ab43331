"""A plan is a value in the process that made it, and says so where somebody wants to take it elsewhere."""

from __future__ import annotations

import copy
import gc
import pickle
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pytest

from datajoint_file.collector.evidence import Evidence
from datajoint_file.collector.plan import Plan


@pytest.fixture
def plan() -> Plan:
    return Plan("lab", timedelta(days=7), True, False, datetime(2025, 1, 15), evidence=Evidence())


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy, asdict], ids=["pickle", "deepcopy", "asdict"])
def test_plan_that_is_to_leave_its_process_says_what_to_do_instead(plan: Plan, take: Callable[[Plan], object]) -> None:
    with pytest.raises(TypeError, match=r"holds in the process that made it.*to_dict"):
        take(plan)
    gc.collect()  # what is left of a copy would complain now


def test_plan_is_compared_and_changed_as_a_value(plan: Plan) -> None:
    assert replace(plan, project="other") != plan == replace(plan) == copy.copy(plan)


def test_evidence_that_could_not_be_made_ends_without_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(sqlite3.OperationalError):
        Evidence()
    gc.collect()

"""The SQL of a condition, as DataJoint may treat it: doubled percent signs, words taken for attributes."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from datajoint.condition import extract_column_names
from hypothesis import given, settings
from hypothesis import strategies as st

from datajoint_file import where
from datajoint_file.errors import QueryError
from datajoint_file.hooks.codec import FileCodec
from datajoint_file.sql import DIALECTS, Dialect


def query_on(dialect: Dialect) -> Any:
    driver = SimpleNamespace(get_server_info=lambda: "11.4-MariaDB" if dialect.title == "MariaDB" else "8.0.36")
    attributes = {"raw": SimpleNamespace(codec=FileCodec()), "id": SimpleNamespace(codec=None)}
    return SimpleNamespace(
        heading=SimpleNamespace(attributes=attributes, names=list(attributes)),
        connection=SimpleNamespace(adapter=SimpleNamespace(backend=dialect.backend), _conn=driver),
    )


QUERIES = [query_on(dialect) for dialect in DIALECTS]
HOSTILE = st.text(
    st.one_of(st.sampled_from("%_|\\'\"`*?.;-#{} abcId()"), st.characters(codec="utf-8", exclude_characters="\0"))
)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(text=HOSTILE)
def test_it_can_be_passed_on_as_text(text: str) -> None:
    condition = where(
        "raw",
        name=text.replace("[", ""),
        title=[None, text.replace("[", "")],
        like=text.replace("\\", "\\\\"),
        stem=text.replace("*", "").replace("?", ""),
        suffix=["", ".dat"],
        size=(">1e6", "<1 GB"),
        stored=">2026",
        files="<3",
        linked=False,
        hash="0" * 64,
    )
    for query in QUERIES:
        sql, names = condition.sql(query)
        assert names == {"raw"}
        assert extract_column_names(sql) <= names
        assert "%" not in sql
        assert sql.isascii()
        assert sql.count("'") % 2 == 0
        assert "\\" not in sql


@pytest.mark.parametrize("condition", [where("raw"), where("raw", None), where("raw", name=[])])
def test_it_is_a_value(condition: Any) -> None:
    assert condition == copy.deepcopy(condition) == pickle.loads(pickle.dumps(condition))
    assert hash(condition) == hash(copy.deepcopy(condition))
    for query in QUERIES:
        assert extract_column_names(condition.sql(query)[0]) <= {"raw"}


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(QueryError, match="the query has no `file` attribute 'id'; there are raw"):
        where("id", name="a").sql(QUERIES[0])

"""Dialects: one interface, and nobody outside who asks which server it is."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import datajoint_file
from datajoint_file.sql import DIALECTS, Dialect, MariaDB, MySQL, PostgreSQL, dialect_of

ROOMS = ("cli", "collector", "doctor", "downloads", "hooks", "insert", "journal", "query", "verification")
NAMES = {dialect.backend for dialect in DIALECTS} | {dialect.title.lower() for dialect in DIALECTS}


def connection_to(backend: str, version: str = "") -> Any:
    driver = SimpleNamespace(get_server_info=lambda: version)
    return SimpleNamespace(adapter=SimpleNamespace(backend=backend), _conn=driver)


@pytest.mark.parametrize(
    ("backend", "version", "expected"),
    [
        ("mysql", "8.0.36", MySQL),
        ("mysql", "8.0.mysql_aurora.3.04.0", MySQL),
        ("mysql", "5.5.5-10.11.6-MariaDB-0+deb12u1", MariaDB),
        ("mysql", "11.8.2-MariaDB", MariaDB),
        ("postgresql", "", PostgreSQL),
    ],
)
def test_dialect_is_told_by_what_the_driver_knows(backend: str, version: str, expected: type[Dialect]) -> None:
    assert type(dialect_of(connection_to(backend, version))) is expected


def test_server_without_a_dialect_is_named_with_those_that_have_one() -> None:
    with pytest.raises(NotImplementedError, match=r"'duckdb', only for MariaDB, MySQL, PostgreSQL"):
        dialect_of(connection_to("duckdb"))


def test_only_dialects_ask_which_server_it_is() -> None:
    root = Path(datajoint_file.__file__).parent
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for room in ROOMS
        for path in (root / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in NAMES
    ]
    assert not found


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.title)
@pytest.mark.parametrize("name", ["raw", 'a"b', "a`b", "a.b", "50%"])
def test_no_name_ends_its_own_quotes(dialect: Dialect, name: str) -> None:
    inside = dialect.quoted(name)[1:-1]
    assert inside.replace(2 * dialect.quote, "") == name.replace(dialect.quote, "")


def test_enum_is_paged_in_the_order_of_its_declaration() -> None:
    columns = [("`k`", "int"), ("`kind`", "enum('z','a''b','c')")]
    assert MySQL().after(columns, (1, "z")) == (
        "((`k` > %s)) OR ((`k` = %s) AND (`kind` IN (%s, %s)))",
        [1, 1, "a'b", "c"],
    )
    assert "FALSE" in MySQL().after(columns, (1, "c"))[0]
    assert PostgreSQL().after(columns, (1, "z")) == ("(`k`, `kind`) > (%s, %s)", [1, "z"])

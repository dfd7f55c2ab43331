"""Hook table: the functions of DataJoint that are wrapped, and what is wrapped around each.

Wrappers are named as text and loaded at the first call, also those of rooms above this one. Every signature is checked
before the first is replaced, so that an upgrade of DataJoint fails here, by name, and not in the middle of an insert.
What the hooks rest on is asserted in ``tests/integration/hooks``.
"""

from __future__ import annotations

from typing import Any

import datajoint as dj
from datajoint import condition as dj_condition
from datajoint import declare as dj_declare
from datajoint import expression as dj_expression
from datajoint import table as dj_table
from datajoint.autopopulate import AutoPopulate
from datajoint.connection import Connection
from datajoint.dependencies import Dependencies
from datajoint.expression import QueryExpression
from datajoint.table import Table

from datajoint_file.hooks import codec  # by being imported, it is a codec that DataJoint knows
from datajoint_file.hooks.patching import Hook

_CONDITION = "query_expression condition columns semantic_check"
_ORDERED = "self order_by limit offset squeeze"
_QUERY = "self query args as_dict suppress_warnings reconnect"
_MAKE = "self key jobs suppress_errors return_exception_objects make_kwargs"
_ROWS = "self rows replace skip_duplicates ignore_extra_fields"


def _hook(owner: Any, name: str, parameters: str, wrapper: str, beginnings: tuple[str, ...] = ("",)) -> Hook:
    return Hook(owner, name, tuple(parameters.split()), f"datajoint_file.{wrapper}", beginnings)


HOOKS = (
    _hook(Connection, "register", "self schema", "hooks.connections:bind_schema"),
    _hook(
        dj_declare, "prepare_declare", "definition context adapter table_name config", "hooks.declare:prepare_declare"
    ),
    _hook(dj_table, "alter", "definition old_definition context adapter schema_name", "hooks.declare:alter"),
    _hook(dj_condition, "make_condition", _CONDITION, "hooks.restrictions:make_condition"),
    _hook(dj_expression, "make_condition", _CONDITION, "hooks.restrictions:make_condition"),
    _hook(QueryExpression, "to_arrow", _ORDERED, "hooks.frames:with_structs"),
    _hook(QueryExpression, "to_polars", _ORDERED, "hooks.frames:with_structs"),
    _hook(QueryExpression, "to_pandas", _ORDERED, "hooks.frames:to_pandas"),
    _hook(dj_expression, "preview", "query_expression limit width", "hooks.display:print_text"),
    _hook(dj_expression, "repr_html", "query_expression", "hooks.display:print_html"),
    _hook(Dependencies, "load", "self force schema_names", "hooks.dependencies:load"),
    _hook(Connection, "query", _QUERY, "insert.removal_hooks:execute_ddl", ("DROP ", "ALTER ")),
    _hook(Connection, "start_transaction", "self", "journal.transactions:start_transaction"),
    _hook(Connection, "commit_transaction", "self", "journal.transactions:commit_transaction"),
    _hook(Connection, "cancel_transaction", "self", "journal.transactions:cancel_transaction"),
    _hook(Table, "declare", "self context", "insert.table_hooks:declare"),
    _hook(Table, "insert", f"{_ROWS} allow_direct_insert chunk_size", "insert.table_hooks:insert"),
    _hook(Table, "insert1", "self row kwargs", "insert.table_hooks:insert1"),
    _hook(Table, "_insert_rows", _ROWS, "insert.table_hooks:insert_rows"),
    _hook(Table, "update1", "self row", "insert.table_hooks:update1"),
    _hook(Table, "delete", "self transaction prompt part_integrity", "insert.removal_hooks:delete"),
    _hook(Table, "delete_quick", "self get_count", "insert.removal_hooks:delete_quick"),
    _hook(Table, "drop", "self prompt part_integrity", "insert.removal_hooks:drop"),
    _hook(AutoPopulate, "_populate1", _MAKE, "hooks.undeclared:populate_one"),
    _hook(Table, "validate", "self rows ignore_extra_fields", "insert.table_hooks:validate"),
)


def install() -> None:
    """Install the hooks in DataJoint: check every signature, then apply all. Doing it again does nothing.

    Raises
    ------
    HostVersionError
        If a function is not the one this package knows; nothing is hooked then.
    """
    for hook in HOOKS:
        hook.check(dj.__version__)
    for hook in HOOKS:
        hook.apply()


def uninstall() -> None:
    """Give DataJoint its own functions back."""
    for hook in reversed(HOOKS):
        hook.revert()


__all__ = ["HOOKS", "codec", "install", "uninstall"]

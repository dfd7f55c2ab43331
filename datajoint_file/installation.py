"""Hook table: the functions of DataJoint that are wrapped, and what is wrapped around each.

With ``cli`` the only importer of ``datajoint``. Every signature is checked before the first is replaced, so that an
upgrade of DataJoint fails here, by name, and not in the middle of an insert. What the hooks rest on is asserted in
``tests/integration/hooks``.
"""

from __future__ import annotations

import datajoint as dj
from datajoint import condition as dj_condition
from datajoint import declare as dj_declare
from datajoint import expression as dj_expression
from datajoint.connection import Connection
from datajoint.expression import QueryExpression
from datajoint.table import Table

from datajoint_file.hooks import codec  # by being imported, it is a codec that DataJoint knows
from datajoint_file.hooks.patching import Hook

_ORDERED = ("self", "order_by", "limit", "offset", "squeeze")

HOOKS = (
    Hook(Connection, "register", ("self", "schema"), "datajoint_file.hooks.connections:register_schema"),
    Hook(
        dj_declare,
        "prepare_declare",
        ("definition", "context", "adapter", "table_name", "config"),
        "datajoint_file.hooks.declare:prepare_declare",
    ),
    *(
        Hook(
            module,
            "make_condition",
            ("query_expression", "condition", "columns", "semantic_check"),
            "datajoint_file.journal.restrictions:make_condition",
        )
        for module in (dj_condition, dj_expression)
    ),
    Hook(QueryExpression, "to_arrow", _ORDERED, "datajoint_file.hooks.frames:with_structs"),
    Hook(QueryExpression, "to_polars", _ORDERED, "datajoint_file.hooks.frames:with_structs"),
    Hook(QueryExpression, "to_pandas", _ORDERED, "datajoint_file.hooks.frames:to_pandas"),
    Hook(Connection, "start_transaction", ("self",), "datajoint_file.journal.transactions:start_transaction"),
    Hook(Connection, "commit_transaction", ("self",), "datajoint_file.journal.transactions:commit_transaction"),
    Hook(Connection, "cancel_transaction", ("self",), "datajoint_file.journal.transactions:cancel_transaction"),
    Hook(Table, "declare", ("self", "context"), "datajoint_file.insert.table_hooks:declare"),
    Hook(
        Table,
        "insert",
        ("self", "rows", "replace", "skip_duplicates", "ignore_extra_fields", "allow_direct_insert", "chunk_size"),
        "datajoint_file.insert.table_hooks:insert",
    ),
    Hook(
        Table,
        "_insert_rows",
        ("self", "rows", "replace", "skip_duplicates", "ignore_extra_fields"),
        "datajoint_file.insert.table_hooks:insert_rows",
    ),
    Hook(Table, "update1", ("self", "row"), "datajoint_file.insert.table_hooks:update1"),
    Hook(Table, "validate", ("self", "rows", "ignore_extra_fields"), "datajoint_file.insert.table_hooks:validate"),
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

"""Restriction by fetched rows, and by conditions that become SQL when it is known which query they restrict.

Of a row a ``file`` attribute is compared by the object key, for which SQL has an expression: DataJoint would write the
reference's repr into the query. What it makes of lists, frames and `Not`, it makes of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from datajoint.condition import AndList, Not

from datajoint_file.errors import UnsupportedValueError, brief
from datajoint_file.hooks.codec import file_attributes, is_file
from datajoint_file.hooks.tables import query_name
from datajoint_file.model.key_values import is_missing
from datajoint_file.model.object_keys import check_value_key
from datajoint_file.pipeline.stored_ref import StoredRef
from datajoint_file.sql import dialect_of


class SqlCondition(ABC):
    """Something to restrict queries by, on whichever server they are: a restriction for DataJoint, also in lists."""

    __slots__ = ()

    @abstractmethod
    def sql(self, query: Any) -> tuple[str, set[str]]:
        """Return the SQL for *query*, true or false but never NULL, and the attributes of the query that are in it.

        It has no percent sign, and no word in small letters outside of quotes: DataJoint may pass it on as text, where
        it doubles the one, and takes the other for an attribute.
        """


def make_condition(
    original: Callable[..., str | bool], query: Any, condition: Any, columns: set[str], semantic_check: bool = True
) -> str | bool:
    """Let DataJoint make SQL of *condition*, in which the references of a row are replaced. Wraps ``make_condition``.

    It calls itself for what it finds in lists, so rows come here one by one.

    Raises
    ------
    UnsupportedValueError
        If a reference is compared with what is no ``file`` attribute, or a ``file`` attribute with what is none.
    QueryError
        If a condition is about such a one.
    MetadataError
        If a reference is not sound.
    """
    is_negated, bare = False, condition
    while isinstance(bare, Not):
        is_negated, bare = not is_negated, bare.restriction
    if isinstance(bare, SqlCondition):
        sql, names = bare.sql(query)
        columns.update(names)  # or a cascade would apply it to children, where the name means another attribute
        return f"NOT ({sql})" if is_negated else f"({sql})"
    row = _row_of(bare)
    _refuse_values(query, row)
    if not any(isinstance(value, StoredRef) for value in row.values()):
        return original(query, condition, columns, semantic_check)
    refs = {name: value for name, value in row.items() if isinstance(value, StoredRef)}
    others = {name: value for name, value in row.items() if name not in refs}
    known = {name: ref for name, ref in refs.items() if name in query.heading.names}
    comparisons = [_comparison(query, name, ref) for name, ref in known.items()]
    made = original(query, AndList([others, *comparisons]), columns, semantic_check)
    columns.update(known)  # as above
    if not is_negated:
        return made
    return not made if isinstance(made, bool) else f"NOT ({made})"  # DataJoint would negate the first part only


def _refuse_values(query: Any, row: Mapping[str, Any]) -> None:
    """Raise if what is no reference is compared with a file: that would find nothing, and say so to nobody."""
    for name, value in row.items():
        if is_missing(value) or isinstance(value, StoredRef) or not is_file(query.heading.attributes.get(name)):
            continue
        table = query_name(query)
        raise UnsupportedValueError(
            f"{table}{'.' if table else ''}{name} is a file, and nothing is equal to one but what a fetch gives: it is "
            f"compared with {brief(value)}. Restrict by datajoint_file.where({name!r}, name='run1.dat'), or by the key"
        )


def _row_of(condition: Any) -> Mapping[str, Any]:
    if isinstance(condition, Mapping):
        return condition
    if isinstance(condition, np.void) and condition.dtype.hasobject and condition.dtype.names:
        return {name: condition[name] for name in condition.dtype.names}
    return {}


def _comparison(query: Any, name: str, ref: StoredRef) -> str:
    if name not in file_attributes(query.heading):
        table = query_name(query)
        raise UnsupportedValueError(
            f"{table}{'.' if table else ''}{name} is no `file` attribute, and is compared with one: restrict by the key"
        )
    dialect = dialect_of(query.connection)
    path = dialect.path(dialect.quoted(name))
    # Of an object key's characters only % has a meaning: DataJoint doubles it whenever it passes a restriction on.
    key = (ref.path if ref.metadata.is_link else check_value_key(ref.path)).replace("%", "!")
    return f"REPLACE({path}, {dialect.percent}, '!') = '{key}'"

"""Statement hook: what DataJoint sends to drop or alter something is shown to who keeps the history, all else is not.

``Table.alter`` itself cannot be wrapped, for it reads its caller's frame; and only what is executed after the prompt
counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datajoint_file.hooks.patching import loaded

_KEEPER = "datajoint_file.insert.removal_hooks:execute_ddl"


def query(original: Callable[..., Any], connection: Any, query: str, *args: Any, **options: Any) -> Any:
    """Let DataJoint execute a statement. Wraps ``Connection.query``: this is all that the others pass."""
    if query[:5] in ("DROP ", "ALTER"):
        return loaded(_KEEPER)(original, connection, query, *args, **options)
    return original(connection, query, *args, **options)

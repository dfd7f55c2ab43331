"""Tables that tests declare: one definition that most of them share, and what they look at it with."""

from __future__ import annotations

from typing import Any

import datajoint as dj

from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.sql import is_deadlock

RECORDING = "id : int32\n---\nraw : file\nextra = null : file"


def drop_schema(connection: Any, name: str) -> None:
    """Drop a schema as programs do that know nothing of stores; again, where a collector of other tests reads it."""
    cascade = " CASCADE" if connection.adapter.backend == "postgresql" else ""
    sql = f"DROP SCHEMA IF EXISTS {connection.adapter.quote_identifier(name)}{cascade}"
    for attempt in range(5):
        try:
            second_connection_of(connection).execute(sql)
        except Exception as error:
            if attempt == 4 or not is_deadlock(error):
                raise
        else:
            return


def recording_of(schema: Any, definition: str = RECORDING, name: str = "Recording") -> Any:
    """Declare a manual table in *schema* and return its class."""
    return schema(type(name, (dj.Manual,), {"definition": definition}))

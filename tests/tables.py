"""Tables that tests declare: one definition that most of them share, and what they look at it with."""

from __future__ import annotations

from typing import Any

import datajoint as dj

RECORDING = "id : int32\n---\nraw : file\nextra = null : file"


def recording_of(schema: Any, definition: str = RECORDING, name: str = "Recording") -> Any:
    """Declare a manual table in *schema* and return its class."""
    return schema(type(name, (dj.Manual,), {"definition": definition}))

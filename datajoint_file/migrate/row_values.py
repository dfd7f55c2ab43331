"""Members of a row's JSON as DataJoint's codecs write it: read as what anybody may have written there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from datajoint_file.errors import MetadataError, brief
from datajoint_file.migrate.originals import OldValue


def document(old: OldValue, title: str) -> Mapping[str, Any]:
    """Return the JSON object of a row. Raises `MetadataError` if it is none."""
    try:
        found = json.loads(old.text or "")
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"{brief(old.text)} is not what {title} writes") from error
    if not isinstance(found, dict):
        raise MetadataError(f"{brief(old.text)} is not what {title} writes")
    return found


def text_in(row: Mapping[str, Any], member: str) -> str:
    """Return a member that is text. Raises `MetadataError` if it is none, or empty."""
    found = row.get(member)
    if not isinstance(found, str) or not found:
        raise MetadataError(f"the row has no {member}: {brief(dict(row))}")
    return found


def store_in(row: Mapping[str, Any], declared: str | None) -> str | None:
    """Return the store that a row names, or else the one that is declared. Raises `MetadataError` if it is no name."""
    found = row.get("store") or declared
    if not isinstance(found, str | None):
        raise MetadataError(f"the row names no store: {brief(dict(row))}")
    return found


def number_in(row: Mapping[str, Any], member: str) -> int | None:
    """Return a member that is a whole number, if there is one."""
    found = row.get(member)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None

"""Template of ``datajoint.toml``: one commented text, shown whole as the example and in part as a new file.

It only makes text; which values a new project gets, and where the text goes, is decided in `scaffold`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources

_IN_FORCE = ("everywhere", "example", "storage file")
"""Blocks whose settings are in force in the example; those of the others are comments there."""

_MARKER = re.compile(r"^#@ (.+)\n", re.MULTILINE)
_SETTING = re.compile(r"^(?=[^#\n])", re.MULTILINE)


def example() -> str:
    """Return the text of ``datajoint.toml.example``: every key of every backend, explained."""
    return "".join(text if name in _IN_FORCE else _SETTING.sub("#", text) for name, text in _blocks())


def compose(project: str, storage: Mapping[str, str], partition_pattern: str = "") -> str:
    """Return the text of a new ``datajoint.toml``.

    *storage* has the ``backend``, and what else is known of ``[storage]``. Keys not given are there as comments, and so
    is an empty *partition_pattern*.

    Examples
    --------
    >>> text = compose("lab", {"backend": "s3", "bucket": "recordings"})
    >>> 'bucket = "recordings"' in text, '#region = "eu-central-1"' in text
    (True, True)
    """
    text = "".join(text for name, text in _blocks() if name in ("everywhere", f"storage {storage['backend']}"))
    for key, value in {"name": project, **storage, "partition_pattern": partition_pattern}.items():
        text = _with_value(text, key, value) if value else text
    return text


def _blocks() -> list[tuple[str, str]]:
    """Return the template's blocks, each begun by ``#@ everywhere``, ``#@ example`` or ``#@ storage BACKEND``."""
    template = resources.files(__package__).joinpath("template.toml").read_text(encoding="utf-8")
    parts = _MARKER.split(template)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _with_value(text: str, key: str, value: str) -> str:
    """Give *key* a value where it first stands, on or off; a key that the table lacks goes to its beginning."""
    quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's, but for DEL
    line = f"{key} = {quoted}"
    changed, count = re.subn(rf"^#?{key} = .*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    return changed if count else text.replace("[storage]\n", f"[storage]\n{line}\n", 1)

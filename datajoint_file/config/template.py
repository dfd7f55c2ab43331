"""Template of ``datajoint.toml``: one commented text, shown whole as the example and in part as a new file.

It only makes text; which values a new project gets, and where the text goes, is decided in `scaffold`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources

EXAMPLE_BACKEND = "file"
"""The backend whose table is in force in the example; those of the others are comments there."""

_EVERYWHERE, _ONLY_IN_THE_EXAMPLE = "everywhere", "example"
_IN_FORCE = (_EVERYWHERE, _ONLY_IN_THE_EXAMPLE, f"storage {EXAMPLE_BACKEND}")
_MARKER = re.compile(r"^#@ (.+)\n", re.MULTILINE)
_SETTING = re.compile(r"^(?=[^#\n])", re.MULTILINE)


def example() -> str:
    """Return the text of ``datajoint.toml.example``: every key of every backend, explained."""
    return "".join(text if name in _IN_FORCE else _SETTING.sub("#", text) for name, text in _blocks())


def compose(project: str, storage: Mapping[str, str], partition_pattern: str = "") -> str:
    """Return the text of a new ``datajoint.toml``.

    Parameters
    ----------
    project : str
        The project's name.
    storage : mapping
        Values of ``[storage]``: its ``backend``, and the others that are known. Keys not given are there as comments.
    partition_pattern : str
        How objects are laid out; empty leaves it a comment.

    Examples
    --------
    >>> text = compose("lab", {"backend": "s3", "bucket": "recordings"})
    >>> 'bucket = "recordings"' in text, '#region = "eu-central-1"' in text
    (True, True)
    """
    wanted = (_EVERYWHERE, f"storage {storage['backend']}")
    text = "".join(text for name, text in _blocks() if name in wanted)
    values = {"name": project, **storage}
    if partition_pattern:
        values["partition_pattern"] = partition_pattern
    for key, value in values.items():
        text = _with_value(text, key, value)
    return text


def _blocks() -> list[tuple[str, str]]:
    """Return the template's blocks, each begun by ``#@ everywhere``, ``#@ example`` or ``#@ storage BACKEND``."""
    template = resources.files(__package__).joinpath("template.toml").read_text(encoding="utf-8")
    parts = _MARKER.split(template)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _with_value(text: str, key: str, value: str) -> str:
    """Give *key* a value where it first stands, on or off; a key that the table lacks goes to its beginning."""
    line = f"{key} = {_quoted(value)}"
    changed, count = re.subn(rf"^#?{key} = .*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    return changed if count else text.replace("[storage]\n", f"[storage]\n{line}\n", 1)


def _quoted(value: str) -> str:
    """Return *value* as a basic string of TOML, which is JSON's but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

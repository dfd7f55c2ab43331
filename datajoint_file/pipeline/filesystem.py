"""fsspec filesystem over a stored directory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fsspec.utils import glob_translate


def glob_matcher(pattern: str) -> Callable[[str], Any]:
    """Return what tells whether a path matches a glob: ``*`` stops at a slash, ``**`` is any number of directories."""
    return re.compile(glob_translate(pattern)).match

"""Key parsing for the collector: which objects an insert of this package has made.

Whether one of them is referenced is not decided here.
"""

from __future__ import annotations

import re
from functools import lru_cache

_COMPONENT = r"[A-Za-z0-9._=~%-]+"
_BEGINNING = rf"/(?:{_COMPONENT}/)+objects/{_COMPONENT}-{_COMPONENT}/[a-z2-7]{{16}}-(?P<write_id>[a-z2-7]{{26}})/"
_OBJECT_KEY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._=-]*{_BEGINNING}{_COMPONENT}")

REGISTRY = "~registry"
"""The directory of a project that holds the marks of the schemas that use it."""


def project_of(key: str) -> str:
    """Return the project that an object key begins with."""
    return key.partition("/")[0]


def write_id_of(key: str) -> str:
    """Return the 26 random characters of an object key that an insert has made; nothing for any other text.

    Examples
    --------
    >>> write_id_of("lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat")
    'aaaabbbbccccddddeeeeffffgg'
    >>> write_id_of("lab/README.md"), write_id_of("lab/~registry/x.json")
    ('', '')
    """
    match = _OBJECT_KEY.fullmatch(key)
    if match is None or any(part in (".", "..") or part.startswith("~partial-") for part in key.split("/")):
        return ""
    return match["write_id"]


def is_candidate(project: str, key: str) -> bool:
    """Tell whether *key* is that of an object of *project* which an insert has made. Nothing else is ever deleted."""
    return project_of(key) == project and bool(write_id_of(key))


def keys_in(text: str, project: str) -> set[str]:
    r"""Return whatever in *text* (JSON, or anything) reads like an object key of *project*.

    Examples
    --------
    >>> keys_in('{"a": ["lab\\/ephys\\/x.dat"]}', "lab")
    {'lab/ephys/x.dat'}
    """
    if project not in text:
        return set()
    return set(_keys_of(project).findall(text.replace("\\/", "/")))


@lru_cache
def _keys_of(project: str) -> re.Pattern[str]:
    """Return what keys of *project* look like in a text, also within a URL or the path of a file."""
    return re.compile(rf"(?<![A-Za-z0-9._=~%-]){re.escape(project)}/{_COMPONENT}(?:/{_COMPONENT})*")

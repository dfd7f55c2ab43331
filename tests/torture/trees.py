"""Directories as values: made of a payload, and what a store must have of one, seen through the other door.

No code of the package: what a manifest says, and what it must say, is written here once more.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from urllib.parse import quote

HEADING = b"# Files of a directory stored by datajoint-file; check in it: sha256sum -c --strict ../~manifest\n"
EMPTY = "logs"
"""The directory without files that each has."""

_ENTRY = re.compile(rb"# (\d+)\n([0-9a-f]{64})  ([^\n]+)\n")


class Tree(bytes):
    """A payload that is inserted as a directory: the bytes of its files, one after the other."""

    @property
    def files(self) -> dict[str, bytes]:
        """What is in it, by path, sorted as the store sorts the names."""
        half = len(self) // 2
        return {".empty": b"", "c/0": self[:half], "c/1 b": self[half:]}

    @property
    def manifest(self) -> bytes:
        """What its manifest must be."""
        lines = [
            f"# {len(content)}\n{hashlib.sha256(content).hexdigest()}  {quote(name)}\n"
            for name, content in self.files.items()
        ]
        return HEADING + "".join(lines).encode() + f"# {EMPTY}/\n".encode()

    def written(self, directory: Path, name: str) -> Path:
        """Make it, below a directory of this machine, and return where it is."""
        root = directory / hashlib.sha256(self).hexdigest()[:20]
        if not root.exists():
            draft = directory / secrets.token_hex(8)
            for path, content in self.files.items():
                (draft / name / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / name / path).write_bytes(content)
            (draft / name / EMPTY).mkdir()
            draft.rename(root)
        return root / name


def is_directory(key: str) -> bool:
    """Tell whether a row's path is that of a directory."""
    return key.endswith("/")


def home(key: str) -> str:
    """Return the place of the write that an object, or a value, belongs to: nobody else's objects are there."""
    project, mark, rest = key.partition("/objects/")
    return f"{project}{mark}{'/'.join(rest.split('/')[:2])}"


def manifest_key(key: str) -> str:
    """Return the key of the manifest at the place of a write."""
    return f"{home(key)}/~manifest"


def is_checkpoint_or_fence(key: str) -> bool:
    """Tell whether an object is a checkpoint of a directory, or its fence: it goes with the directory."""
    return key.startswith((f"{home(key)}/~sent-", f"{home(key)}/~fence/"))


def member(key: str) -> str:
    """Return what a directory calls the object of that key; nothing if it is no member."""
    directory, _, name = key[len(home(key)) + 1 :].partition("/")
    return "" if directory.startswith("~") or "/~partial-" in key else name


def listed(manifest: bytes) -> dict[str, tuple[int, str]]:
    """Return the members that a manifest lists: size and digest by name."""
    return {name.decode(): (int(size), digest.decode()) for size, digest, name in _ENTRY.findall(manifest)}

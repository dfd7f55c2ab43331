"""A laboratory that has its files in DataJoint's other types, and what their bytes are."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import datajoint as dj

from datajoint_file import DirectoryRef

Content = dict[str, str]
"""Digests by the relative name of a file; of a single file by its own name."""

ATTRIBUTES = ("raw", "notes", "movie", "track")


class Lab:
    """A table with *count* rows, each with an old attribute of four kinds, and what their bytes are.

    Parameters
    ----------
    schema : datajoint.Schema
        Where it is declared.
    directory : Path
        Empty; DataJoint's store is in it, and the files that rows name by their paths.
    count : int
        Rows.
    """

    def __init__(self, schema: Any, directory: Path, count: int) -> None:
        self.directory, self.schema = directory, schema
        self._random = random.Random(count)
        for name in ("old", "nas", "here"):
            (directory / name).mkdir()
        schema.connection._config.download_path = str(directory / "downloads")  # attachments that are fetched
        schema.connection._config.stores = {
            "default": "old",
            "old": {"protocol": "file", "location": str(directory / "old")},
        }
        subject = schema(type("Subject", (dj.Manual,), {"definition": "subject : varchar(30)"}), context={})
        definition = """
        -> Subject
        session : int32
        ---
        raw : <attach@old>
        notes = null : <filepath@old>
        movie : <object@old>
        track : varchar(400)
        weight : float64
        """
        made = type("Recording", (dj.Manual,), {"definition": definition})
        self.recording = schema(made, context={"Subject": subject})
        self.expected: dict[int, dict[str, Content]] = {}
        subject.insert({"subject": name} for name in self.subjects)
        self.recording.insert([self._row(number) for number in range(count)])

    subjects = ("ann", "o'brien", '50% "x"', "müller")

    def _row(self, number: int) -> dict[str, Any]:
        subject = self.subjects[number % len(self.subjects)]
        raw = self._file(self.directory / "here" / f"raw {number}é.dat")
        notes = self._file(self.directory / "old" / "notes" / f"n%d{number}.txt")
        track = self._file(self.directory / "nas" / f"day{number % 7}" / f"track{number}.csv")
        movie = self.directory / "here" / f"movie{number}"
        if number % 2:
            movie = movie.with_suffix(".tif")
            content = {"": self._file(movie)[movie.name]}
        else:
            content = {name: self._file(movie / name)[Path(name).name] for name in ("0.0", "0.1", "meta/.zattrs")}
        self.expected[number] = {"raw": raw, "notes": notes if number % 5 else {}, "movie": content, "track": track}
        return {
            "subject": subject,
            "session": number,
            "raw": str(self.directory / "here" / f"raw {number}é.dat"),
            "notes": f"notes/n%d{number}.txt" if number % 5 else None,
            "movie": str(movie),
            "track": f"day{number % 7}/track{number}.csv",
            "weight": number / 7,
        }

    def _file(self, path: Path) -> Content:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self._random.randbytes(self._random.choice((0, 1, 100, 5_000, 20_000)))
        path.write_bytes(content)
        return {path.name: _digest(content)}


def contents(table: Any) -> dict[int, dict[str, Content]]:
    """Return the digests of all files of a table's rows, by session and attribute, as references read them."""
    found: dict[int, dict[str, Content]] = {}
    for row in table.to_dicts():
        found[row["session"]] = {name: _content(row[name], name) for name in ATTRIBUTES}
    return found


def _content(ref: Any, name: str) -> Content:
    if ref is None:
        return {}
    if isinstance(ref, DirectoryRef):
        return {one.path.removeprefix(ref.path): _digest(one.read()) for one in ref.files()}
    return {"" if name == "movie" else ref.original_name: _digest(ref.read())}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

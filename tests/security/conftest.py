"""Where attacks take place: a table with a file in a real database and a real store, and something outside to steal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.fileref import FileRef
from tests.projects import DATABASES, Store, bare_filesystem, connect, unique

OUTSIDE = b"something that is not in the project: do not read or change it"
BYSTANDER = b"the file of a row that no attack is about"

_PLACES = [f"{database}-{store}" for database in DATABASES for store in ("local", "s3")]

everywhere = pytest.mark.parametrize("arena", [*_PLACES, "mysql-gcs", "postgresql-azure"], indirect=True)
"""Also on the stores whose names are handled by other clients."""

on_disk = pytest.mark.parametrize("arena", ["mysql-local"], indirect=True)
by_database = pytest.mark.parametrize("arena", [f"{database}-local" for database in DATABASES], indirect=True)
by_store = pytest.mark.parametrize("arena", ["mysql-local", "postgresql-s3"], indirect=True)


class Arena:
    """One table, one store, and the doors beside the package.

    Parameters
    ----------
    database
        The address of the database server.
    table : dict
        The store's ``[storage]`` table.
    directory : Path
        Where something lies that is not the project's; on a disk, beside its root.
    """

    def __init__(self, database: Any, table: dict[str, Any], directory: Path) -> None:
        self.database = database
        instance = connect(database)
        self.connection = instance.connection
        self.store = Store(table, unique("project"))
        self.outside = directory / "outside.txt"
        self.outside.write_bytes(OUTSIDE)
        datajoint_file.configure(self.store.configuration(), connection=instance)
        self.schema = instance.Schema(unique("schema"))
        definition = "k : int32\n---\nraw = null : file"
        self.table = self.schema(type("Recording", (dj.Manual,), {"definition": definition}))
        self._bare = bare_filesystem(table)
        self.quote = self.connection.adapter.quote_identifier
        self._keys = itertools.count(1)
        self._planted: list[int] = []
        self.insert(("bystander.txt", BYSTANDER))

    def insert(self, value: Any) -> int:
        """Insert a row as users do, and return its key."""
        k = next(self._keys)
        self.table.insert1({"k": k, "raw": value})
        return k

    def plant(self, document: Any) -> int:
        """Write a row as somebody does who has SQL: *document* is its JSON, as text or to be made text."""
        k = next(self._keys)
        self._planted.append(k)
        text = document if isinstance(document, str) else json.dumps(document)
        columns = f"{self.quote('k')}, {self.quote('raw')}"
        self.connection.query(f"INSERT INTO {self.table().full_table_name} ({columns}) VALUES (%s, %s)", (k, text))
        return k

    def remove_planted(self) -> None:
        """Remove what `plant` has planted: one hostile row is enough for the collector to refuse."""
        while self._planted:
            sql = f"DELETE FROM {self.table().full_table_name} WHERE {self.quote('k')} = %s"
            self.connection.query(sql, (self._planted.pop(),))

    def stored_json(self, k: int) -> dict[str, Any]:
        """Return what the database has, past the package."""
        sql = f"SELECT {self.quote('raw')} FROM {self.table().full_table_name} WHERE {self.quote('k')} = %s"
        ((value,),) = self.connection.query(sql, (k,)).fetchall()
        document: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
        return document

    def content(self, path: str) -> bytes:
        """Return an object's bytes, past the package."""
        if self.store.is_local:
            return self.store.content(path)
        root = self.store.table.get("bucket") or self.store.table["container"]
        return bytes(self._bare.cat_file(f"{root}/{path}"))

    def local_path(self, path: str) -> Path:
        """Return where an object is on the disk: the first part of its path stands for the root."""
        return Path(self.store.table["path"]).joinpath(*path.split("/")[1:])

    def row_keys(self) -> set[int]:
        """Return the keys of all rows, past the package."""
        sql = f"SELECT {self.quote('k')} FROM {self.table().full_table_name}"
        return {k for (k,) in self.connection.query(sql).fetchall()}

    def fetch(self, k: int) -> FileRef:
        reference: FileRef = (self.table & {"k": k}).fetch1("raw")
        return reference

    def sound_row(self, **changes: Any) -> dict[str, Any]:
        """Return the JSON of the bystander's row, changed."""
        return {**self.stored_json(1), **changes}

    def forged(self, **changes: Any) -> FileRef:
        """Return a reference that nobody has checked, as code that makes one by hand gets."""
        metadata = self.fetch(1).metadata
        fields = {name: getattr(metadata, name) for name in FileMetadata.__dataclass_fields__}
        return FileRef(FileMetadata(**{**fields, **changes}), self.fetch(1).pipeline)

    def check_unharmed(self) -> None:
        """Raise unless the other row reads as before, and what is outside is what it was."""
        assert self.fetch(1).read() == BYSTANDER
        assert self.outside.read_bytes() == OUTSIDE

    def close(self) -> None:
        self.schema.drop(prompt=False)
        self.connection.close()


@pytest.fixture
def _attacks(request: pytest.FixtureRequest) -> None:
    """Receive the numbers that `attacks` puts into a test's id."""


@pytest.fixture(autouse=True)
def _numbered(request: pytest.FixtureRequest, _attacks: None) -> Iterator[None]:
    """Make every test of this directory take them, and leave no hostile rows for the next one."""
    yield
    if "arena" in request.fixturenames:
        request.getfixturevalue("arena").remove_planted()


@pytest.fixture(scope="module", params=_PLACES)
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A table, with a file in it, on every database and store."""
    database, store = request.param.split("-")
    directory = tmp_path_factory.mktemp("arena")
    if store == "local":
        (directory / "store").mkdir()
        table = {"backend": "file", "path": str(directory / "store")}
    else:
        table = request.getfixturevalue(f"{store}_storage")
    made = Arena(request.getfixturevalue(database), table, directory)
    yield made
    made.close()

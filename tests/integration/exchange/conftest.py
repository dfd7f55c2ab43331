"""Two servers of different kinds, each with a project of its own, between which slices go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import DATABASES, Store, connect, unique
from tests.tables import drop_schema


@dataclass
class Side:
    """A server and a project."""

    instance: Any
    store: Store
    schemas: list[str] = field(default_factory=list)

    @property
    def connection(self) -> Any:
        return self.instance.connection

    @property
    def is_mysql(self) -> bool:
        return bool(self.connection.adapter.backend == "mysql")

    def schema(self, name: str = "") -> Any:
        made = self.instance.Schema(name or unique("slice"))
        self.note(made.database)
        return made

    def note(self, name: str) -> str:
        """Have a schema dropped at the end."""
        if name not in self.schemas:
            self.schemas.append(name)
        return name

    def table(self, full_name: str) -> Any:
        schema, _, name = full_name.partition(".")
        return dj.FreeTable(self.connection, self.connection.adapter.make_full_table_name(schema, name))


def side(database: Any, path: Path, nas: Path) -> Side:
    path.mkdir()
    store = Store({"backend": "file", "path": str(path)}, unique("project"))
    instance = connect(database)
    datajoint_file.configure(store.configuration(roots={"nas": {"path": str(nas)}}), connection=instance)
    return Side(instance, store)


@pytest.fixture
def nas(tmp_path: Path) -> Path:
    (tmp_path / "nas").mkdir()
    return tmp_path / "nas"


@pytest.fixture(params=DATABASES)
def sides(request: pytest.FixtureRequest, tmp_path: Path, nas: Path) -> Iterator[tuple[Side, Side]]:
    """Where a slice comes from, and where it goes to: the other kind of server."""
    others = {"mysql": "postgresql", "postgresql": "mysql"}
    names = request.param, others[request.param]
    made = [side(request.getfixturevalue(name), tmp_path / f"store{number}", nas) for number, name in enumerate(names)]
    yield made[0], made[1]
    for one in made:
        for name in reversed(one.schemas):
            drop_schema(one.connection, name)
        one.connection.close()

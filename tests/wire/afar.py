"""A pipeline whose store is behind a proxy that lies, and the store itself."""

from __future__ import annotations

import json
from typing import Any

from datajoint_file.config import parse_settings
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source
from tests.projects import Store, unique
from tests.wire.answers import LyingProxy

ONCE_AGAIN = {"retries": {"max_attempts": 1}}
"""How often a client of S3 tries again, which waits long between attempts, of which it makes many."""

CELL = Cell("lab", "Recording", "raw", (KeyValue("id", "int", 1),))


class Afar:
    """A store of *table* behind a *proxy*, used through *engine*."""

    def __init__(self, table: dict[str, Any], engine: str, proxy: LyingProxy) -> None:
        through = json.loads(json.dumps(table).replace(f"127.0.0.1:{proxy.store}", f"127.0.0.1:{proxy.port}"))
        if table["backend"] == "s3":
            through["options"] = {"config_kwargs": ONCE_AGAIN}
        self.store = Store(table, unique("project"))
        self.proxy = proxy
        document = {**self.store.configuration(), "storage": {**through, "engine": engine}}
        self.pipeline = Pipeline(parse_settings(document, "the test"))

    def ingest(self, value: Any) -> FileMetadata:
        return self.pipeline.ingest(self.pipeline.plan(as_source(value), CELL))

"""Stores behind a proxy that changes bytes, with and without TLS, and a table whose files go through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import datajoint as dj
import pytest

import datajoint_file
from tests.programs import Programs
from tests.projects import Store, connect, unique
from tests.wire.afar import ONCE_AGAIN, Afar
from tests.wire.answers import LyingProxy
from tests.wire.proxy import CorruptingProxy, TLSRelay

PATIENCE_SECONDS = 120


class Wire:
    """A store, a proxy before it, and a table whose files go through both.

    Parameters
    ----------
    store : Store
        The store, without the proxy.
    proxy : CorruptingProxy
        What clients talk to.
    table : dict
        The table ``[storage]`` of such a client.
    environment : dict
        Variables that make it trust the proxy.
    database : address
        Where the rows are.
    programs : Programs
        What starts them where no such variable is needed: clients look for certificates as they are imported.
    """

    def __init__(
        self,
        store: Store,
        proxy: CorruptingProxy,
        table: dict[str, Any],
        environment: dict[str, str],
        database: Any,
        programs: Programs,
    ) -> None:
        self.store = store
        self.proxy = proxy
        self._table = table
        self._environment = environment
        self._database = database
        self._programs = programs
        self._schema = unique("schema")
        self.instance = connect(database)
        datajoint_file.configure(store.configuration(), connection=self.instance)

    def do(self, verb: str, path: Path) -> dict[str, str]:
        """Insert the file at *path*, or download what is stored to it, through the proxy; return what came of it."""
        order = {
            "verb": verb,
            "path": str(path),
            "database": asdict(self._database),
            "configuration": {**self.store.configuration(), "storage": self._table},
            "schema": self._schema,
        }
        result = self._insert(json.dumps(order))
        assert result.returncode == 0, result.stderr
        outcome: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
        return outcome

    def _insert(self, order: str) -> subprocess.CompletedProcess[str]:
        words = ["-m", "tests.wire.insert", order]
        if not self._environment:
            return self._programs.run(*words, timeout=PATIENCE_SECONDS)
        environment = {**os.environ, **self._environment}
        command = [sys.executable, "-W", "ignore", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    def rows(self) -> list[dict[str, Any]]:
        """The JSON in the table, read with SQL."""
        cursor = self.instance.connection.query(f"SELECT raw_data FROM `{self._schema}`.`recording`")
        return [json.loads(value) for (value,) in cursor.fetchall()]

    def close(self) -> None:
        """Drop the schema, and hang up."""
        dj.Schema(self._schema, connection=self.instance.connection).drop(prompt=False)
        self.instance.connection.close()


@pytest.fixture
def where() -> str:
    """Which store is afar."""
    return "s3"


@pytest.fixture
def afar(where: str, engine: str, request: pytest.FixtureRequest) -> Iterator[Afar]:
    """A store behind a proxy that lies when it is told to."""
    table = request.getfixturevalue(f"{where}_storage")
    address = table.get("endpoint_url") or request.getfixturevalue("servers").azure().endpoint
    proxy = LyingProxy(urlsplit(address).port or 0)
    made = Afar(table, engine, proxy)
    made.ingest(("warm.dat", b"connections are made, clocks are compared"))
    yield made
    proxy.close()


@pytest.fixture
def wire(
    kind: str,
    tls: bool,
    engine: str,
    tmp_path: Path,
    mysql: Any,
    programs: Programs,
    request: pytest.FixtureRequest,
) -> Iterator[Wire]:
    """A store of this *kind*, behind the proxy."""
    direct = request.getfixturevalue(f"{kind}_storage")
    address = direct.get("endpoint_url") or request.getfixturevalue("servers").azure().endpoint
    relay = TLSRelay(urlsplit(address).port or 0, tmp_path) if tls else None
    proxy = CorruptingProxy(relay.port if relay else urlsplit(address).port or 0)
    table, environment = _through(direct, address, proxy, relay)
    made = Wire(Store(direct, unique("project")), proxy, {**table, "engine": engine}, environment, mysql, programs)
    yield made
    made.close()
    proxy.close()
    if relay:
        relay.close()


def _through(
    direct: dict[str, Any], address: str, proxy: CorruptingProxy, relay: TLSRelay | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the ``[storage]`` table of a client that goes through the proxy, and what makes it trust it."""
    port = urlsplit(address).port
    options = {"options": {"config_kwargs": ONCE_AGAIN}} if direct["backend"] == "s3" else {}
    text = json.dumps({**direct, **options}).replace(f"127.0.0.1:{port}", f"127.0.0.1:{proxy.port}")
    if relay is None:
        return json.loads(text), {}
    table = json.loads(
        text.replace(f"http://127.0.0.1:{proxy.port}", f"https://127.0.0.1:{proxy.port}").replace(
            "DefaultEndpointsProtocol=http;", "DefaultEndpointsProtocol=https;"
        )
    )
    if table["backend"] == "s3":
        table["options"]["client_kwargs"] = {"verify": str(relay.certificate)}
    return table, {"SSL_CERT_FILE": str(relay.certificate), "REQUESTS_CA_BUNDLE": str(relay.certificate)}

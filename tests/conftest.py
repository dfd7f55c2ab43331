"""Fixtures of the whole suite: real databases and real stores, shared by all workers of a run and stopped at its end.

What a single kind of test needs stands beside it.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import hypothesis  # noqa: F401 - asks, as it is imported, who refers to generators; of the frozen nobody is told
import pytest

import datajoint_file
from tests.programs import Programs, share_descriptions
from tests.projects import DATABASES, Store, bare_filesystem, connect, unique
from tests.servers import Servers
from tests.servers.environment import ambient_variables, isolated_environment
from tests.tables import drop_schema, recording_of

DIRECTORY_VARIABLE = "DJF_TEST_SERVERS"
OWNER_VARIABLE = "DJF_TEST_SERVERS_OWNER"
CACHE_VARIABLE = "DATAJOINT_FILE__CACHE__PATH"


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells do it for what they start in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.siginterrupt(signal.SIGINT, False)  # as importing Polars does: interrupts end no wait without a time limit
    share_descriptions()
    for variable in ambient_variables():
        del os.environ[variable]
    os.environ.update(isolated_environment())
    if not hasattr(config, "workerinput"):
        os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="djf-servers-")
        os.environ[OWNER_VARIABLE] = str(os.getpid())
    os.environ[CACHE_VARIABLE] = f"{os.environ[DIRECTORY_VARIABLE]}/cache"


def pytest_collection_finish() -> None:
    """Spare those who look for garbage the fourteen thousand tests, which are none: it took them half a second each.

    Hypothesis looks for who refers to its sources of chance, when it is imported: nobody, who is frozen.
    """
    importlib.import_module("hypothesis")
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _servers().stop_all()
        shutil.rmtree(os.environ[DIRECTORY_VARIABLE], ignore_errors=True)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how long each part took, in seconds of all workers together."""
    seconds: Counter[str] = Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        folders = getattr(report, "nodeid", "").partition("::")[0].split("/")[:-1]
        seconds["/".join(folders[:3])] += getattr(report, "duration", 0)
    if len(+seconds) > 1:
        terminalreporter.section("seconds by part")
        for part, spent in sorted((+seconds).items()):
            terminalreporter.write_line(f"{spent:7.1f}  {part}")


def _servers() -> Servers:
    return Servers(Path(os.environ[DIRECTORY_VARIABLE]), int(os.environ[OWNER_VARIABLE]))


@pytest.fixture(scope="session")
def servers() -> Servers:
    return _servers()


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """What starts commands and scripts as processes of their own."""
    with Programs() as made:
        yield made


@pytest.fixture(scope="session")
def mysql(servers: Servers) -> Any:
    return servers.mysql()


@pytest.fixture(scope="session")
def own_mysql(servers: Servers) -> Any:
    """A server of this worker alone, for who sees everything that is there."""
    return servers.mysql(only_for=os.environ.get("PYTEST_XDIST_WORKER", "main"))


@pytest.fixture(scope="session")
def postgresql(servers: Servers) -> Any:
    return servers.postgresql()


@pytest.fixture(scope="session")
def s3_storage(servers: Servers) -> dict[str, Any]:
    """The table ``[storage]`` of a real S3 bucket, one for each worker."""
    s3 = servers.s3()
    credentials = {"key": s3.key, "secret": s3.secret}
    bucket = unique("bucket").replace("_", "-")
    table = {
        "backend": "s3",
        "bucket": bucket,
        "endpoint_url": s3.endpoint_url,
        "region": s3.region,
        "credentials": credentials,
    }
    bare_filesystem(table).mkdir(bucket)
    return table


@pytest.fixture(scope="session")
def gcs_storage(servers: Servers) -> dict[str, Any]:
    bucket = unique("bucket").replace("_", "-")
    table = {
        "backend": "gcs",
        "bucket": bucket,
        "endpoint_url": servers.gcs().endpoint_url,
        "credentials": {"token": "anon", "project": "test"},
    }
    bare_filesystem(table).mkdir(bucket)
    return table


@pytest.fixture(scope="session")
def azure_storage(servers: Servers) -> dict[str, Any]:
    container = unique("container").replace("_", "-")
    table = {
        "backend": "azure",
        "container": container,
        "credentials": {"connection_string": servers.azure().connection_string},
    }
    bare_filesystem(table).mkdir(container)
    return table


@pytest.fixture
def local_storage(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "store").mkdir()
    return {"backend": "file", "path": str(tmp_path / "store")}


@pytest.fixture(params=("local",))
def store(request: pytest.FixtureRequest) -> Store:
    """A fresh project; on a local disk unless a test asks for others with ``over_all_stores``."""
    return Store(request.getfixturevalue(f"{request.param}_storage"), unique("project"))


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Any:
    """The address of a real database server, MySQL-like and PostgreSQL in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def instance(database: Any) -> Iterator[dj.Instance]:
    """A connection that has no pipeline yet."""
    made = connect(database)
    yield made
    made.connection.close()


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store) -> dj.Instance:
    """A connection whose pipeline is the project of ``store``."""
    datajoint_file.configure(store.configuration(), connection=instance)
    return instance


@pytest.fixture
def schema(pipeline: dj.Instance) -> Iterator[dj.Schema]:
    """An empty database schema of a name that no other test has, dropped at the end."""
    made = pipeline.Schema(unique("schema"))
    yield made
    if pipeline.connection.in_transaction:
        pipeline.connection.cancel_transaction()
    drop_schema(made.connection, made.database)


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    """The table that most tests insert into; one that needs another declares it beside itself."""
    return recording_of(schema)

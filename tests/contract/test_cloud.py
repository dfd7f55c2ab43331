"""What all stores behind a network have in common, beyond the contract: interrupts, forks, renewed credentials."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.errors import ObjectExistsError, ObjectNotFoundError, StorageAccessError
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import StorageBackend, open_backend
from datajoint_file.storage.bucket.gcs import GCSBackend
from datajoint_file.storage.factory import _connector
from datajoint_file.testing import GeneratedReader, RawStore, generated
from datajoint_file.transfer.sources import as_source
from tests.contract.conftest import PROJECT, S3_PART_SIZE, CloudStore, backend_of
from tests.contract.stalling import PATIENCE_SECONDS, StalledServer
from tests.projects import unique

CLOUDS = [("s3", "fsspec"), ("s3", "obstore"), ("gcs", "fsspec"), ("azure", "fsspec"), ("azure", "obstore")]


@pytest.fixture(params=CLOUDS, ids="-".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Which store, and the engine that is used."""
    store, engine = request.param
    return store, engine


@pytest.fixture
def cloud(kind: tuple[str, str]) -> str:
    return kind[0]


@pytest.fixture
def table(kind: tuple[str, str], request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**request.getfixturevalue(f"{kind[0]}_storage"), "engine": kind[1]}


@pytest.fixture
def backend(table: dict[str, Any]) -> StorageBackend:
    return backend_of(table, S3_PART_SIZE)


@pytest.fixture
def raw(cloud: str, request: pytest.FixtureRequest) -> CloudStore:
    made: CloudStore = request.getfixturevalue(f"{cloud}_store")
    return made


@pytest.fixture
def key() -> str:
    return f"{PROJECT}/{unique('subject')}/recording.dat"


def test_object_that_is_deleted_while_it_is_read_is_told(backend: StorageBackend, raw: RawStore, key: str) -> None:
    raw.put(key, generated(1_000_000))
    with backend.open(key, block_size=2**16, cache_type="none") as file:
        assert file.read(10) == generated(10)
        raw.delete(key)
        file.seek(900_000)
        with pytest.raises(ObjectNotFoundError) as caught:
            file.read(10)
    assert caught.value.key == key


def test_unknown_kind_of_cache_is_the_callers_mistake_and_not_the_stores(
    backend: StorageBackend, raw: RawStore, key: str
) -> None:
    raw.put(key, b"spikes")
    with pytest.raises(ValueError, match="cache_type = 'best' is not one of"):
        backend.open(key, cache_type="best")


def test_objects_of_other_programs_are_not_listed(backend: StorageBackend, raw: RawStore, key: str) -> None:
    prefix = key.rpartition("/")[0]
    for name in (f"{prefix}/my notes.txt", f"{prefix}/a#b", key):
        raw.put(name, b"spikes")
    assert [found.key for found in backend.list(prefix)] == [key]


@pytest.mark.parametrize("size", [5, 2 * S3_PART_SIZE])
def test_existing_objects_are_safe_in_stores_that_cannot_refuse(
    table: dict[str, Any], raw: RawStore, key: str, size: int
) -> None:
    backend = backend_of(table, S3_PART_SIZE, exclusive_create=False)
    assert backend.capabilities.atomic_create is False
    assert backend.upload(key, GeneratedReader(size)) == size
    for other in (0, 5, 2 * S3_PART_SIZE):
        with pytest.raises(ObjectExistsError):
            backend.upload(key, io.BytesIO(bytes(other)))
    assert raw.get(key) == generated(size)


@pytest.mark.parametrize(("name", "media_type"), [("scan.csv", "text/csv"), ("scan", "application/pdf")])
def test_stored_file_carries_what_its_row_says(
    table: dict[str, Any], raw: CloudStore, name: str, media_type: str
) -> None:
    """Also where only the first bytes of a stream, which are read once, tell what they are."""
    pipeline = Pipeline(parse_settings({"project": {"name": PROJECT}, "storage": table}, "the test"))
    cell = Cell("lab", "Scan", "file", (KeyValue("scan_id", "int", 1),))
    metadata = pipeline.ingest(pipeline.plan(as_source((name, io.BytesIO(b"%PDF-1.7\n%%EOF"))), cell))
    assert metadata.mime_type == media_type
    disposition = f"inline; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert raw.headers(metadata.path) == (media_type, disposition)


def test_open_file_is_stored_under_its_own_name(table: dict[str, Any], raw: CloudStore) -> None:
    pipeline = Pipeline(parse_settings({"project": {"name": PROJECT}, "storage": table}, "the test"))
    name, known = "raw data ü.bin", unique("pipeline")
    remember(known, pipeline)
    cell = Cell("lab", "Scan", "file", (KeyValue("scan_id", "int", 1),))
    ref = FileRef(pipeline.ingest(pipeline.plan(as_source((name, io.BytesIO(b"spikes"))), cell)), known)
    with ref.open() as file:
        assert pipeline.ingest(pipeline.plan(as_source(file), cell)).original_name == name
    with ref.open() as file, io.BufferedReader(file) as buffered:  # type: ignore[type-var]
        assert as_source(buffered).name == name


FORK = """
import gc, io, json, os, sys
from datajoint_file.config import parse_settings
from datajoint_file.storage import open_backend

table, key, uses = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3] == "uses"
backend = open_backend(parse_settings({"project": {"name": "p"}, "storage": table}, "the test").storage, "p")
backend.upload(key, io.BytesIO(b"spikes"))
file = backend.open(key)
child = os.fork()
if child == 0:
    assert not uses or backend.open(key).read() == b"spikes"
    del backend, file
    gc.collect()
    sys.exit(7)  # with all that is done at the end of a process, which os._exit leaves out
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert file.read() == b"spikes"
file.close()
assert backend.open(key).read() == b"spikes"
print("read after the child's end")
"""


@pytest.mark.parametrize("uses", ["uses", "ignores"])
def test_child_that_ends_takes_nothing_from_its_parent(table: dict[str, Any], key: str, uses: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, json.dumps(table), key, uses]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (result.stdout, result.returncode) == ("read after the child's end\n", 0), result.stderr


@pytest.mark.parametrize("kind", [kind for kind in CLOUDS if kind[0] != "gcs"], indirect=True, ids="-".join)
def test_renewed_credentials_are_used(cloud: str, table: dict[str, Any], key: str, tmp_path: Path) -> None:
    name = "secret" if cloud == "s3" else "connection_string"
    right, token = table["credentials"][name], tmp_path / "token"
    token.write_text(right.replace("AccountKey=", "AccountKey=AAAA") if cloud == "azure" else "expired")
    backend = backend_of(table, S3_PART_SIZE, credentials={**table["credentials"], name: f"${{file:{token}}}"})
    with pytest.raises(StorageAccessError):
        backend.upload(key, io.BytesIO(b"spikes"))
    token.write_text(right)
    assert backend.upload(key, io.BytesIO(b"spikes")) == 6


@pytest.fixture
def stalled() -> Iterator[StalledServer]:
    server = StalledServer()
    with closing(server.socket):
        yield server


@pytest.mark.parametrize("kind", [("s3", "fsspec"), ("s3", "obstore")], indirect=True, ids="-".join)
@pytest.mark.parametrize("size", [2**17, S3_PART_SIZE + 1])
def test_interrupt_stops_the_request(table: dict[str, Any], key: str, stalled: StalledServer, size: int) -> None:
    """Or else the object would appear after the interrupt. Of a large one, the look at its key is interrupted."""
    backend = backend_of(table, S3_PART_SIZE, endpoint_url=stalled.address)
    thread = threading.Thread(target=stalled.serve_one)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        backend.upload(key, io.BytesIO(bytes(size)), size)
    assert stalled.was_left.wait(PATIENCE_SECONDS)
    thread.join()


def test_secrets_are_not_kept_by_a_backend(table: dict[str, Any]) -> None:
    backend = backend_of(table)
    inner = getattr(backend, "inner", backend)
    shown = f"{backend!r} {vars(backend)} {vars(inner)}"
    for secret in table["credentials"].values():
        assert secret in ("anon", "test") or secret not in shown


def test_google_is_asked_without_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = {"backend": "gcs", "bucket": "lab", "credentials": {"token": "anon"}}
    settings = parse_settings({"project": {"name": PROJECT}, "storage": storage}, "the test")
    monkeypatch.delenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", raising=False)
    assert type(_connector(settings.storage, "gs", None)()).__module__ == "gcsfs.core"


@pytest.mark.parametrize("token", ["x" * 5000, "a\0b", json.dumps({"type": "authorized_user", "key": "x" * 5000})])
def test_token_that_no_file_could_be_called_is_taken_for_itself(token: str) -> None:
    storage = {"backend": "gcs", "bucket": "lab", "credentials": {"token": token}}
    settings = parse_settings({"project": {"name": PROJECT}, "storage": storage}, "the test")
    given = GCSBackend.arguments(settings.storage, {"token": token})["token"]
    assert given == json.loads(token) if token.startswith("{") else given.token == token


def test_options_have_the_last_word() -> None:
    options = {"client_kwargs": {"verify": False}, "max_concurrency": 3}
    storage = {"backend": "s3", "bucket": "lab", "region": "eu-west-1", "options": options}
    settings = parse_settings({"project": {"name": PROJECT}, "storage": storage}, "the test")
    filesystem = _connector(settings.storage, "s3", None)()
    assert filesystem.client_kwargs == {"region_name": "eu-west-1", "verify": False}
    assert filesystem.max_concurrency == 3
    assert filesystem.dircache.use_listings_cache is False


def test_no_store_is_asked_before_it_is_used() -> None:
    storage = {"backend": "s3", "bucket": "lab", "credentials": {"key": "${env:NOT_SET}", "secret": "x"}}
    settings = parse_settings({"project": {"name": PROJECT}, "storage": storage}, "the test")
    assert open_backend(settings.storage, PROJECT).url(f"{PROJECT}/a") == f"s3://lab/{PROJECT}/a"

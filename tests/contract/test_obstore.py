"""Two engines, one contract: who uses which, in which process, with whose credentials."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.errors import ConfigurationError, StorageAccessError, StorageError
from datajoint_file.storage import Reader, StorageBackend
from datajoint_file.storage.backend import ContentHeaders
from datajoint_file.storage.bucket import s3_identity
from datajoint_file.storage.bucket.fsspec_upload import FileUpload
from datajoint_file.storage.bucket.s3_multipart import MultipartUpload
from datajoint_file.storage.obstore import credentials, selection
from datajoint_file.storage.obstore.part_stream import PartStream
from datajoint_file.storage.obstore.selection import engine_of
from datajoint_file.testing import GeneratedReader, SlowReader, generated
from tests.contract.conftest import PROJECT, S3_PART_SIZE, backend_of
from tests.contract.stores import S3Store
from tests.projects import unique

WATCHDOG_SECONDS = 90
"""What hangs does so for ever; four processes that import the clients take their time on a busy machine."""
BOTH = pytest.mark.parametrize("engine", ["fsspec", "obstore"])


@pytest.fixture
def key() -> str:
    return f"{PROJECT}/{unique('subject')}/recording.dat"


def _table(backend: str = "s3", **changes: Any) -> dict[str, Any]:
    place = {"container": "lab"} if backend == "azure" else {"bucket": "lab"}
    return {"backend": backend, **place, **changes}


def _engine(table: dict[str, Any]) -> str:
    return engine_of(parse_settings({"project": {"name": PROJECT}, "storage": table}, "the test").storage)


# which one


@pytest.mark.parametrize("backend", ["s3", "gcs", "azure"])
def test_obstore_is_used_where_it_is_installed(backend: str) -> None:
    assert _engine(_table(backend)) == "obstore"
    assert _engine(_table(backend, engine="obstore")) == "obstore"
    assert _engine(_table(backend, engine="fsspec")) == "fsspec"


def test_servers_that_stand_for_google_are_spoken_to_as_fsspec_does() -> None:
    assert _engine(_table("gcs", endpoint_url="http://localhost:4443")) == "fsspec"
    assert _engine(_table("gcs", endpoint_url="http://localhost:4443", engine="obstore")) == "obstore"


SHARED = [
    {"requester_pays": True},
    {"client_kwargs": {"verify": False, "region_name": "eu-west-1"}},
    {"config_kwargs": {"connect_timeout": 3, "retries": {"total_max_attempts": 2}, "s3": {"addressing_style": "path"}}},
    {"config_kwargs": {"s3": {"payload_signing_enabled": True}}},
    {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"}},
    {},
]

ALONE = [
    ({"default_fill_cache": False}, "default_fill_cache"),
    ({"config_kwargs": {"read_timeout": 3}}, "config_kwargs.read_timeout"),
    ({"config_kwargs": {"s3": {"use_accelerate_endpoint": True}}}, "config_kwargs.s3.use_accelerate_endpoint"),
    ({"s3_additional_kwargs": {"StorageClass": "GLACIER"}}, "s3_additional_kwargs.StorageClass"),
    ({"client_kwargs": "x"}, "client_kwargs.as it is given"),
]


@pytest.mark.parametrize("options", SHARED)
def test_options_that_both_know_keep_obstore(options: dict[str, Any]) -> None:
    assert _engine(_table(options=options)) == "obstore"


@pytest.mark.parametrize(("options", "name"), ALONE)
def test_option_that_only_fsspec_knows_makes_it_the_engine_or_is_an_error_that_names_it(
    options: dict[str, Any], name: str
) -> None:
    assert _engine(_table(options=options)) == "fsspec"
    with pytest.raises(ConfigurationError, match=name) as caught:
        _engine(_table(options=options, engine="obstore"))
    assert 'allowed: engine = "fsspec" or "auto"' in str(caught.value)
    assert "GLACIER" not in str(caught.value)


def test_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_is_installed", lambda: False)
    assert _engine(_table()) == "fsspec"
    with pytest.raises(ConfigurationError, match="pip install obstore"):
        _engine(_table(engine="obstore"))


def test_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    assert _engine(_table()) == "fsspec"
    with pytest.raises(ConfigurationError, match=r"Python 3\.11"):
        _engine(_table(engine="obstore"))


@pytest.mark.parametrize("backend", ["file", "memory"])
def test_engine_is_of_buckets_only(backend: str) -> None:
    with pytest.raises(ConfigurationError, match="engine"):
        parse_settings(
            {"project": {"name": PROJECT}, "storage": {"backend": backend, "path": "/x", "engine": "fsspec"}}, "test"
        )


VIRTUAL = {"config_kwargs": {"s3": {"addressing_style": "virtual"}}}


@pytest.fixture
def numbered(s3_storage: dict[str, Any]) -> dict[str, Any]:
    """A bucket before an address in numbers: ``http://bucket.127.0.0.1``, which is none."""
    return {**s3_storage, "options": VIRTUAL}


@pytest.mark.parametrize("size", [6, 2 * S3_PART_SIZE + 1])
@pytest.mark.parametrize("is_told", [True, False])
def test_what_obstore_cannot_address_goes_through_fsspec(
    numbered: dict[str, Any], s3_store: S3Store, key: str, size: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    backend = backend_of(numbered, S3_PART_SIZE)
    assert backend.upload(key, GeneratedReader(size), size if is_told else None) == size
    assert s3_store.get(key) == generated(size)
    assert backend.read(key, 1, 3) == generated(3)[1:]
    assert [record.levelname for record in caplog.records if "through fsspec" in record.getMessage()] == ["WARNING"]


VERBS: dict[str, Callable[[StorageBackend, str], object]] = {
    "upload": lambda backend, key: backend.upload(key, io.BytesIO(b"spikes"), 6),
    "open": lambda backend, key: backend.open(key).read(),
    "stat": lambda backend, key: backend.stat(key),
    "read": lambda backend, key: backend.read(key, 0, 6),
    "iter_range": lambda backend, key: b"".join(backend.iter_range(key, 0, 6)),
}


def in_a_thread(verb: Callable[[], object]) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(verb).result()


@pytest.mark.parametrize("run", [lambda verb: verb(), in_a_thread], ids=["main thread", "thread"])
@pytest.mark.parametrize("verb", VERBS)
def test_what_obstore_cannot_address_is_an_error_of_the_configuration_where_nothing_else_may_be_used(
    numbered: dict[str, Any], key: str, verb: str, run: Callable[[Callable[[], object]], object]
) -> None:
    backend = backend_of(numbered, engine="obstore")
    with pytest.raises(ConfigurationError, match='allowed: engine = "fsspec" or "auto"'):
        run(lambda: VERBS[verb](backend, key))


@pytest.mark.parametrize("run", [lambda verb: verb(), in_a_thread], ids=["main thread", "thread"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_panic_of_obstore_means_fsspec(
    s3_storage: dict[str, Any],
    s3_store: S3Store,
    key: str,
    verb: str,
    run: Callable[[Callable[[], object]], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a kind that nobody has foreseen: here the address is not looked at before."""
    monkeypatch.setattr(credentials, "_check_address", lambda *_: None)
    table = {**s3_storage, "options": VIRTUAL}
    if verb != "upload":
        s3_store.put(key, b"spikes")
    found = run(lambda: VERBS[verb](backend_of(table), key))
    assert found in (6, b"spikes") or getattr(found, "size", 0) == 6
    assert s3_store.get(key) == b"spikes"
    with pytest.raises(ConfigurationError, match="Panic"):
        run(lambda: VERBS[verb](backend_of(table, engine="obstore"), f"{key}2"))


@pytest.fixture
def panicking(s3_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A bucket whose address, which is not looked at before, makes obstore panic at each request."""
    monkeypatch.setattr(credentials, "_check_address", lambda *_: None)
    return {**s3_storage, "options": VIRTUAL}


def test_panic_before_a_short_upload_loses_nothing_of_what_was_read(
    panicking: dict[str, Any], s3_store: S3Store, key: str
) -> None:
    backend = backend_of(panicking, exclusive_create=False)  # looks for an object when all is read
    assert backend.upload(key, io.BytesIO(b"spikes"), 6) == 6
    assert s3_store.get(key) == b"spikes"


def _panicking_at_the_end(table: dict[str, Any], panicking: dict[str, Any]) -> tuple[StorageBackend, Reader]:
    """Return a backend, and a source at whose end its obstore begins to panic."""
    backend = backend_of(table, S3_PART_SIZE)
    inner, other = getattr(backend, "inner"), getattr(backend_of(panicking), "inner")  # noqa: B009

    reads = count()  # three of parts, then the end

    def panic_at_the_end() -> None:
        if next(reads) == 3:
            inner._held = type(inner._held)(inner._filesystem(), other._store())

    return backend, SlowReader(GeneratedReader(2 * S3_PART_SIZE + 1), panic_at_the_end)


@pytest.mark.parametrize("panics", ["at the first part", "at the last part"])
def test_panic_after_parts_were_read_leaves_no_object_and_the_next_upload_goes_through_fsspec(
    s3_storage: dict[str, Any], panicking: dict[str, Any], s3_store: S3Store, key: str, panics: str
) -> None:
    size = 2 * S3_PART_SIZE + 1
    if panics == "at the last part":
        backend, reader = _panicking_at_the_end(s3_storage, panicking)
    else:
        backend, reader = backend_of(panicking, S3_PART_SIZE), GeneratedReader(size)
    with pytest.raises(StorageError, match='engine = "fsspec"') as caught:
        backend.upload(key, reader, size if panics == "at the last part" else None)
    assert caught.value.key == key
    assert not s3_store.exists(key)
    assert not s3_store.unfinished(key.rpartition("/")[0])
    assert backend.upload(key, GeneratedReader(size), size) == size
    assert s3_store.get(key) == generated(size)


def test_open_file_reads_on_through_fsspec_when_obstore_begins_to_panic(
    s3_storage: dict[str, Any], panicking: dict[str, Any], s3_store: S3Store, key: str
) -> None:
    s3_store.put(key, generated(1_000_000))
    backend = backend_of(s3_storage)
    inner, other = getattr(backend, "inner"), getattr(backend_of(panicking), "inner")  # noqa: B009
    with backend.open(key) as file:
        assert file.read(10) == generated(10)
        inner._held = type(inner._held)(inner._filesystem(), other._store())
        assert file.read() == generated(1_000_000)[10:]


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://lab.127.0.0.1:9000",
        "http://lab.[::1]:9000",
        "http://localhost:99999",
        "http://a b:9000",
        "localhost:9000",
        "ftp://localhost",
        "http://anna:secret@localhost",
        "http://localhost/?region=x",
        "http://256.1.1.1",
        "",
    ],
)
def test_addresses_that_obstore_panics_at_or_misunderstands_are_refused(endpoint: str) -> None:
    with pytest.raises(ValueError) as caught:
        credentials._check_address(endpoint, "lab")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "https://s3.eu-west-1.amazonaws.com",
        "HTTP://store/path",
        "http://s3",
    ],
)
def test_addresses_that_obstore_takes_are_not(endpoint: str) -> None:
    credentials._check_address(endpoint, "my_bucket.of-2024")


@pytest.mark.parametrize("bucket", ["arn:aws:s3:us-west-2:1:accesspoint/lab", "a b", "ä", ""])
def test_buckets_that_obstore_cannot_name_are_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match="make no address"):
        credentials._check_address("http://localhost", bucket)


@pytest.mark.parametrize(
    "options",
    [
        {"client_kwargs": {"verify": "/nowhere.pem"}},
        {"config_kwargs": {"connect_timeout": "soon"}},
        {"config_kwargs": {"retries": {"max_attempts": -7}}},
        {"s3_additional_kwargs": {"ServerSideEncryption": "rot13"}},
    ],
)
def test_values_that_obstore_refuses_are_errors_of_this_package(
    s3_storage: dict[str, Any], key: str, options: dict[str, Any]
) -> None:
    backend = backend_of(s3_storage, engine="obstore", options=options)
    with pytest.raises((ConfigurationError, StorageError)):  # of both clients, the first to refuse
        backend.exists(key)
    with suppress(StorageError, ConfigurationError):
        assert backend_of(s3_storage, options=options).exists(key) is False


# processes

PROCESSES = """
import io, json, multiprocessing, os, sys
from datajoint_file.config import parse_settings
from datajoint_file.storage import open_backend
from datajoint_file.testing import GeneratedReader, SlowReader, generated

SIZE = 11 * 2**20
table, prefix, how = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
backend = open_backend(parse_settings({"project": {"name": "p"}, "storage": table}, "the test").storage, "p")

def use(number):
    assert backend.open(f"{prefix}/parent").read() == generated(SIZE)
    assert backend.read(f"{prefix}/parent", 5, 9) == generated(9)[5:]
    backend.upload(f"{prefix}/large{number}", GeneratedReader(SIZE), SIZE)
    backend.upload(f"{prefix}/small{number}", io.BytesIO(b"spikes"), 6)
    assert backend.exists(f"{prefix}/small{number}")

def work(number):
    use(number)
    sys.exit(7)  # with all that is done at the end of a process

if __name__ == "__main__":
    backend.upload(f"{prefix}/parent", GeneratedReader(SIZE), SIZE)
    file = backend.open(f"{prefix}/parent")
    if how == "fork":
        children = [os.fork() or work(number) for number in range(4)]
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    else:
        context = multiprocessing.get_context(how.removeprefix("multiprocessing "))
        children = [context.Process(target=work, args=(number,)) for number in range(4)]
        [child.start() for child in children]
        [child.join() for child in children]
        ends = [child.exitcode for child in children]
    assert ends == [7] * 4, ends
    assert file.read() == generated(SIZE)
    use(9)
    print("read after the children's end")
"""


@pytest.mark.parametrize("how", ["fork", "multiprocessing fork", "multiprocessing spawn"])
@pytest.mark.parametrize("store", ["s3", "azure"])
def test_children_read_and_write_when_their_parent_has_used_obstore(
    store: str, how: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    table = {**request.getfixturevalue(f"{store}_storage"), "engine": "obstore"}
    script, prefix = tmp_path / "script.py", f"p/{unique('fork')}"
    script.write_text(PROCESSES)
    command = [sys.executable, "-W", "ignore", str(script), json.dumps(table), prefix, how]
    result = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG_SECONDS, check=False)
    assert (result.stdout, result.returncode) == ("read after the children's end\n", 0), result.stderr[-3000:]
    raw = request.getfixturevalue(f"{store}_store")
    expected = {f"{prefix}/{size}{number}" for size in ("large", "small") for number in (*range(4), 9)}
    assert set(raw.keys(prefix)) == expected | {f"{prefix}/parent"}
    assert all(raw.get(f"{prefix}/large{number}") == generated(11 * 2**20) for number in range(4))
    assert not raw.unfinished(prefix)


OPEN_FILE = """
import json, os, sys
from datajoint_file.config import parse_settings
from datajoint_file.storage import open_backend
from datajoint_file.testing import GeneratedReader, generated

SIZE = 5_000_000
table, key = json.loads(sys.argv[1]), sys.argv[2]
backend = open_backend(parse_settings({"project": {"name": "p"}, "storage": table}, "the test").storage, "p")
backend.upload(key, GeneratedReader(SIZE), SIZE)
file = backend.open(key)
assert file.read(10) == generated(10)
child = os.fork()
if child == 0:
    file.seek(4_000_000)
    assert file.read() == generated(SIZE)[4_000_000:]
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert file.read() == generated(SIZE)[10:]
print("read after the child's end")
"""


@pytest.mark.parametrize("store", ["s3", "azure"])
def test_forked_child_reads_on_in_a_file_that_its_parent_has_open(store: str, request: pytest.FixtureRequest) -> None:
    table = {**request.getfixturevalue(f"{store}_storage"), "engine": "obstore"}
    command = [sys.executable, "-W", "ignore", "-c", OPEN_FILE, json.dumps(table), f"p/{unique('open')}/x"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG_SECONDS, check=False)
    assert (result.stdout, result.returncode) == ("read after the child's end\n", 0), result.stderr[-3000:]


END = """
import io, json, sys
from datajoint_file.config import parse_settings
from datajoint_file.storage import open_backend

storage = parse_settings({"project": {"name": "p"}, "storage": json.loads(sys.argv[1])}, "the test").storage
open_backend(storage, "p").upload(sys.argv[2], io.BytesIO(b"spikes"), 6)
sys.exit(7)
"""


def test_process_that_ends_right_after_an_upload_is_not_aborted(s3_storage: dict[str, Any], key: str) -> None:
    """One in ten was, on a busy machine: threads of obstore still held Python's objects."""
    table = json.dumps({**s3_storage, "engine": "obstore"})
    commands = [[sys.executable, "-W", "ignore", "-c", END, table, f"{key}{number}"] for number in range(12)]
    with ExitStack() as ended:
        processes = [ended.enter_context(subprocess.Popen(command)) for command in commands]
        for process in processes:
            ended.callback(process.kill)
        assert [process.wait(WATCHDOG_SECONDS) for process in processes] == [7] * 12


# credentials


@BOTH
def test_credentials_of_the_environment_are_found(
    s3_storage: dict[str, Any], s3_store: S3Store, key: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_storage["credentials"]["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_storage["credentials"]["secret"])
    backend = backend_of(s3_storage, credentials={}, engine=engine)
    assert backend.upload(key, io.BytesIO(b"spikes"), 6) == 6
    assert s3_store.get(key) == b"spikes"


@BOTH
def test_credentials_of_a_profile_are_found(
    s3_storage: dict[str, Any],
    s3_store: S3Store,
    key: str,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    credentials = s3_storage["credentials"]
    (tmp_path / "credentials").write_text(
        f"[lab]\naws_access_key_id = {credentials['key']}\naws_secret_access_key = {credentials['secret']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    backend = backend_of(s3_storage, credentials={"profile": "lab"}, engine=engine)
    assert backend.upload(key, io.BytesIO(b"spikes"), 6) == 6
    assert s3_store.get(key) == b"spikes"


@BOTH
def test_no_credentials_at_all_are_told(s3_storage: dict[str, Any], key: str, engine: str) -> None:
    backend = backend_of(s3_storage, credentials={}, engine=engine)
    with pytest.raises(StorageAccessError):
        backend.upload(key, io.BytesIO(b"spikes"), 6)


SOURCE = """
import json, sys
from pathlib import Path
count = Path(sys.argv[2])
number = int(count.read_text()) if count.exists() else 0
count.write_text(str(number + 1))
print(Path(sys.argv[1]).read_text())
"""


@BOTH
def test_keys_that_expire_are_asked_for_again_before_they_do(
    s3_storage: dict[str, Any],
    s3_store: S3Store,
    key: str,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A program gives keys that are about to expire, as single sign-on and instance profiles do."""
    expiry = (datetime.now(timezone.utc) + timedelta(seconds=200)).isoformat()
    right = s3_storage["credentials"]
    keys = {"Version": 1, "AccessKeyId": right["key"], "SecretAccessKey": right["secret"], "Expiration": expiry}
    answer, count, source = tmp_path / "answer.json", tmp_path / "count", tmp_path / "source.py"
    answer.write_text(json.dumps(keys))
    source.write_text(SOURCE)
    config = tmp_path / "config"
    config.write_text(f"[profile sso]\ncredential_process = {sys.executable} {source} {answer} {count}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setattr(credentials, "ASK_AGAIN", timedelta(minutes=5))  # obstore asks five minutes before: now
    backend = backend_of(s3_storage, S3_PART_SIZE, credentials={"profile": "sso"}, engine=engine)
    assert backend.upload(key, io.BytesIO(b"spikes"), 6) == 6
    before = int(count.read_text())
    answer.write_text(json.dumps(keys | {"Expiration": "2999-01-01T00:00:00+00:00"}))
    for _ in range(1000):
        assert backend.exists(key)
        if int(count.read_text()) > before:
            break
    else:
        pytest.fail("nobody asked for new keys")
    assert backend.upload(f"{key}2", io.BytesIO(b"spikes"), 6) == 6
    assert s3_store.get(f"{key}2") == b"spikes"
    assert backend.upload(f"{key}3", GeneratedReader(S3_PART_SIZE + 1), S3_PART_SIZE + 1)


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://s3.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
        ("https://s3.us-east-2.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://s3.eu-west-1.amazonaws.com.cn"),
        ("https://s3-fips.us-east-2.amazonaws.com", "https://s3-fips.us-east-2.amazonaws.com"),
        ("https://s3.dualstack.us-east-2.amazonaws.com", "https://s3.dualstack.us-east-2.amazonaws.com"),
        ("http://10.0.0.1:9000", "http://10.0.0.1:9000"),
    ],
)
def test_bucket_is_asked_in_its_region(endpoint: str, address: str) -> None:
    assert s3_identity.in_region(endpoint, "eu-west-1") == address


# secrets


@pytest.fixture
def refused(s3_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(s3_storage, engine="obstore", credentials={"key": "wrong-key", "secret": "wrong-secret"})


def test_no_credential_is_shown_by_a_backend_or_an_error(refused: StorageBackend, key: str) -> None:
    with pytest.raises(StorageAccessError) as caught:
        refused.stat(key)
    inner = getattr(refused, "inner")  # noqa: B009
    shown = f"{refused!r} {inner!r} {vars(inner)} {caught.value} {caught.value.__cause__}"
    assert "wrong-secret" not in shown
    assert "Debug source" not in str(caught.value)


def test_backend_is_made_without_importing_obstore() -> None:
    code = (
        "import sys; from datajoint_file.config import parse_settings; from datajoint_file.storage import open_backend;"
        "s = parse_settings({'project': {'name': 'p'}, 'storage': {'backend': 's3', 'bucket': 'lab'}}, 't').storage;"
        "open_backend(s, 'p'); assert 'obstore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=WATCHDOG_SECONDS)


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_contested_key_is_never_stored_twice_however_late_the_other_comes(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Its upload goes on after the last look: obstore would replace what has come since."""
    raw = request.getfixturevalue(f"{kind}_store")
    backend = backend_of(request.getfixturevalue(f"{kind}_storage"), S3_PART_SIZE, engine="obstore")

    def after_others(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def act(upload: Any) -> Any:
            raw.put(key, b"theirs")
            return step(upload)

        return act

    for upload, name in ((PartStream, "finish"), (MultipartUpload, "complete"), (FileUpload, "complete")):
        monkeypatch.setattr(upload, name, after_others(getattr(upload, name)))
    size = 2 * S3_PART_SIZE + 1
    with pytest.raises(StorageError):
        backend.upload(key, io.BytesIO(generated(size)), size, ContentHeaders(is_contested=True))
    assert raw.get(key) == b"theirs"

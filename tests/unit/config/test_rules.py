"""What belongs together: which keys each store needs and takes, and roots that must lie apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import Settings, parse_settings
from datajoint_file.config.rules import check_disjoint
from datajoint_file.errors import ConfigurationError
from tests.conftest import CACHE_VARIABLE


def settings_of(**storage: Any) -> Settings:
    return parse_settings({"project": {"name": "lab"}, "storage": storage}, "the file")


def refusal_of(**storage: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(**storage)
    return str(caught.value)


@pytest.mark.parametrize(
    "storage",
    [
        {"backend": "file", "path": "/x"},
        {"backend": "file", "path": "/x", "durability": "none"},
        {"backend": "s3", "bucket": "b"},
        {"backend": "s3", "bucket": "b", "endpoint_url": "http://h:1", "region": "r", "exclusive_create": False},
        {"backend": "s3", "bucket": "b", "credentials": {"key": "k", "secret": "s", "token": "t", "profile": "p"}},
        {"backend": "s3", "bucket": "b", "credentials": {"anon": True}, "options": {"x": 1}},
        {"backend": "gcs", "bucket": "b", "credentials": {"token": "anon", "project": "p"}},
        {"backend": "azure", "container": "c", "credentials": {"account_name": "a", "account_key": "k"}},
        {"backend": "azure", "container": "c", "credentials": {"connection_string": "x"}},
        {"backend": "memory", "path": "/x"},
        {"backend": "sftp", "path": "/x", "credentials": {"host": "h", "anything": 1}, "options": {"port": 22}},
        {"backend": "oss", "bucket": "b"},
    ],
    ids=str,
)
def test_store_takes_what_it_needs(storage: dict[str, Any]) -> None:
    assert settings_of(**storage).storage.backend == storage["backend"]


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ({"backend": "file"}, '[storage] path: backend = "file" needs it; allowed: the project\'s directory'),
        ({"backend": "file", "path": ""}, '[storage] path = "": '),
        ({"backend": "s3"}, '[storage] bucket: backend = "s3" needs it; allowed: the name of a bucket'),
        ({"backend": "gcs"}, '[storage] bucket: backend = "gcs" needs it'),
        ({"backend": "webdav", "path": "me:pw@h/x"}, '[storage] path = "***@h/x": it holds a user and a password'),
        ({"backend": "webdav", "path": "https://me:pw@h/x"}, '[storage] path = "https://***@h/x": it holds a user'),
        ({"backend": "azure"}, '[storage] container: backend = "azure" needs it'),
        ({"backend": "azure", "bucket": "b"}, '[storage] container: backend = "azure" needs it'),
        ({"backend": "file", "path": "/x", "bucket": "b"}, '[storage] bucket = "b": backend = "file" does not take it'),
        (
            {"backend": "file", "path": "/x", "options": {"x": 1}},
            '[storage] options: backend = "file" does not take it',
        ),
        ({"backend": "s3", "bucket": "b", "path": "x"}, '[storage] path = "x": backend = "s3" does not take it'),
        ({"backend": "s3", "bucket": "b", "durability": "full"}, '[storage] durability = "full": backend = "s3"'),
        ({"backend": "gcs", "bucket": "b", "region": "r"}, '[storage] region = "r": backend = "gcs" does not take it'),
        (
            {"backend": "s3", "bucket": "b", "credentials": {"account_key": "secret-1"}},
            '[storage.credentials] account_key = ***: backend = "s3" does not take it; allowed: anon, key, profile,',
        ),
        ({"backend": "memory"}, '[storage] path: backend = "memory" needs either path or bucket'),
        ({"backend": "memory", "path": "x", "bucket": "b"}, '[storage] path = "x": backend = "memory" needs either'),
        ({"backend": "memory", "path": "x", "region": "r"}, '[storage] region = "r": backend = "memory" does not take'),
        (
            {"backend": "local", "path": "/x"},
            '[storage] backend = "local": it is called "file" here; allowed: file, s3',
        ),
        ({"backend": "gs", "bucket": "b"}, '[storage] backend = "gs": it is called "gcs" here'),
        ({"backend": "abfs", "container": "b"}, '[storage] backend = "abfs": it is called "azure" here'),
    ],
    ids=str,
)
def test_store_refuses_what_it_lacks_or_does_not_take(storage: dict[str, Any], message: str) -> None:
    found = refusal_of(**storage)
    assert found.startswith(f"the file: {message}")
    assert "; allowed: " in found
    assert "secret-1" not in found


def test_rule_broken_by_another_project_is_named_by_its_table() -> None:
    tables = {
        "project": {"name": "lab"},
        "storage": {"backend": "file", "path": "/x"},
        "projects": {"up": {"backend": "s3", "bucket": "b", "path": "y"}},
    }
    with pytest.raises(ConfigurationError, match=r'^the file: \[projects\.up\] path = "y": backend = "s3" does not'):
        parse_settings(tables, "the file")


# roots apart


def overlap(settings: Settings, **store: Any) -> bool:
    try:
        check_disjoint(settings, {"default": "main", "main": store})
    except ConfigurationError as error:
        message = str(error)
    else:
        return False
    assert "DataJoint's store 'main'" in message
    return True


@pytest.mark.parametrize(
    ("path", "location", "expected"),
    [
        ("/data/lab", "/data/lab", True),
        ("/data/lab", "/data/lab/", True),
        ("/data/lab/inner", "/data/lab", True),
        ("/data/lab", "/data/lab/inner", True),
        ("/data/lab", "/data", True),
        ("/data/lab", "/", True),
        ("/data/lab", "/data/other/../lab", True),
        ("/data/lab", "/data/lab2", False),
        ("/data/lab2", "/data/lab", False),
        ("/data/lab", "/data/la", False),
        ("/data/lab", "/other", False),
        ("/data/lab", "", False),
    ],
)
def test_directory_inside_or_around_a_store_is_refused(path: str, location: str, expected: bool) -> None:
    settings = settings_of(backend="file", path=path)
    assert overlap(settings, protocol="file", location=location) is expected
    assert overlap(settings, location=location) is expected


def test_directory_that_is_a_link_into_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "store/inner")
    settings = settings_of(backend="file", path=str(tmp_path / "link"))
    assert overlap(settings, protocol="file", location=str(tmp_path / "store"))


def test_relative_location_of_a_store_starts_where_datajoint_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert overlap(settings_of(backend="file", path=str(tmp_path / "a/b")), protocol="file", location="a")


def test_directory_given_by_a_reference_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DATA", "/data/store")
    assert overlap(settings_of(backend="file", path="${env:LAB_DATA}/lab"), protocol="file", location="/data/store")
    assert not overlap(settings_of(backend="file", path="${env:LAB_DATA}/lab"), protocol="file", location="/data/lab")


@pytest.mark.parametrize("backend", ["s3", "gcs"])
@pytest.mark.parametrize(
    ("bucket", "location", "expected"),
    [
        ("b", "", True),
        ("b", "/", True),
        ("b", "lab", True),
        ("b", "/lab/", True),
        ("b", "lab/inner", True),
        ("b", "lab2", False),
        ("b", "la", False),
        ("b", "other/lab", False),
        ("c", "lab", False),
        ("c", "", False),
    ],
)
def test_project_inside_or_around_a_store_of_its_bucket_is_refused(
    backend: str, bucket: str, location: str, expected: bool
) -> None:
    settings = settings_of(backend=backend, bucket="b")
    assert overlap(settings, protocol=backend, bucket=bucket, location=location) is expected
    assert not overlap(settings, protocol="file", location=location)


def test_project_in_the_container_of_a_store_is_refused() -> None:
    settings = settings_of(backend="azure", container="c")
    assert overlap(settings, protocol="azure", container="c", location="")
    assert not overlap(settings, protocol="azure", container="d", location="")


@pytest.mark.parametrize("stores", [{}, {"default": "main"}, {"main": {}}, {"main": {"protocol": "file"}}])
def test_stores_without_a_place_are_passed_over(stores: dict[str, Any]) -> None:
    check_disjoint(settings_of(backend="file", path="/data/lab"), stores)
    check_disjoint(settings_of(backend="s3", bucket="b"), stores)


@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("path", "${HOME}/x", "~ or ${env:HOME}"),
        ("path", "$HOME/x", "~ or ${env:HOME}"),
        ("path", "$SCRATCH", "${env:SCRATCH}"),
        ("path", "/data/${USER}/x", "${env:USER}"),
        ("path", "file:///data/x", "url = "),
        ("path", "s3://bucket/x", "url = "),
    ],
)
def test_path_in_a_shells_or_a_browsers_words_is_refused_with_ours(key: str, text: str, allowed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings({"project": {"name": "lab"}, "storage": {"backend": "file", key: text}}, "the file")
    assert str(caught.value).startswith(f'the file: [storage] {key} = "')
    assert allowed in str(caught.value)


@pytest.mark.parametrize("text", ["/data/$RECYCLE.BIN", "./$x$", "data$/x", "~/x", "${env:HOME}/x", "a://b"[1:]])
def test_path_that_only_looks_like_it_is_taken(text: str) -> None:
    parse_settings({"project": {"name": "lab"}, "storage": {"backend": "file", "path": text}}, "the file")


@pytest.mark.parametrize(
    ("storage", "other", "expected"),
    [
        ({"backend": "file", "path": "/data/lab"}, {"backend": "file", "path": "/data/lab/rig"}, True),
        ({"backend": "file", "path": "/data/lab"}, {"backend": "file", "path": "/data"}, True),
        ({"backend": "file", "path": "/data/lab"}, {"backend": "file", "path": "/data/lab"}, True),
        ({"backend": "file", "path": "/data/lab"}, {"backend": "file", "path": "/data/lab2"}, False),
        ({"backend": "file", "path": "/data/lab"}, {"backend": "file", "path": "${env:NOT_SET_HERE}/lab"}, False),
        ({"backend": "file", "path": "/data/lab"}, {"backend": "s3", "bucket": "b"}, False),
        ({"backend": "s3", "bucket": "b"}, {"backend": "s3", "bucket": "b"}, False),
        ({"backend": "s3", "bucket": "b"}, {"backend": "s3", "bucket": "b", "prefix": "lab"}, True),
        ({"backend": "s3", "bucket": "b"}, {"backend": "s3", "bucket": "b", "prefix": "team"}, False),
        ({"backend": "s3", "bucket": "b"}, {"backend": "s3", "bucket": "c", "prefix": "lab"}, False),
        (
            {"backend": "s3", "bucket": "b"},
            {"backend": "s3", "bucket": "b", "prefix": "lab", "endpoint_url": "http://nas"},
            False,
        ),
        ({"backend": "memory", "path": "/lab"}, {"backend": "memory", "path": "/lab/rig"}, True),
    ],
)
def test_project_inside_or_around_another_one_that_is_read_is_refused(
    storage: dict[str, Any], other: dict[str, Any], expected: bool
) -> None:
    tables = {"project": {"name": "lab"}, "storage": storage, "projects": {"rig": other}}
    settings = parse_settings(tables, "the file")
    if expected:
        with pytest.raises(
            ConfigurationError, match=r"that of 'rig' \(the file: \[projects\.rig\] .* inside one another"
        ):
            check_disjoint(settings, {})
    else:
        check_disjoint(settings, {})


@pytest.mark.parametrize(
    ("storage", "path", "expected"),
    [
        ({"backend": "file", "path": "/data/lab"}, "/data/lab/cache", True),
        ({"backend": "file", "path": "/data/lab"}, "/data", True),
        ({"backend": "file", "path": "/data/lab"}, "/data/cache", False),
        ({"backend": "file", "path": "/data/lab"}, "${env:NOT_SET_HERE}/cache", False),
        ({"backend": "s3", "bucket": "b"}, "/data", False),
    ],
)
def test_cache_inside_or_around_the_project_is_refused(
    storage: dict[str, Any], path: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    tables = {"project": {"name": "lab"}, "storage": storage, "cache": {"path": path}}
    settings = parse_settings(tables, "the file")
    if expected:
        with pytest.raises(ConfigurationError, match=r"the cache \(path = .* inside one another"):
            check_disjoint(settings, {})
    else:
        check_disjoint(settings, {})
    with pytest.raises(ConfigurationError, match=r"\[cache\] path = .*no reference here.*env:HOME"):
        parse_settings({**tables, "cache": {"path": "$HOME/cache"}}, "the file")


@pytest.mark.parametrize(
    ("storage", "root", "is_refused"),
    [
        ({"backend": "file", "path": "/data/lab"}, {"path": "/data/lab/incoming"}, True),
        ({"backend": "file", "path": "/data/lab"}, {"path": "/data/lab"}, True),
        ({"backend": "file", "path": "/data/lab"}, {"path": "/data"}, False),
        ({"backend": "file", "path": "/data/lab"}, {"path": "/data/labs"}, False),
        ({"backend": "s3", "bucket": "b"}, {"url": "s3://b/lab/incoming"}, True),
        ({"backend": "s3", "bucket": "b"}, {"url": "s3://b"}, False),
        ({"backend": "s3", "bucket": "b", "prefix": "team"}, {"url": "s3://b/team/raw"}, False),
    ],
)
def test_root_within_the_project_is_refused(storage: dict[str, Any], root: dict[str, Any], is_refused: bool) -> None:
    settings = parse_settings({"project": {"name": "lab"}, "storage": storage, "roots": {"raw": root}}, "the file")
    if is_refused:
        with pytest.raises(ConfigurationError, match=r"the root 'raw' lies in the project's root .* those of 'lab'"):
            check_disjoint(settings, {})
    else:
        check_disjoint(settings, {})

"""The table ``[storage.mirror]``: keys as of ``[storage]``, two of its own, and places that are apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from datajoint_file.config import Settings, parse_settings
from datajoint_file.config.rules import check_disjoint
from datajoint_file.doctor.check import secrets_of
from datajoint_file.errors import ConfigurationError

S3 = {"backend": "s3", "bucket": "recordings", "credentials": {"key": "AKIA", "secret": "very-secret"}}


def settings(mirror: Any, storage: dict[str, Any] | None = None, **tables: Any) -> Settings:
    first = storage or {"backend": "file", "path": "/data/lab"}
    return parse_settings({"project": {"name": "lab"}, "storage": {**first, "mirror": mirror}, **tables}, "test")


def test_a_mirror_is_a_store_with_defaults_of_its_own() -> None:
    found = settings({"url": "s3://recordings/backup", "region": "eu"})
    mirror = found.storage.mirror
    assert mirror is not None
    assert (mirror.backend, mirror.bucket, mirror.prefix, mirror.region) == ("s3", "recordings", "backup", "eu")
    assert (mirror.write, mirror.when_down) == ("both", "fail")
    assert {*found.stores} == {"storage", "storage.mirror"}
    assert mirror.where == "test: [storage.mirror]"
    assert found.at(mirror).storage.mirror is None


def test_the_environment_overrides_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__MIRROR__PATH", "/elsewhere")
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__MIRROR__WRITE", "later")
    mirror = settings({"backend": "file", "path": "/backup/lab"}).storage.mirror
    assert mirror is not None
    assert (mirror.path, mirror.write) == ("/elsewhere", "later")


def test_secrets_of_a_mirror_are_secrets() -> None:
    found = settings(S3)
    assert "very-secret" in list(secrets_of(found))
    assert "very-secret" not in f"{found!r} {found.storage!r}"
    with pytest.raises(ConfigurationError) as told:
        settings({**S3, "credentials": {"secrte": "very-secret"}})
    assert "very-secret" not in str(told.value)
    assert "[storage.mirror.credentials] secrte" in str(told.value)


@pytest.mark.parametrize(
    ("mirror", "why"),
    [
        ({"backend": "file"}, r"\[storage.mirror\] path: backend = \"file\" needs it"),
        ({"backend": "file", "path": "/b", "write": "never"}, r"\[storage.mirror\] write = \"never\""),
        ({"backend": "file", "path": "/b", "wirte": "both"}, "did you mean write"),
        ({"backend": "file", "path": "/b", "mirror": {"backend": "file", "path": "/c"}}, "a mirror has no mirror"),
        ("s3://recordings", r"\[storage\] mirror.*it is no table"),
    ],
)
def test_what_is_wrong_is_named(mirror: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        settings(mirror)


def test_roots_have_no_mirror_and_other_projects_may() -> None:
    there = {"backend": "file", "path": "/x", "mirror": {"backend": "file", "path": "/y"}}
    document = {"project": {"name": "lab"}, "storage": {"backend": "file", "path": "/data/lab"}}
    with pytest.raises(ConfigurationError, match="a root has no mirror"):
        parse_settings({**document, "roots": {"nas": there}}, "test")
    found = parse_settings({**document, "projects": {"other": there}}, "test")
    assert json.dumps(sorted(found.stores)) == '["projects.other", "projects.other.mirror", "storage"]'


@pytest.mark.parametrize(
    ("mirror", "tables"),
    [
        ({"backend": "file", "path": "/data/lab"}, {}),
        ({"backend": "file", "path": "/data/lab/mirror"}, {}),
        ({"backend": "file", "path": "/data"}, {}),
        ({"backend": "file", "path": "/other/x"}, {"projects": {"other": {"backend": "file", "path": "/other"}}}),
        ({"backend": "file", "path": "/cache/x"}, {"cache": {"path": "/cache"}}),
    ],
)
def test_a_mirror_has_a_place_of_its_own(
    mirror: dict[str, Any], tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATAJOINT_FILE__CACHE__PATH", raising=False)
    with pytest.raises(ConfigurationError, match="inside one another"):
        check_disjoint(settings(mirror, **tables), {})


def test_one_bucket_can_have_both_apart() -> None:
    check_disjoint(settings({**S3, "prefix": "b"}, {**S3, "prefix": "a"}), {})
    with pytest.raises(ConfigurationError, match="inside one another"):
        check_disjoint(settings(S3, S3), {})

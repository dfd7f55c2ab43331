"""What the doctor advises: one remedy for each fault of a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.doctor import Check, check_configuration, check_store
from datajoint_file.doctor.probe import Probe, probe_key
from datajoint_file.doctor.store import _StoreChecks
from datajoint_file.errors import StorageAccessError
from datajoint_file.storage import open_backend
from datajoint_file.testing.faults import Fault, FaultyBackend, raising


def checks_of(storage: dict[str, Any]) -> dict[str, Check]:
    settings = parse_settings({"project": {"name": "lab"}, "storage": storage}, "the file")
    return {check.name: check for check in check_store(settings)}


def test_file_in_place_of_the_directory_has_one_remedy(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    check = checks_of({"backend": "file", "path": str(tmp_path / "store")})["reachable"]
    assert "is a file: correct path in [storage]" in check.detail
    assert check.fix == ""


@pytest.mark.parametrize(
    ("umask", "mode", "is_told"), [(0o022, 0o2775, True), (0o002, 0o2775, False), (0o022, 0o755, False)]
)
def test_directory_of_a_group_is_no_use_with_a_umask_that_shuts_it_out(
    tmp_path: Path, umask: int, mode: int, is_told: bool
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(mode)
    before = os.umask(umask)
    try:
        found = checks_of({"backend": "file", "path": str(tmp_path / "store")})
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert ("group" in found) == is_told
    assert not is_told or "umask 022" in found["group"].detail


def test_https_of_a_plain_http_server_is_told(s3_storage: dict[str, Any]) -> None:
    plain = s3_storage["endpoint_url"]
    check = checks_of({**s3_storage, "endpoint_url": plain.replace("http://", "https://")})["endpoint"]
    assert check.status == "failed"
    assert f'endpoint_url = "{plain}"' in check.fix
    assert checks_of(s3_storage)["endpoint"].status == "ok"


@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_refused_credentials_are_the_ones_that_are_named(s3_storage: dict[str, Any], wrong: str) -> None:
    refused = {**s3_storage, "credentials": {**s3_storage["credentials"], wrong: "no-such-one"}}
    fix = checks_of(refused)["reachable"].fix
    assert "correct [storage.credentials]: they were refused. Check key and secret" in fix
    assert "give this machine" not in fix


@pytest.mark.parametrize(
    ("look", "right"), [("write", "write objects of the bucket (s3:PutObject)"), ("read", "(s3:GetObject)")]
)
def test_missing_right_is_named_where_the_credentials_were_accepted(
    s3_storage: dict[str, Any], look: str, right: str
) -> None:
    settings = parse_settings({"project": {"name": "lab"}, "storage": s3_storage}, "the file")
    assert right in _StoreChecks(settings).advice(StorageAccessError("403"), look)


def test_probe_that_may_not_write_names_the_right(s3_storage: dict[str, Any]) -> None:
    settings = parse_settings({"project": {"name": "lab"}, "storage": s3_storage}, "the file")
    fault = Fault("upload", action=raising(StorageAccessError("403")))
    backend = FaultyBackend(open_backend(settings.storage, "lab", None), fault)
    (check,) = Probe(backend, probe_key("lab"), _StoreChecks(settings).advice).examine()
    assert "s3:PutObject" in check.fix


def test_variable_with_single_underscores_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datajoint.toml").write_text('[project]\nname = "lab"\n[storage]\nbackend = "memory"\npath = "/lab"\n')
    monkeypatch.setenv("DATAJOINT_FILE_STORAGE_PATH", "/x")
    (_, contents), settings = check_configuration(tmp_path)
    assert settings is None
    assert "DATAJOINT_FILE__STORAGE__PATH" in contents.detail

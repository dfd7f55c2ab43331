"""Credentials of the configuration win over whatever the machine has, also over what is broken there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.storage.factory import _connector
from tests.contract.conftest import PROJECT, backend_of
from tests.projects import unique

DANGLING, BROKEN = "/nowhere/x", "[profile\nbroken"
ENVIRONMENTS: dict[str, list[dict[str, str]]] = {
    "s3": [
        {"AWS_PROFILE": "nope"},
        {"AWS_DEFAULT_PROFILE": "nope"},
        {"AWS_CONFIG_FILE": BROKEN},
        {"AWS_SHARED_CREDENTIALS_FILE": BROKEN},
        {"AWS_CONFIG_FILE": DANGLING, "AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"},
    ],
    "gcs": [{"GOOGLE_APPLICATION_CREDENTIALS": DANGLING}],
    "azure": [
        {"AZURE_STORAGE_ACCOUNT_NAME": "other", "AZURE_STORAGE_ACCOUNT_KEY": "b3RoZXI=", "AZURE_STORAGE_ANON": "true"},
        {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=b3RoZXI=;EndpointSuffix=nowhere.invalid"},
    ],
}
CASES = [
    (kind, engine, number)
    for kind, engine in [
        ("s3", "fsspec"),
        ("s3", "obstore"),
        ("gcs", "fsspec"),
        ("azure", "fsspec"),
        ("azure", "obstore"),
    ]
    for number in range(len(ENVIRONMENTS[kind]))
]


@pytest.mark.parametrize(("kind", "engine", "number"), CASES)
def test_explicit_credentials_win(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
    engine: str,
    number: int,
) -> None:
    table = request.getfixturevalue(f"{kind}_storage")
    for name, value in ENVIRONMENTS[kind][number].items():
        if value == BROKEN:
            (tmp_path / "broken").write_text(BROKEN)
        monkeypatch.setenv(name, str(tmp_path / "broken") if value == BROKEN else value)
    backend = backend_of(table, engine=engine)
    key = f"{PROJECT}/{unique('subject')}/a.dat"
    backend.upload(key, io.BytesIO(b"spikes"), 6)
    assert bytes(backend.read(key, 0, 6)) == b"spikes"


def test_key_of_an_azure_account_wins_over_the_environments_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=b3RoZXI=;EndpointSuffix=invalid"
    )
    credentials = {"account_name": "mylab", "account_key": "bXlsYWI="}
    document = {
        "project": {"name": "lab"},
        "storage": {"backend": "azure", "container": "lab", "credentials": credentials},
    }
    filesystem: Any = _connector(parse_settings(document, "the test").storage, "abfs", None)()
    assert filesystem.service_client.account_name == "mylab"
    assert filesystem.service_client.url == "https://mylab.blob.core.windows.net/"

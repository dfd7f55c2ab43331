"""What the doctor keeps out of its output, and what it shows because people need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import Settings, parse_settings
from datajoint_file.doctor.check import censor_of, references_of, secrets_of


def settings(storage: dict[str, Any], directory: Path | None = None, **tables: Any) -> Settings:
    return parse_settings({"project": {"name": "lab"}, "storage": storage, **tables}, "test", directory)


def hidden(storage: dict[str, Any], directory: Path | None = None, **tables: Any) -> set[str]:
    return set(secrets_of(settings(storage, directory, **tables)))


S3 = {"backend": "s3", "bucket": "recordings"}
AZURE = {"backend": "azure", "container": "recordings"}


def test_keys_and_tokens_are_secrets() -> None:
    credentials = {"key": "key-1", "secret": "secret-1", "token": "token-1", "profile": "lab"}
    assert hidden({**S3, "credentials": credentials}) == {"key-1", "secret-1", "token-1"}


def test_identifiers_are_none() -> None:
    credentials = {"account_name": "mylab", "tenant_id": "t-1", "client_id": "c-1", "client_secret": "secret-1"}
    assert hidden({**AZURE, "credentials": credentials}) == {"secret-1"}


def test_key_in_a_connection_string_is_a_secret_by_itself() -> None:
    text = "AccountName=mylab;AccountKey=a2V5;BlobEndpoint=https://mylab.example.org"
    assert hidden({**AZURE, "credentials": {"connection_string": text}}) == {text, "a2V5"}


@pytest.mark.parametrize("token", ["google_default", "anon", "/home/anna/key.json"])
def test_name_of_a_token_is_none(token: str) -> None:
    assert hidden({"backend": "gcs", "bucket": "b", "credentials": {"token": token}}) == set()


def test_options_hide_what_is_named_like_a_secret_or_refers_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY", "http://anna:1234@proxy")
    options = {"client_kwargs": {"aws_secret_access_key": "secret-1", "region": "eu"}, "proxies": ["${env:PROXY}", "x"]}
    assert hidden({**S3, "options": options}) == {"secret-1", "http://anna:1234@proxy"}


def test_secrets_of_other_projects_are_hidden_as_well(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key-2\n")
    other = {**S3, "credentials": {"key": "${file:key}", "secret": "${env:NOT_SET}"}}
    assert hidden(S3, tmp_path, projects={"other": other}) == {"key-2"}


def test_references_are_found_wherever_they_are() -> None:
    storage = {**S3, "bucket": "${env:BUCKET}", "credentials": {"key": "${env:A}${file:b}"}}
    assert references_of(settings(storage).storage) == ["${env:BUCKET}", "${env:A}", "${file:b}"]


def test_longer_secret_is_hidden_whole_where_it_holds_a_shorter_one() -> None:
    assert censor_of(["secret", "secret-1"])("the key secret-1") == "the key ***"


def test_beginning_of_a_long_secret_is_hidden() -> None:
    assert censor_of(["0123456789abcdefgh"])("the key 0123456789abcd... is wrong") == "the key *** is wrong"


def test_no_secrets_change_nothing() -> None:
    assert censor_of(["", "abc"])("abc is too short to be one") == "abc is too short to be one"

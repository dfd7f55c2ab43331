"""Settings are frozen values that hide what is secret: in credentials, in options, in errors about either."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from pathlib import Path
from typing import Any

import pydantic
import pytest

from datajoint_file.config import Settings, load_settings, parse_settings
from datajoint_file.config.secrets import reveal
from datajoint_file.errors import ConfigurationError

CANARY = "canary-5f1c"


def document(**storage: Any) -> dict[str, Any]:
    return {"project": {"name": "lab"}, "storage": {"backend": "s3", "bucket": "recordings", **storage}}


def settings_with(**storage: Any) -> Settings:
    return parse_settings(document(**storage), "the file")


HIDING_PLACES: list[dict[str, Any]] = [
    {"credentials": {"key": CANARY, "secret": CANARY, "token": CANARY}},
    {"options": {"secret": CANARY}},
    {"options": {"client_kwargs": {"aws_secret_access_key": CANARY, "list": [CANARY, {"x": CANARY}]}}},
    {"credentials": {"secret": CANARY}, "options": {"x": CANARY}},
]
hidden = pytest.mark.parametrize("places", HIDING_PLACES, ids=lambda places: "+".join(places))


def everything_shown(value: Any) -> str:
    shown = [
        repr(value),
        str(value),
        f"{value}",
        format(value),
        repr(vars(value)),
        repr(list(value)),
        repr(dict(value)),
    ]
    for attempt in (pickle.dumps, copy.deepcopy, json.dumps):
        try:
            shown.append(repr(attempt(value)))
        except Exception as error:
            shown.extend(traceback.format_exception(error))
    return "\n".join(
        [*shown, repr(copy.copy(value)), repr(getattr(value, "storage", "")), repr(getattr(value, "options", ""))]
    )


@hidden
def test_secret_is_in_nothing_that_settings_show(places: dict[str, Any]) -> None:
    tables = document(**places)
    tables["projects"] = {"up": {"backend": "s3", "bucket": "x", **places}}
    settings = parse_settings(tables, "the file")
    assert CANARY not in everything_shown(settings)
    assert CANARY not in everything_shown(settings.storage)


@hidden
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_settings_are_not_pickled(places: dict[str, Any], protocol: int) -> None:
    settings = parse_settings(document(**places), "the file")
    for value in (settings, settings.storage, {"x": [settings]}):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(value, protocol)


BROKEN_ELSEWHERE: list[dict[str, Any]] = [
    {"buckett": 1},
    {"bucket": 5},
    {"bucket": None},
    {"durability": "none"},
    {"credentials": {"secrett": CANARY}},
    {"credentials": CANARY},
    {"options": CANARY},
    {"credentials": [CANARY]},
    {"key": CANARY},
    {"backend": "file"},
    {"backend": "memory", "path": "x"},
]


@hidden
@pytest.mark.parametrize("broken", BROKEN_ELSEWHERE, ids=lambda broken: "+".join(broken))
def test_secret_is_in_no_error(places: dict[str, Any], broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(document(**{**places, **broken}), "the file")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize(
    "url", [f"https://user:{CANARY}@host", f"ftp://user:{CANARY}@host/x", f"https://{CANARY}@host"]
)
def test_password_in_an_endpoint_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_with(endpoint_url=url)
    message = str(caught.value)
    assert "//***@host" in message
    assert CANARY not in message


def test_secret_in_a_variable_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__CREDENTIALS", CANARY)
    with pytest.raises(ConfigurationError) as caught:
        settings_with()
    assert CANARY not in str(caught.value)


def test_secret_in_a_broken_file_is_in_no_error(tmp_path: Path) -> None:
    path = tmp_path / "datajoint.toml"
    path.write_text(f'[storage.credentials]\nsecret = "{CANARY}\n')
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_equal_documents_are_equal_settings() -> None:
    assert settings_with(**HIDING_PLACES[3]) == settings_with(**copy.deepcopy(HIDING_PLACES[3]))
    assert settings_with(**HIDING_PLACES[3]) != settings_with(**HIDING_PLACES[0])


@pytest.mark.parametrize("places", HIDING_PLACES, ids="+".join)
def test_what_is_hidden_is_given_to_the_store_as_it_was(places: dict[str, Any]) -> None:
    storage = settings_with(**places).storage
    assert reveal({"credentials": storage.credentials, "options": storage.options}) == {
        "credentials": {},
        "options": {},
        **places,
    }


def test_program_may_give_its_secrets_hidden() -> None:
    hidden_already = settings_with(credentials={"key": pydantic.SecretStr(CANARY)})
    assert hidden_already == settings_with(credentials={"key": CANARY})


def test_settings_cannot_be_changed() -> None:
    settings = settings_with(credentials={"key": "k"}, options={"x": {"y": 1}})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.storage.bucket = "other"  # type: ignore[misc]
    for table in (settings.storage.credentials, settings.storage.options, settings.storage.options["x"]):
        with pytest.raises(TypeError, match="does not support item assignment"):
            table["key"] = "other"


@pytest.mark.parametrize("value", ["soon", "", "-1 days", "30", 30, "1 month", "1e9 days"])
def test_retention_that_cannot_be_read_is_refused_and_told(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r'retention.*such as "30 days"'):
        parse_settings(
            {
                "project": {"name": "lab"},
                "storage": {"backend": "memory", "path": "/lab"},
                "object_storage": {"retention": value},
            },
            "here",
        )


def test_retention_and_versions_are_read_also_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__OBJECT_STORAGE__RETENTION", "12 weeks")
    monkeypatch.setenv("DATAJOINT_FILE__OBJECT_STORAGE__VERSIONS", "3")
    found = settings_with().object_storage
    assert (found.retention.days, found.versions) == (84, 3)

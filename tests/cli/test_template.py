"""``datajoint.toml.example`` and the template it is made of."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from datajoint_file.config import ObjectStorageSettings, Settings, StorageSettings, parse_settings
from datajoint_file.config.rules import _KINDS  # the credentials that each store takes
from datajoint_file.config.scaffold import compose, example
from datajoint_file.config.settings import DisplaySettings, ProjectSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = Path(__file__).parents[2] / "datajoint.toml.example"
OF_THE_FILE = set(Settings.model_fields) - {"directory"}


def sections() -> dict[str, str]:
    """The parts of the example, by their headings; the introduction is that of no heading."""
    parts = re.split(r"^# ==== (.+) ====$", "\n" + EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


STORAGES = [name for name, text in sections().items() if "[storage]\n" in text]


def switched_on(text: str) -> str:
    return re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)


def switched_off(text: str) -> str:
    return re.sub(r"^(?=[a-z\[])", "#", text, flags=re.MULTILINE)


def test_example_is_made_of_the_template() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == example()


def test_example_as_it_is_is_valid() -> None:
    settings = parse_settings(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")), "the example")
    assert settings.storage.backend == "file"


@pytest.mark.parametrize("chosen", STORAGES)
def test_every_variant_of_the_example_is_valid_with_all_its_settings(chosen: str) -> None:
    others = {name: switched_off(text) if name in STORAGES else switched_on(text) for name, text in sections().items()}
    text = "".join({**others, chosen: switched_on(sections()[chosen])}.values())
    settings = parse_settings(tomllib.loads(text), "the example")
    assert settings.object_storage.partition_pattern.text
    assert settings.projects


def test_example_has_a_variant_of_every_backend_with_rules() -> None:
    backends = set(re.findall(r'^#?backend = "(.+)"', EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert backends > set(_KINDS)


@pytest.mark.parametrize("model", [ProjectSettings, StorageSettings, ObjectStorageSettings, DisplaySettings])
def test_example_names_every_key(model: type) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    keys = set(model.model_fields) - {"url"}  # type: ignore[attr-defined]  # it stands for others, beside which it is named
    assert keys == {key for key in keys if re.search(rf"^#?(\[storage\.)?{key}( = |\]$)", text, re.MULTILINE)}


def test_example_names_every_table() -> None:
    tables = set(re.findall(r"^#?\[(\w+)", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert tables == OF_THE_FILE


@pytest.mark.parametrize("backend", [name for name, kind in _KINDS.items() if kind.credentials])
def test_example_names_every_credential(backend: str) -> None:
    text = next(text for text in sections().values() if f'backend = "{backend}"' in text and "[storage]" in text)
    assert set(_KINDS[backend].credentials or ()) <= set(re.findall(r"^#(\w+) = ", text, re.MULTILINE))


@pytest.mark.parametrize("kind", ["${env:", "${file:", "${keyring:", "${cmd:", "DATAJOINT_FILE__", "DATAJOINT_TOML"])
def test_example_explains_secrets_and_the_environment(kind: str) -> None:
    assert kind in sections()[""]


@pytest.mark.parametrize("value", ['a "b"', "C:\\data\\lab", "Köln\x7f", "tab\t"])
def test_awkward_values_are_read_back_as_they_were(value: str) -> None:
    assert tomllib.loads(compose("lab", {"backend": "file", "path": value}))["storage"]["path"] == value


def test_new_file_has_one_storage_table_only() -> None:
    text = compose("lab", {"backend": "gcs", "bucket": "b"}, "subject{subject_id}")
    assert text.count("[storage]\n") == 1
    assert "azure" not in text
    assert tomllib.loads(text)["object_storage"] == {"partition_pattern": "subject{subject_id}"}

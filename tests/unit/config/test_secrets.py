"""References to secrets, resolved when a store is opened: from the environment, a file, a keyring."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest
from pydantic import SecretStr

from datajoint_file.config.secrets import reveal
from datajoint_file.errors import ConfigurationError

CANARY = "canary-5f1c"


class MemoryKeyring(keyring.backend.KeyringBackend):  # type: ignore[misc]  # keyring is not typed
    """A keyring of one entry."""

    priority = 1
    entries = {("lab/s3", "ada"): CANARY}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


class LockedKeyring(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("the collection is locked")


@pytest.fixture
def use_keyring() -> Iterator[Callable[[keyring.backend.KeyringBackend], None]]:
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def unresolved(value: object, directory: Path | None = None) -> str:
    """Return what is said when *value* cannot be resolved; the whole chain of errors, to look for secrets in."""
    with pytest.raises(ConfigurationError) as caught:
        reveal(value, directory)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY.encode() not in pickle.dumps(caught.value)
    return str(caught.value)


def test_reference_to_the_environment_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", CANARY)
    assert reveal("${env:LAB_KEY}") == CANARY


def test_references_are_replaced_within_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_NAME", "ada")
    monkeypatch.setenv("EMPTY", "")
    assert reveal("/scratch/${env:USER_NAME}/x-${env:USER_NAME}${env:EMPTY}") == "/scratch/ada/x-ada"


def test_references_are_replaced_at_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", CANARY)
    table = {"a": {"b": ["${env:LAB_KEY}", {"c": SecretStr("${env:LAB_KEY}")}]}, "d": 1, "e": True, "f": None}
    assert reveal(table) == {"a": {"b": [CANARY, {"c": CANARY}]}, "d": 1, "e": True, "f": None}


def test_secret_that_looks_like_a_reference_is_not_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KEY", "${file:/etc/hostname}")
    assert reveal("${env:LAB_KEY}") == "${file:/etc/hostname}"


@pytest.mark.parametrize("text", ["", "plain", "$HOME", "${HOME}", "{env:X}", "$ {env:X}", "100%", "${env:X"])
def test_text_without_a_reference_is_left_alone(text: str) -> None:
    assert reveal(text) == text


def test_variable_that_is_not_set_is_an_error_that_names_it() -> None:
    assert unresolved("${env:LAB_NO_KEY}") == (
        "the secret ${env:LAB_NO_KEY} cannot be resolved: the environment variable LAB_NO_KEY is not set"
    )


@pytest.mark.parametrize("kind", ["vault", "aws", "environ"])
def test_kind_nobody_knows_is_an_error_that_names_those_there_are(kind: str) -> None:
    assert unresolved(f"${{{kind}:x}}").endswith(f"there is no kind '{kind}' of secret; allowed: env, file, keyring")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
def test_reference_to_a_file_gives_its_text_without_the_line_end(tmp_path: Path, ending: str) -> None:
    (tmp_path / "key").write_bytes(f" {CANARY} {ending}".encode())
    assert reveal(f"${{file:{tmp_path}/key}}") == f" {CANARY} "


def test_relative_file_starts_at_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "key").write_text(CANARY)
    assert reveal("${file:key}", tmp_path) == CANARY


def test_file_may_be_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text(CANARY)
    assert reveal("${file:~/key}") == CANARY


@pytest.mark.parametrize("name", ["missing", "", "directory", "not-text", "a\0b", "~nobody-of-this-name/key"])
def test_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "not-text").write_bytes(CANARY.encode() + b"\xff")
    message = unresolved(f"${{file:{name}}}", tmp_path)
    assert message.startswith(f"the secret ${{file:{name}}} cannot be resolved: ")
    assert "cannot be read (" in message


def test_bytes_of_a_file_that_is_no_text_are_nowhere_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(CANARY.encode() + b"\xff")
    with pytest.raises(ConfigurationError) as caught:
        reveal("${file:key}", tmp_path)
    assert caught.value.__cause__ is None


def test_file_that_may_not_be_read_is_an_error(public_directory: Path, as_nobody: Callable[..., Any]) -> None:
    path = public_directory / "key"
    path.write_text(CANARY)
    path.chmod(0o000)
    with pytest.raises(ConfigurationError, match=r"cannot be read \(PermissionError\)"):
        as_nobody(reveal, f"${{file:{path}}}")


def test_reference_to_a_keyring_names_service_and_user(use_keyring: Callable[..., None]) -> None:
    use_keyring(MemoryKeyring())
    assert reveal("${keyring:lab/s3/ada}") == CANARY


@pytest.mark.parametrize(
    ("name", "command"),
    [("lab/s3/eve", "lab/s3 eve"), ("nothing", "… nothing"), ("", "… …"), ("x/", "x …"), ("/x", "… x")],
)
def test_entry_that_is_not_in_the_keyring_is_an_error_that_says_how_to_make_it(
    use_keyring: Callable[..., None], name: str, command: str
) -> None:
    use_keyring(MemoryKeyring())
    assert unresolved(f"${{keyring:{name}}}").endswith(f"the keyring has no such entry; `keyring set {command}`")


@pytest.mark.parametrize(
    "backend", [keyring.backends.fail.Keyring(), LockedKeyring()], ids=lambda x: type(x).__module__
)
def test_keyring_that_does_not_answer_is_an_error_of_the_configuration(
    use_keyring: Callable[..., None], backend: keyring.backend.KeyringBackend
) -> None:
    use_keyring(backend)
    assert "the keyring does not answer (" in unresolved("${keyring:lab/s3/ada}")

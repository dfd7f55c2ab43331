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

from datajoint_file.config import load_settings, parse_settings
from datajoint_file.config.secrets import Answers, reveal
from datajoint_file.errors import ConfigurationError
from datajoint_file.startup import escaped

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
    assert unresolved(f"${{{kind}:x}}").endswith(
        f"there is no kind '{kind}' of secret; allowed: env, file, keyring, cmd"
    )


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
    assert message.startswith(f"the secret ${{file:{escaped(name)}}} cannot be resolved: ")
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


# programs


def script(directory: Path, text: str, name: str = "secret.sh") -> str:
    """Write a program that counts its runs in a file, and return the reference to what it prints."""
    path = directory / name
    path.write_text(f"#!/bin/sh\necho run >> '{directory}/runs'\n{text}\n")
    path.chmod(0o755)
    return f"${{cmd:{path}}}"


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().split()) if (directory / "runs").exists() else 0


@pytest.mark.parametrize("ending", ["", "\\n", "\\r\\n"])
def test_what_a_program_prints_is_the_secret_without_the_line_end(tmp_path: Path, ending: str) -> None:
    assert reveal(script(tmp_path, f"printf ' {CANARY} {ending}'")) == f" {CANARY} "


def test_arguments_are_split_as_a_shell_does_and_no_shell_sees_them(tmp_path: Path) -> None:
    reference = "${cmd:printf '%s|' \"a b\" $HOME ; `id` > x}"
    assert reveal(f"<{reference}>", tmp_path) == "<a b|$HOME|;|`id`|>|x|>"


def test_program_runs_in_the_directory_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    script(tmp_path, "pwd")
    assert reveal("${cmd:./secret.sh}", tmp_path) == str(tmp_path)


def test_program_can_ask_nobody(tmp_path: Path) -> None:
    assert "it printed nothing" in unresolved("${cmd:cat}", tmp_path)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-program-5f1c --x", "no-such-program-5f1c cannot be run (No such file or directory)"),
        ("", "it is no command"),
        ("  ", "it is no command"),
        ("pass 'x", "it is no command: No closing quotation"),
        ("echo ${env:HOME", "it is no command"),
        ("true", "it printed nothing"),
        (f"printf '{CANARY[:0]}\\377'", "it printed no text in UTF-8"),
        ("sh -c 'echo Permission denied. >&2; exit 2'", "it ended with exit code 2: Permission denied."),
        ("sh -c 'kill -9 $$'", "it ended with exit code -9"),
    ],
)
def test_program_that_gives_no_secret_is_an_error_that_says_why(command: str, told: str) -> None:
    message = unresolved(f"${{cmd:{command}}}")
    assert told in message
    assert message.startswith(f"the secret ${{cmd:{command}}} cannot be resolved: ")


def test_what_a_failing_program_says_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOKEN", "t0ken-of-the-environment")
    text = f"echo '{CANARY}'; printf '%s\\n\\033[2J' 'bad {CANARY} of {CANARY} $LAB_TOKEN' >&2; "
    text += "echo $LAB_TOKEN https://ada:pass@host/x >&2; exit 3"
    message = unresolved(script(tmp_path, text))
    assert "it ended with exit code 3: " in message
    assert "bad *** of ***" in message
    assert not any(secret in message for secret in ("t0ken", "ada", "pass@", "\x1b"))


def test_program_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datajoint_file.config.secrets._PROGRAM_SECONDS", 0.2)
    assert "did not end within 0.2 seconds" in unresolved(script(tmp_path, f"echo {CANARY}; exec sleep 60"))


def test_program_is_run_once_for_a_configuration_that_is_loaded_and_not_for_loading_it(tmp_path: Path) -> None:
    reference = script(tmp_path, f"echo {CANARY}")
    table = {"backend": "s3", "bucket": "b", "credentials": {"key": reference, "secret": reference}}
    document = {"project": {"name": "lab"}, "storage": table, "projects": {"other": table}}
    settings, again = parse_settings(document, "the test"), parse_settings(document, "the test")
    assert runs(tmp_path) == 0
    for _ in range(3):
        said = reveal(settings.storage.credentials, None, settings.storage.answers)
    assert said == {"key": CANARY, "secret": CANARY}
    assert runs(tmp_path) == 1
    assert settings == again  # what was said takes no part
    assert settings.digest == again.digest
    reveal(again.storage.credentials, None, again.storage.answers)
    assert runs(tmp_path) == 2
    assert CANARY not in repr(settings) + repr(settings.storage.answers) + str(vars(settings.storage))
    for value in (settings.storage, settings.storage.answers):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(value)


def test_failure_is_asked_again(tmp_path: Path) -> None:
    answers, reference = Answers(), script(tmp_path, f"[ -e '{tmp_path}/login' ] && echo {CANARY}")
    with pytest.raises(ConfigurationError):
        reveal(reference, None, answers)
    (tmp_path / "login").touch()
    assert reveal(reference, None, answers) == CANARY


@pytest.mark.parametrize("key", ["path", "bucket", "container", "prefix", "options", "credentials"])
def test_program_may_be_named_wherever_a_secret_may(key: str, tmp_path: Path) -> None:
    reference = script(tmp_path, "echo said")
    backend = {"path": "file", "container": "azure"}.get(key, "s3")
    table: dict[str, Any] = {"backend": backend, **({"bucket": "b"} if backend == "s3" else {})}
    table[key] = {"key": reference} if key in ("options", "credentials") else reference
    storage = parse_settings({"project": {"name": "lab"}, "storage": table}, "the test").storage
    said = reveal(getattr(storage, key), None, storage.answers)
    assert said == ({"key": "said"} if isinstance(said, dict) else "said")


def test_program_of_a_file_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    path = directory / "datajoint.toml"
    reference = script(tmp_path, f"echo {CANARY}")
    path.write_text(f'[project]\nname = "lab"\n[storage]\nbackend = "file"\npath = "{reference}"\n')
    assert reveal(load_settings(path, is_searched=True).storage.path) == CANARY
    directory.chmod(0o777)
    with pytest.raises(ConfigurationError, match="writable by others"):
        load_settings(path, is_searched=True)
    assert runs(tmp_path) == 1

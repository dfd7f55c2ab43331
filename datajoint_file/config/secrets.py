"""Secret references: ``${env:NAME}``, ``${file:/path}``, ``${keyring:service/user}``, ``${cmd:program arguments}``.

They are resolved when a store is opened, in the process that opens it, and never kept in what settings show or send.
Programs are run for whoever wrote the configuration: a file that was found by searching is held to `trust` before.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pydantic import SecretStr

from datajoint_file.errors import ConfigurationError, printable
from datajoint_file.model.wording import pip_install

_REFERENCE = re.compile(r"\$\{([a-z]+):([^}]*)\}")


_PROGRAM_SECONDS = 30
_SHOWN = 300
_SHORTEST_SECRET = 4
_SECRET_VARIABLE = re.compile(r"(?i)secret|passw|passphrase|token|key|credential")
_USER_OF_URL = re.compile(r"//\S*@")


class Answers:
    """What the programs of one configuration have said, so that each is run once. Shown, compared and sent nowhere."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answers)

    def __hash__(self) -> int:
        return 0

    def __deepcopy__(self, memo: object) -> Answers:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


def reveal(value: Any, directory: Path | None = None, answers: Answers | None = None) -> Any:
    """Return *value* (a text, `SecretStr`, or table or list of them) with every reference in it replaced by the secret.

    Anything else is returned as it is. Relative ``${file:…}`` paths start in *directory*, or the working directory, and
    programs run there; what they said before is in *answers*.

    Raises
    ------
    ConfigurationError
        If a reference cannot be resolved. The message names the reference, never the secret.

    Examples
    --------
    >>> os.environ["STORE_KEY"] = "k7"
    >>> reveal({"key": "${env:STORE_KEY}", "anon": False})
    {'key': 'k7', 'anon': False}
    """
    if isinstance(value, SecretStr):
        return reveal(value.get_secret_value(), directory, answers)
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _resolve(match[1], match[2], directory, answers), value)
    if isinstance(value, Mapping):
        return {name: reveal(item, directory, answers) for name, item in value.items()}
    return [reveal(item, directory, answers) for item in value] if isinstance(value, list | tuple) else value


def _resolve(kind: str, name: str, directory: Path | None, answers: Answers | None) -> str:
    if kind == "cmd":
        said = (answers or Answers()).said  # no lock, which a fork could copy locked: at worst it is run twice
        if name not in said:
            said[name] = _from_program(name, directory)
        return said[name]
    if kind == "file":
        return _from_file(name, directory)
    if kind == "keyring":
        return _from_keyring(name)
    if kind != "env":
        raise _unresolved(kind, name, f"there is no kind {kind!r} of secret; allowed: env, file, keyring, cmd")
    if name not in os.environ:
        raise _unresolved("env", name, f"the environment variable {name} is not set")
    return os.environ[name]


def _from_file(name: str, directory: Path | None) -> str:
    path = (directory or Path.cwd()) / os.path.expanduser(name)  # noqa: PTH111 - pathlib's raises for an unknown user
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        fault = type(error).__name__  # not its text, and raised below, without it: a decoding error's is the secret
    raise _unresolved("file", name, f"{path} cannot be read ({fault})")


def _from_program(name: str, directory: Path | None) -> str:
    """Run a program, without a shell, and return what it prints, without the line end."""
    try:
        command = [] if "${" in name else shlex.split(name)
    except ValueError as error:
        raise _unresolved("cmd", name, f"it is no command: {error}") from None
    if not command:
        raise _unresolved("cmd", name, "it is no command: give a program and its arguments, none of them a reference")
    fault = ""
    try:
        done = subprocess.run(  # noqa: S603 - named in a configuration that is this user's
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        fault = f"it did not end within {_PROGRAM_SECONDS} seconds, and was stopped; it can ask nobody for a password"
    except (OSError, ValueError) as error:
        fault = f"{printable(command[0])} cannot be run ({getattr(error, 'strerror', None) or type(error).__name__})"
    if fault:  # raised here, it has no context: that has what was printed
        raise _unresolved("cmd", name, fault)
    try:
        secret = done.stdout.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        secret, fault = "", "it printed no text in UTF-8"
    if done.returncode or not secret:
        how = f"it ended with exit code {done.returncode}" if done.returncode else fault or "it printed nothing"
        raise _unresolved("cmd", name, f"{how}{_masked(done.stderr, done.stdout)}")
    return secret


def _masked(complaint: bytes, output: bytes) -> str:
    """Return what a program wrote to its standard error, on one line, without what it printed and other secrets."""
    text = " ".join(complaint.decode(errors="replace").split())
    variables = (value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name))
    for secret in sorted((*output.decode(errors="replace").split(), *variables), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = _USER_OF_URL.sub("//***@", text)
    return f": {printable(text[-_SHOWN:])}" if text else ""


def _from_keyring(name: str) -> str:
    service, _, user = name.rpartition("/")
    try:
        import keyring
    except ImportError as error:
        raise _unresolved("keyring", name, f"install the package with `{pip_install('keyring')}`") from error
    try:
        secret = keyring.get_password(service, user) if service and user else None
    except keyring.errors.KeyringError as error:
        raise _unresolved("keyring", name, f"the keyring does not answer ({type(error).__name__}: {error})") from error
    if secret is None:
        raise _unresolved(
            "keyring", name, f"the keyring has no such entry; `keyring set {service or '…'} {user or '…'}`"
        )
    return str(secret)


def _unresolved(kind: str, name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"the secret ${{{kind}:{name}}} cannot be resolved: {why}")

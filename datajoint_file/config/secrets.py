"""Secret references: ``${env:NAME}``, ``${file:/path}``, ``${keyring:service/user}``.

They are resolved when a store is opened, in the process that opens it, and never kept in settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from datajoint_file.errors import ConfigurationError
from datajoint_file.model.wording import pip_install

_REFERENCE = re.compile(r"\$\{([a-z]+):([^}]*)\}")


def reveal(value: Any, directory: Path | None = None) -> Any:
    """Return *value* (a text, `SecretStr`, or table or list of them) with every reference in it replaced by the secret.

    Anything else is returned as it is. Relative ``${file:…}`` paths start in *directory*, or the working directory.

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
        return reveal(value.get_secret_value(), directory)
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _resolve(match[1], match[2], directory), value)
    if isinstance(value, Mapping):
        return {name: reveal(item, directory) for name, item in value.items()}
    return [reveal(item, directory) for item in value] if isinstance(value, list | tuple) else value


def _resolve(kind: str, name: str, directory: Path | None) -> str:
    if kind == "file":
        return _from_file(name, directory)
    if kind == "keyring":
        return _from_keyring(name)
    if kind != "env":
        raise _unresolved(kind, name, f"there is no kind {kind!r} of secret; allowed: env, file, keyring")
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

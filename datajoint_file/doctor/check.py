"""`Check`, the result of one diagnostic, and the removal of secrets from what it says.

Messages of clients and servers are passed on to people here, and nobody knows what those write into them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from pydantic import SecretStr

from datajoint_file.config import Settings, StorageSettings
from datajoint_file.config.secrets import reveal
from datajoint_file.errors import ConfigurationError

Status = Literal["ok", "warning", "failed"]

SEVERITY: tuple[Status, ...] = ("ok", "warning", "failed")

_SHORTEST_SECRET = 4
_TELLING = 12
_NO_SECRETS = frozenset({"account_name", "client_id", "profile", "project", "tenant_id", "user", "username"})
_NO_TOKENS = re.compile(r"google_default|anon|cloud|cache|browser|.*\.json")
_SECRET_NAME = re.compile(r"(?i)secret|password|passphrase|token|key|credential")
_REFERENCE = re.compile(r"\$\{[^}]*\}")
_PARTS = re.compile(r"(?i)(?:AccountKey|SharedAccessSignature)=([^;]+)")


@dataclass(frozen=True, slots=True)
class Check:
    """What one look at something found."""

    name: str  # what was looked at
    status: Status  # "warning" where it works, but not as well as it could
    detail: str
    fix: str = ""  # what to do about it; empty if nothing


def censor_of(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return the function that puts ``***`` where a text holds one of *secrets*, as it is or percent-encoded.

    The beginning of a long secret is enough, since messages get cut.

    Examples
    --------
    >>> censor_of(["s3cr/t"])("GET /?token=s3cr%2Ft: 403")
    'GET /?token=***: 403'
    """
    long = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
    forms = sorted(long | {quote(secret, safe="") for secret in long}, key=len, reverse=True)
    pattern = re.compile("|".join([*map(re.escape, forms), *map(_beginning, forms)]) or r"(?!)")
    return lambda text: pattern.sub("***", text)


def _beginning(secret: str) -> str:
    """Return the pattern of a secret that has been cut; it never matches one that is too short to tell."""
    return rf"{re.escape(secret[:_TELLING])}\S*" if len(secret) > _TELLING else r"(?!)"


def censored(checks: Generator[Check, None, None], secrets: Iterable[str]) -> Generator[Check, None, None]:
    """Give *checks* without *secrets*, and close them in the end."""
    censor = censor_of(secrets)
    with closing(checks):
        for check in checks:
            yield replace(check, detail=censor(check.detail), fix=censor(check.fix))


def secrets_of(settings: Settings) -> Iterator[str]:
    """Give every secret of a configuration that can be resolved here."""
    for storage in settings.stores.values():
        for name, text in texts_of(storage):
            try:
                secret = str(reveal(text, settings.directory, storage.answers))
            except ConfigurationError:
                continue
            if _is_secret(name, text, secret):
                yield secret
                yield from _PARTS.findall(secret)


def references_of(storage: StorageSettings) -> list[str]:
    """Return the references to secrets, such as ``${env:NAME}``, that a table holds."""
    return [reference for _, text in texts_of(storage) for reference in _REFERENCE.findall(text)]


def texts_of(storage: StorageSettings) -> Iterator[tuple[str, str]]:
    """Give the texts of a table that may be or hold secrets, each with its dotted name."""
    for name in ("path", "bucket", "container", "prefix"):
        if text := getattr(storage, name):
            yield name, text
    yield from _texts("credentials", storage.credentials)
    yield from _texts("options", storage.options)


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(name, item)


def _is_secret(name: str, text: str, secret: str) -> bool:
    """Tell a secret from an identifier, a file's name or a keyword, which a message may and should show."""
    table, _, key = name.rpartition(".")
    if not table or (key == "token" and _NO_TOKENS.fullmatch(secret)):
        return False
    if table == "credentials":
        return key not in _NO_SECRETS
    return text != secret or bool(_SECRET_NAME.search(key))

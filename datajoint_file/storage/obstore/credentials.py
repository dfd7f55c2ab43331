"""Credentials and options of obstore: the address, identity and patience that fsspec has of the same settings.

One place says where credentials come from: profiles, single sign-on, metadata services and renewal are the vendors'
own business, in the libraries below fsspec, for both engines. Which engine is used is decided in `selection`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from datajoint_file.errors import ConfigurationError
from datajoint_file.storage.bucket.s3_identity import is_fixed, s3_address, s3_keys
from datajoint_file.storage.remote.requests import run

Credential = dict[str, Any]

_CLIENT = {"connect_timeout": "10s", "read_timeout": "5min", "timeout": "1h"}
"""``read_timeout`` counts from when a request begins: a part must be sent in it, over a slow line too."""

_AZURE_SCOPE = "https://storage.azure.com/.default"

RETRIES = 4

ASK_AGAIN = timedelta(minutes=6)
"""When credentials are said to expire: obstore asks for new ones five minutes before. Who is asked knows better."""


def s3_store(filesystem: Any, bucket: str, prefix: str | None) -> Any:
    """Return obstore's store for *prefix* of *bucket*, with the address and the credentials of a filesystem of s3fs."""
    client = run(filesystem, filesystem.set_session())
    explicit, config, address = filesystem.config_kwargs, client.meta.config.s3 or {}, s3_address(filesystem, bucket)
    options: dict[str, Any] = {"unsigned_payload": True, "conditional_put": "etag", "prefix": prefix}
    options |= {"region": address.region, "endpoint": address.endpoint}
    if config.get("payload_signing_enabled"):
        options["unsigned_payload"] = False  # the way of servers that do not know checksums
    else:
        options["checksum_algorithm"] = "CRC64NVME"
    if address.is_virtual:
        options["virtual_hosted_style_request"] = True
    if filesystem.req_kw:
        options["request_payer"] = True
    for name, option in {"ServerSideEncryption": "server_side_encryption", "SSEKMSKeyId": "sse_kms_key_id"}.items():
        if name in filesystem.s3_additional_kwargs:
            options[option] = filesystem.s3_additional_kwargs[name]
    options |= {"skip_signature": True} if filesystem.anon else {"credential_provider": _s3_credentials(filesystem)}
    client_options = _client(options["endpoint"]) | _certificates(filesystem.client_kwargs.get("verify"))
    if "connect_timeout" in explicit:
        client_options["connect_timeout"] = timedelta(seconds=explicit["connect_timeout"])
    attempts = explicit.get("retries", {})
    retries = attempts.get("max_attempts", attempts.get("total_max_attempts", RETRIES + 1) - 1)
    return _made("S3Store", bucket, options["endpoint"], client_options, retries, options)


def _certificates(verify: Any) -> dict[str, Any]:
    if verify is False:
        return {"allow_invalid_certificates": True}
    if not isinstance(verify, str):
        return {}
    try:
        return {"root_certificate": Path(verify).read_bytes()}
    except OSError as error:  # which is not to be taken for a missing object
        raise ConfigurationError(f"[storage.options.client_kwargs] verify = {verify!r}: {error.strerror}") from error


def _s3_credentials(filesystem: Any) -> Callable[[], Credential]:
    """Return what gives the keys of s3fs's session."""
    keys, expires = s3_keys(filesystem), not is_fixed(filesystem)

    def current() -> Credential:
        fields = dict(zip(("access_key_id", "secret_access_key", "token"), keys(), strict=True))
        return {**fields, "expires_at": _soon() if expires else None}

    return current


def gcs_store(filesystem: Any, bucket: str, prefix: str | None) -> Any:
    """Return obstore's store for *prefix* of *bucket*, with the address and the credentials of one of gcsfs."""
    credentials, endpoint = filesystem.credentials, filesystem._location

    def current() -> Credential:
        if credentials.credentials is None:  # an anonymous caller
            return {"token": "", "expires_at": None}
        credentials.maybe_refresh()
        return {"token": credentials.credentials.token, "expires_at": _soon()}

    options = {"base_url": endpoint, "credential_provider": current, "prefix": prefix}
    return _made("GCSStore", bucket, endpoint, _client(endpoint), RETRIES, options)


def azure_store(filesystem: Any, bucket: str, prefix: str | None) -> Any:
    """Return obstore's store for *prefix* of a container, with the address and the credentials of one of adlfs."""
    service = filesystem.service_client
    address = urlsplit(service.url)  # with the shared access signature, where there is one
    endpoint = urlunsplit(address._replace(query="")).rstrip("/")
    options: dict[str, Any] = {"endpoint": endpoint, "account_name": service.account_name, "prefix": prefix}
    fixed = {"access_key": getattr(service.credential, "account_key", None), "sas_token": address.query}
    given = {name: value for name, value in fixed.items() if value}
    if given:
        options["credential_provider"] = lambda: {**given, "expires_at": None}
    elif filesystem.sync_credential is None:
        options["skip_signature"] = True
    else:
        options["credential_provider"] = lambda: _token_of(filesystem.sync_credential)
    return _made("AzureStore", bucket, endpoint, _client(endpoint), RETRIES, options)


def _token_of(identity: Any) -> Credential:
    return {"token": identity.get_token(_AZURE_SCOPE).token, "expires_at": _soon()}


def _soon() -> datetime:
    return datetime.now(timezone.utc) + ASK_AGAIN


def _client(endpoint: str) -> dict[str, Any]:
    return {**_CLIENT, "allow_http": urlsplit(endpoint).scheme == "http"}


def _made(
    kind: str, bucket: str, endpoint: str, client_options: dict[str, Any], retries: int, options: dict[str, Any]
) -> Any:
    _check_address(endpoint, bucket)
    make = getattr(importlib.import_module("obstore.store"), kind)
    return make(bucket, client_options=client_options, retry_config=_retries(retries), **options)


def _check_address(endpoint: str, bucket: str) -> None:
    """Raise `ValueError` unless they make a URL; obstore would panic when it is asked for an object."""
    match = _ADDRESS.fullmatch(endpoint)
    if match is None or int(match["port"] or 80) >= 2**16 or not _BUCKET.fullmatch(bucket):
        raise ValueError("endpoint_url and bucket make no address that obstore takes")
    host = match["host"].strip("[]")
    if ":" in host or host.rpartition(".")[2].isdigit():  # WHATWG's rule: what ends in a number must be an address
        ip_address(host)


_ADDRESS = re.compile(r"https?://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>\d+))?(/[^?#\s]*)?", re.IGNORECASE)
_BUCKET = re.compile(r"[\w.$-]+", re.ASCII)


def _retries(number: int) -> dict[str, Any]:
    backoff = {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2}
    return {"max_retries": number, "retry_timeout": timedelta(minutes=3), "backoff": backoff}

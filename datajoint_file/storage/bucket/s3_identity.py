"""Address and credentials of a bucket of S3, as s3fs has them: for whoever asks for objects by other means.

Where credentials come from (profiles, single sign-on, metadata services) is botocore's business.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from datajoint_file.storage.remote.requests import run


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where a bucket is."""

    endpoint: str  # with the bucket in the host's name, if it is virtual
    region: str
    is_virtual: bool


def s3_address(filesystem: Any, bucket: str) -> S3Address:
    """Return where *bucket* is; AWS is asked for its region, where nobody has said it."""
    client = run(filesystem, filesystem.set_session())
    region = _region(filesystem, client, bucket)
    endpoint = in_region(client.meta.endpoint_url, region)
    is_virtual = (client.meta.config.s3 or {}).get("addressing_style") == "virtual"
    return S3Address(_before_host(endpoint, bucket) if is_virtual else endpoint, region, is_virtual)


def _region(filesystem: Any, client: Any, bucket: str) -> str:
    """Return the bucket's region. AWS redirects who asks another one; obstore does not follow, so it is asked first."""
    region, endpoint = client.meta.region_name, client.meta.endpoint_url
    if not _is_custom(endpoint) and "region_name" not in filesystem.client_kwargs:
        region = run(filesystem, _region_at_aws(client, bucket)) or region
    return region if region and region != "aws-global" else "us-east-1"


async def _region_at_aws(client: Any, bucket: str) -> str | None:
    try:
        reply = await client.head_bucket(Bucket=bucket)
    except Exception as error:  # noqa: BLE001 - who may not look is told the region all the same
        reply = getattr(error, "response", None) or {}
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    found: str | None = headers.get("x-amz-bucket-region")
    return found


def _is_custom(endpoint: str) -> bool:
    return "amazonaws.com" not in urlsplit(endpoint).netloc


def in_region(endpoint: str, region: str) -> str:
    """Return AWS's common address in *region*; any other, of FIPS or of another server, as it is."""
    return _COMMON.sub(rf"https://s3.{region}.\1", endpoint)


_COMMON = re.compile(r"\Ahttps://s3(?:\.(?!dualstack)[a-z0-9-]+)?\.(amazonaws\.com(?:\.cn)?)\Z")


def _before_host(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(netloc=f"{bucket}.{parts.netloc}"))


def s3_keys(filesystem: Any) -> Callable[[], tuple[str, str, str | None]]:
    """Return what gives the access key, the secret and the token of s3fs's session, which renews those that expire."""
    if is_fixed(filesystem):
        return lambda: (filesystem.key, filesystem.secret, filesystem.token)
    found = run(filesystem, filesystem.session.get_credentials())
    if found is None:
        raise importlib.import_module("botocore.exceptions").NoCredentialsError

    def current() -> tuple[str, str, str | None]:
        keys = run(filesystem, found.get_frozen_credentials())
        return keys.access_key, keys.secret_key, keys.token

    return current


def is_fixed(filesystem: Any) -> bool:
    """Tell whether its keys are given, and nobody renews them."""
    return bool(filesystem.key and filesystem.secret)

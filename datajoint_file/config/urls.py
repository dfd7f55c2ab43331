"""Storage URLs, such as ``s3://bucket/team/ephys``: the keys of ``[storage]`` that one stands for.

Nothing is looked up: references to secrets stay as they are.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from urllib.request import url2pathname

STORAGE_URLS = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix (the prefix may be left out), file:///dir"

STANDS_FOR = ("backend", "bucket", "container", "path", "prefix")
"""The keys that a URL says, and that are not given beside one."""

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
SCHEMES |= dict.fromkeys(("az", "abfs", "abfss", "azure"), "azure")
"""The backend that a URL's scheme, or fsspec's name of a protocol, stands for."""

_COMPONENT = re.compile(r"[A-Za-z0-9._=+@-]*[A-Za-z0-9_=+@-]")
_PARTS = re.compile(r"(?P<bucket>(?:\$\{[^}]*\}|[^/])*)/*(?P<prefix>.*)")
_REFERENCE = re.compile(r"\$\{[a-z]+:[^}]*\}")


def table_of(url: str) -> dict[str, str]:
    """Return the keys of ``[storage]`` that *url* stands for.

    Raises
    ------
    ValueError
        If it is no URL of a known store, or says more than a place. The message does not repeat it: it can
        hold a secret.

    Examples
    --------
    >>> table_of("s3://recordings/team/ephys/")
    {'backend': 's3', 'bucket': 'recordings', 'prefix': 'team/ephys'}
    >>> table_of("file:///data/lab")
    {'backend': 'file', 'path': '/data/lab'}
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError("it is no URL")
    if scheme == "file":
        return {"backend": "file", "path": file_path(url)}
    backend = SCHEMES.get(scheme.lower())
    if backend is None:
        raise ValueError(f'no URL can say this; other fsspec protocols are written as backend = "{scheme}" and path')
    parts = _PARTS.fullmatch(rest)
    if parts is None or not parts["bucket"]:
        raise ValueError("it names no bucket")
    if re.search(r"[@:?#\s]", _REFERENCE.sub("", parts["bucket"])) or re.search(r"[?#]", parts["prefix"]):
        raise ValueError(
            "it says more than a bucket and a prefix; accounts and credentials belong in [storage.credentials], a "
            "server in endpoint_url"
        )
    table = {"backend": backend, "container" if backend == "azure" else "bucket": parts["bucket"]}
    prefix = parts["prefix"].rstrip("/")
    return {**table, "prefix": checked_prefix(prefix)} if prefix else table


def checked_prefix(prefix: str) -> str:
    """Return *prefix* without the slashes at its end.

    Raises
    ------
    ValueError
        If it is not of the form ``team/ephys``. What a reference in it stands for is checked when it is known.

    Examples
    --------
    >>> checked_prefix("team/ephys/")
    'team/ephys'
    >>> checked_prefix("team/../other")
    Traceback (most recent call last):
        ...
    ValueError: '..' cannot be part of a prefix
    """
    for component in _REFERENCE.sub("x", prefix.rstrip("/")).split("/"):
        if not _COMPONENT.fullmatch(component):
            raise ValueError(f"{component!r} cannot be part of a prefix" if component else "it has an empty part")
    return prefix.rstrip("/")


def file_path(url: str) -> str:
    """Return the path that a ``file:`` URL stands for; raise a `ValueError` if it is on another machine."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"it names a host, {parts.netloc.rpartition('@')[2]}; write file:///dir")
    return url2pathname(parts.path)

"""Errors of fsspec and the clients below it, in this package's words.

By name and HTTP status rather than by class, since the clients (botocore, gcsfs, azure) need not be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from datajoint_file.errors import (
    BucketNotFoundError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)

_CREDENTIAL_ERRORS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "TokenRetrievalError",
    "ClientAuthenticationError",
    "DefaultCredentialsError",
    "RefreshError",
    "CredentialUnavailableError",
)
_CONNECTION_ERRORS = (
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ServiceRequestError",
    "ServiceResponseError",
    "ClientConnectorError",
    "ClientOSError",
    "ServerDisconnectedError",
    "FSTimeoutError",
    "TimeoutError",
)
_ACCESS_CODES = re.compile(
    r"\b(AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|Forbidden|Unauthorized|AuthenticationFailed"
    r"|AuthorizationFailure|InvalidToken|Anonymous caller|40[13])\b"
)
_SECRETS = re.compile(
    r"(?i)((?:sig|signature|x-amz-[a-z-]+|token|se|sp|sv|sr|awsaccesskeyid|accountkey|authorization)\s*[=:]\s*)[^&\s;,'\"]+"
)


def translation(key: str, error: Exception) -> StorageError:
    """Return the error of this package that says what *error* says, about the object *key*."""
    names = {name for cause in _causes(error) for name in (c.__name__ for c in type(cause).__mro__)}
    text = _scrubbed(error)
    if isinstance(error, FileExistsError) or _matches(names, "ResourceExistsError") or _is_precondition(text):
        return ObjectExistsError(f"{key}: there is an object under this key, left as it is")
    if "NoSuchBucket" in text or "ContainerNotFound" in text:
        return BucketNotFoundError(f"{key}: the bucket or container does not exist ({text})")
    if isinstance(error, FileNotFoundError) or _matches(names, "ResourceNotFoundError"):
        return ObjectNotFoundError(f"{key}: there is no such object in the store")
    if isinstance(error, PermissionError) or _matches(names, *_CREDENTIAL_ERRORS) or _ACCESS_CODES.search(text):
        return StorageAccessError(
            f"{key}: the store refused the credentials or the operation ({text}). Check [storage.credentials]; a "
            "store that answers 403 for missing objects needs the right to list the bucket"
        )
    if isinstance(error, ConnectionError | TimeoutError) or _matches(names, *_CONNECTION_ERRORS):
        return StorageUnavailableError(f"{key}: the store cannot be reached ({text}). Check endpoint_url and network")
    return StorageError(f"{key}: {text}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _matches(names: set[str], *wanted: str) -> bool:
    return not names.isdisjoint(wanted)


def _is_precondition(text: str) -> bool:
    return bool(re.search(r"\b(PreconditionFailed|At least one of the pre-conditions|conditionNotMet|412)\b", text))


def _scrubbed(error: Exception) -> str:
    """Return the error's text on one line, without what could be a credential."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return _SECRETS.sub(r"\1***", text)[:500]

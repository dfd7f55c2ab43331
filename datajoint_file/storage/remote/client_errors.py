"""Client errors of fsspec and the libraries below it, translated into this package's words.

By name, status and code rather than by class, since the clients (botocore, gcsfs, azure) need not be installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datajoint_file.errors import (
    BucketNotFoundError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
    UploadCorruptedError,
)

_CREDENTIAL_ERRORS = frozenset({
    "ClientAuthenticationError", "CredentialRetrievalError", "CredentialUnavailableError", "GoogleAuthError",
    "NoCredentialsError", "PartialCredentialsError", "PermissionDeniedError", "ProfileNotFound", "TokenRetrievalError",
    "UnauthenticatedError",
})  # fmt: skip
_CONNECTION_ERRORS = frozenset({
    "ClientConnectionError", "ClientPayloadError", "ConnectionError", "HTTPClientError", "FSTimeoutError", "SSLError",
    "ServiceRequestError", "ServiceResponseError", "TimeoutError",
})  # fmt: skip
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "BlobAlreadyExists", "ConditionNotMet", "412"})
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_CHANGED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
_NOT_IMPLEMENTED = frozenset({"NotImplemented", "501"})
_OUT_OF_RANGE = frozenset({"InvalidRange", "416"})
_REFUSED = frozenset({
    "AccessDenied", "AuthenticationFailed", "AuthorizationFailure", "AuthorizationPermissionMismatch", "ExpiredToken",
    "Forbidden", "InvalidAccessKeyId", "InvalidToken", "NoAuthenticationInformation", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "TokenRefreshRequired", "Unauthorized", "401", "403",
})  # fmt: skip
_UNAVAILABLE = frozenset({
    "InternalError", "OperationTimedOut", "RequestTimeout", "ServerBusy", "ServiceUnavailable", "SlowDown",
    "408", "429", "500", "502", "503", "504",
})  # fmt: skip

_KEY = re.compile(r"-----BEGIN [\w ]+-----.*?(?:-----END [\w ]+-----|\Z)", re.DOTALL)
"""A private key, as files of them have it."""

_SECRETS = re.compile(
    r"(?i)("
    r"\b[\w-]*(?:signature|token|secret\w*|password|private_key|accountkey|credential)['\"]?\s*[=:]\s*['\"]?"
    r"|\bauthorization['\"]?\s*[=:]\s*['\"]?(?:[\w-]+\s+)?"
    r"|[?&;](?:sig|se|sp|sv|sr|st|skoid)="
    r")[^&\s;,'\"]+"
)
"""What stands before a secret in URLs, headers, connection strings and tables, and the secret."""

_USER_OF_URL = re.compile(r"//[^@\s]+@")
"""User and password before the host of a URL; some passwords hold slashes."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What an error and its causes say: the names of their classes, and the codes the store gave."""

    names: frozenset[str]
    codes: frozenset[str]


def translation(key: str, error: Exception, table: str = "storage", *, writing: bool = False) -> StorageError:
    """Return the error of this package that says what a client's *error* says, about the object *key*.

    The *table* of ``datajoint.toml`` says where the store is. *writing* tells whether it was being added: then a failed
    condition means that there is one already.
    """
    facts, text = _facts(error), scrubbed(error)
    if writing and _says_exists(error, facts):
        return ObjectExistsError(f"{key}: there is an object under this key, left as it is")
    if facts.codes & _NO_BUCKET:
        return BucketNotFoundError(
            f"{key}: the bucket or container does not exist ({text}); create it, or correct [{table}] in datajoint.toml"
        )
    if isinstance(error, _NO_FILE) or "ResourceNotFoundError" in facts.names:
        return ObjectNotFoundError(f"{key}: there is no such object in the store")
    if isinstance(error, PermissionError) or facts.names & _CREDENTIAL_ERRORS or facts.codes & _REFUSED:
        return StorageAccessError(
            f"{key}: the store refused the credentials or the operation ({text}). Check [{table}.credentials]; a "
            "store that answers 403 for missing objects needs the right to list the bucket"
        )
    if facts.codes & _CHANGED:
        return UploadCorruptedError(
            f"{key}: what reached the store is not what was sent ({text}); it was refused, and nothing was stored. "
            "Insert the file again; if that happens repeatedly, a device between here and the store is broken"
        )
    if facts.codes & _NOT_IMPLEMENTED:
        return StorageError(
            f"{key}: the store cannot do what it was asked for ({text}). If it does not know checksums, let the client "
            "sign every byte instead: [storage.options.config_kwargs] s3 = { payload_signing_enabled = true }"
        )
    if facts.names & _CONNECTION_ERRORS or facts.codes & _UNAVAILABLE or says_interrupted(error):
        return StorageUnavailableError(f"{key}: the store cannot be reached ({text}). Check endpoint_url and network")
    return StorageError(f"{key}: {text}")


def presentable(error: Exception) -> Exception | None:
    """Return *error* as a cause to show in tracebacks, or nothing if it or a cause of its own shows a credential.

    What its causes hide from tracebacks is taken off them: Dask pickles that too.
    """
    causes = list(_causes(error))
    if any(_SECRETS.search(text) or _USER_OF_URL.search(text) for text in map(str, causes)):
        return None
    for cause in causes:
        if cause.__suppress_context__:
            cause.__context__ = None
    return error


def says_changed(error: Exception) -> bool:
    """Tell whether the store refused bytes because they are not those that were sent."""
    return bool(_facts(error).codes & _CHANGED)


def says_interrupted(error: Exception) -> bool:
    """Tell whether obstore lost the connection while it sent a request, which may have been carried out."""
    return "error sending request" in str(error)


def says_out_of_range(error: Exception) -> bool:
    """Tell whether the store has no bytes where they were asked for: the object ends before."""
    # Azurite answers a range of an empty object with one that ends before it begins, which obstore cannot read.
    return bool(_facts(error).codes & _OUT_OF_RANGE) or "for CONTENT_RANGE header" in str(error)


def _says_exists(error: Exception, facts: _Facts) -> bool:
    """Tell whether the store refused to replace an object. adlfs says so for every conflict; the code says which."""
    if "AlreadyExistsError" in facts.names:
        return True
    return bool(facts.codes & _EXISTS) or (isinstance(error, FileExistsError) and not facts.codes)


def _facts(error: Exception) -> _Facts:
    causes = tuple(_causes(error))
    names = frozenset(cls.__name__ for cause in causes for cls in type(cause).__mro__)
    return _Facts(names, frozenset(code for cause in causes for code in _codes(cause)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _codes(error: BaseException) -> Iterator[str]:
    """Give what the clients keep of the store's answer: botocore a document, azure and gcsfs attributes."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        yield str(response.get("Error", {}).get("Code", ""))
        yield str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    for attribute in ("error_code", "status_code", "code", "status"):
        value: Any = getattr(error, attribute, None)
        if isinstance(value, int | str):
            yield str(getattr(value, "value", value))
    yield from _codes_of_obstore(str(error))
    if type(error) is OSError and str(error).startswith("Forbidden: "):  # all that gcsfs makes of a 403
        yield "403"


_OBSTORE_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_OBSTORE_CODE = re.compile(r"<Code>(\w+)</Code>")
_OBSTORE_UNREACHED = re.compile(r" - HTTP error: |\bHttpError \{")
_OBSTORE_BEYOND = re.compile(r"Wanted range starting at \d+, but object was only")
_OBSTORE_XML = re.compile(r"<\?xml.*?<Code>(\w*)</Code>\s*(?:<Message>([^<]*)</Message>)?.*</Error>", re.DOTALL)


def _codes_of_obstore(said: str) -> Iterator[str]:
    """Give what obstore puts into its messages, which is all that it keeps."""
    if status := _OBSTORE_STATUS.search(said):
        yield status[1]
        yield from _OBSTORE_CODE.findall(said)
    elif _OBSTORE_UNREACHED.search(said):
        yield "OperationTimedOut"
    elif _OBSTORE_BEYOND.search(said):
        yield "416"


def scrubbed(error: BaseException) -> str:
    """Return what *error* says, on one short line, without what could be a credential."""
    said = str(error).partition("\nContent:")[0]  # azure repeats itself in XML
    said = _OBSTORE_XML.sub(r"\1: \2", said.partition("\nDebug source:")[0])  # as obstore does in Rust
    text = _KEY.sub("***", " ".join(f"{type(error).__name__}: {said}".split()))
    return _SECRETS.sub(r"\1***", _USER_OF_URL.sub("//***@", text))[:500]

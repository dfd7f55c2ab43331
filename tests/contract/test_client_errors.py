"""The clients' own errors, in this package's words, and without anybody's credentials."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import botocore.exceptions
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from gcsfs.retry import HttpError, validate_response
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from s3fs.errors import translate_boto_error

from datajoint_file.errors import (
    BucketNotFoundError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)
from datajoint_file.storage.remote.client_errors import scrubbed, translation

KEY = "lab/subject401/session403/objects/412.dat"


def _s3(code: str, status: int, message: str = "what the store says") -> Exception:
    """Return what s3fs raises for an answer of S3."""
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = translate_boto_error(botocore.exceptions.ClientError(response, "PutObject"))
    assert isinstance(error, Exception)
    return error


def _gcs(status: int, message: str = "what the store says") -> Exception:
    """Return what gcsfs raises for an answer of Google."""
    try:
        validate_response(
            status, f'{{"error": {{"code": {status}, "message": "{message}"}}}}'.encode(), f"b/lab/o/{KEY}"
        )
    except Exception as error:
        return error
    raise AssertionError(status)


def _azure(kind: Callable[..., Exception], status: int, code: str) -> Exception:
    """Return what Azure's client raises for an answer."""
    response = SimpleNamespace(status_code=status, reason="reason", headers={}, content_type="", text=lambda: "")
    error = kind(f"what the store says\nErrorCode:{code}\nContent: <xml/>", response=response)
    error.error_code = code  # type: ignore[attr-defined]
    return error


def _from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = [
    _s3("AccessDenied", 403),
    _s3("InvalidAccessKeyId", 403),
    _s3("SignatureDoesNotMatch", 403),
    _s3("ExpiredToken", 400),
    _s3("InvalidToken", 400),
    _s3("403", 403),
    botocore.exceptions.NoCredentialsError(),
    botocore.exceptions.ProfileNotFound(profile="lab"),
    _gcs(401, "Anonymous caller does not have storage.objects.get access"),
    _gcs(403),
    HttpError({"code": 401, "message": "Invalid Credentials"}),
    DefaultCredentialsError("Your default credentials were not found."),  # type: ignore[no-untyped-call]
    RefreshError("invalid_grant"),  # type: ignore[no-untyped-call]
    _azure(HttpResponseError, 403, "AuthorizationFailure"),
    _azure(ClientAuthenticationError, 401, "NoAuthenticationInformation"),
    _azure(HttpResponseError, 403, "AuthorizationPermissionMismatch"),
    _from(RuntimeError("Failed to upload block"), _azure(HttpResponseError, 403, "AuthenticationFailed")),
    PermissionError(13, "Permission denied"),
]
UNAVAILABLE = [
    botocore.exceptions.EndpointConnectionError(endpoint_url="https://s3.example"),
    botocore.exceptions.ReadTimeoutError(endpoint_url="https://s3.example"),
    botocore.exceptions.SSLError(endpoint_url="https://s3.example", error="certificate"),
    _s3("SlowDown", 503),
    _s3("InternalError", 500),
    _s3("RequestTimeout", 400),
    aiohttp.ClientConnectionError("Connection lost"),
    aiohttp.ServerDisconnectedError(),
    _gcs(502),
    _gcs(503),
    _gcs(429),
    ServiceRequestError("Cannot connect to host"),
    _azure(HttpResponseError, 503, "ServerBusy"),
    _from(RuntimeError("Failed to upload block"), ServiceRequestError("Cannot connect to host")),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
]
NO_BUCKET = [
    _s3("NoSuchBucket", 404),
    _azure(ResourceNotFoundError, 404, "ContainerNotFound"),
    _azure(ResourceExistsError, 409, "ContainerBeingDeleted"),
    _from(FileNotFoundError("nothing"), _azure(ResourceNotFoundError, 404, "ContainerNotFound")),
]
MISSING = [
    _s3("NoSuchKey", 404),
    _s3("404", 404),
    _gcs(404),
    _azure(ResourceNotFoundError, 404, "BlobNotFound"),
    FileNotFoundError(KEY),
]
EXISTS = [
    _s3("PreconditionFailed", 412),
    _s3("ConditionalRequestConflict", 409),
    _gcs(412),
    _azure(ResourceExistsError, 409, "BlobAlreadyExists"),
    _from(FileExistsError("File already exists!"), _azure(ResourceExistsError, 409, "BlobAlreadyExists")),
    FileExistsError(17, "File exists"),
]
OTHER = [
    _s3("InvalidRequest", 400),
    _s3("AuthorizationHeaderMalformed", 400, "the region 'us-east-1' is wrong; expecting 'eu-west-1'"),
    _gcs(400),
    _azure(HttpResponseError, 400, "InvalidBlockId"),
    OSError(5, "Input/output error", KEY),
    ValueError(f"cannot make sense of {KEY}"),
]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        *((error, StorageAccessError) for error in REFUSED),
        *((error, StorageUnavailableError) for error in UNAVAILABLE),
        *((error, BucketNotFoundError) for error in NO_BUCKET),
        *((error, ObjectNotFoundError) for error in MISSING),
        *((error, StorageError) for error in OTHER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
@pytest.mark.parametrize("writing", [False, True])
def test_error_is_told_for_what_it_is(error: Exception, expected: type[StorageError], writing: bool) -> None:
    translated = translation(KEY, error, writing=writing)
    assert type(translated) is expected
    assert KEY in str(translated)
    assert "\n" not in str(translated)


@pytest.mark.parametrize("error", EXISTS, ids=lambda error: type(error).__name__)
def test_failed_condition_means_that_an_object_is_there_only_to_who_writes(error: Exception) -> None:
    assert type(translation(KEY, error, writing=True)) is ObjectExistsError
    assert not isinstance(translation(KEY, error), ObjectExistsError)


def test_error_that_was_met_while_handling_another_is_not_taken_for_it() -> None:
    error = ValueError("something else")
    error.__context__ = _s3("NoSuchBucket", 404)
    error.__suppress_context__ = True
    assert type(translation(KEY, error)) is StorageError


@pytest.mark.parametrize(
    "said",
    [
        "https://lab.blob.core.windows.net/c/k?sv=2024-11-04&sp=rwd&sig=SECRET%2Fx%3D&se=2030",
        "https://s3.example/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=SECRET&X-Amz-Security-Token=SECRET",
        "https://storage.googleapis.com/b/k?X-Goog-Signature=SECRET",
        "DefaultEndpointsProtocol=https;AccountName=lab;AccountKey=SECRET/x==;EndpointSuffix=core.windows.net",
        "BlobEndpoint=https://lab.example;SharedAccessSignature=SECRET",
        "{'Authorization': 'Bearer SECRET', 'Host': 'storage.googleapis.com'}",
        "Authorization: SharedKey SECRET",
        "token=SECRET",
        "'access_token': 'SECRET'",
        "refresh_token=SECRET",
        "aws_secret_access_key='SECRET'",
        "client_secret: SECRET",
        "password=SECRET",
        "AWS4-HMAC-SHA256 Credential=SECRET/20261121/us-east-1/s3/aws4_request",
        r"too long: '{\"private_key\": \"-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n\"}'",
        "-----BEGIN RSA PRIVATE KEY----- SECRET",
    ],
)
def test_message_shows_no_credential(said: str) -> None:
    assert "SECRET" not in scrubbed(OSError(said))
    assert "SECRET" not in str(translation(KEY, OSError(said)))
    assert "***" in scrubbed(OSError(said))


@pytest.mark.parametrize(
    "said",
    [
        "response: 404 Not Found",
        "the token has expired",
        "Range: bytes=0-15",
        "Check your key and signing method.",
        "Cannot connect to host lab.example:443 ssl:default",
    ],
)
def test_message_keeps_what_is_no_credential(said: str) -> None:
    assert scrubbed(OSError(said)) == f"OSError: {said}"


def test_message_is_short() -> None:
    assert len(str(translation(KEY, ValueError("x" * 10_000)))) < 1000

"""Links to stored objects, from each store by each engine, fetched by a client that knows nothing but the URL."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from datajoint_file.errors import SigningError
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.backend import ContentHeaders
from datajoint_file.storage.bucket import query_signature
from tests.contract.conftest import PROJECT, backend_of

NAME = 'a "b"; Köln 50%+~.dat'
HEADERS = ContentHeaders(filename=NAME, disposition="attachment")
ENGINES = ["fsspec", "obstore"]


def get(url: str) -> tuple[bytes, str]:
    """Return the body and the disposition of what anybody gets."""
    with build_opener(ProxyHandler({})).open(url, timeout=30) as answer:
        return answer.read(), answer.headers["Content-Disposition"]


def refused(url: str) -> int:
    with pytest.raises(HTTPError) as caught:
        get(url)
    with caught.value as answer:
        return answer.code


def refused_at_last(url: str) -> int:
    """Ask until the link has expired: servers count in seconds, by their own clocks."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            get(url)
        except HTTPError as error:
            with error as answer:
                return answer.code
        time.sleep(0.1)
    raise TimeoutError("the link does not expire")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["s3", "azure"])
def backend(request: pytest.FixtureRequest, engine: str) -> StorageBackend:
    return backend_of(request.getfixturevalue(f"{request.param}_storage"), engine=engine)


def test_anybody_gets_one_object_under_its_name_until_the_link_expires(
    backend: StorageBackend, new_key: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    key, other = new_key("a%20b%2F%C3%BC=.dat"), new_key("other.dat")
    for each in (key, other):
        backend.upload(each, io.BytesIO(each.encode()))
    with caplog.at_level(logging.DEBUG):
        short, url = backend.sign(key, 1, HEADERS), backend.sign(key, 600, HEADERS)
    signature = next(iter({"X-Amz-Signature", "sig"} & parse_qs(urlsplit(url).query).keys()))
    assert parse_qs(urlsplit(url).query)[signature][0] not in unquote(caplog.text)
    content, disposition = get(url)
    assert content == key.encode()
    assert disposition.startswith('attachment; filename="a _b__ K_ln 50')
    assert unquote(disposition.rpartition("''")[2]) == NAME
    of_other = url.replace(quote(key, safe="/~"), quote(other, safe="/~"))
    assert of_other != url
    assert refused(of_other) == 403
    assert refused_at_last(short) == 403
    assert get(url)[0] == content


def test_link_to_what_is_not_there_is_made_and_finds_nothing(
    backend: StorageBackend, new_key: Callable[[str], str]
) -> None:
    assert refused(backend.sign(new_key("gone.dat"), 60)) == 404


@pytest.fixture
def new_key() -> Callable[[str], str]:
    moment = time.monotonic_ns()
    return lambda name: f"{PROJECT}/ephys/objects/Recording-raw/k{moment}-x/{name}"


@pytest.mark.parametrize(
    ("storage", "credentials", "advice"),
    [
        ("s3", {"anon": True}, "an anonymous caller has no key"),
        ("azure", {"account_name": "lab", "sas_token": "sv=1&sig=aGVsbG8"}, "give account_key"),
        ("azure", {"account_name": "lab", "anon": True}, "give account_key"),
        ("gcs", {"token": "anon"}, "give its JSON key as token"),
        ("gcs", {"token": "ya29.an-access-token"}, "give its JSON key as token"),
    ],
)
def test_who_cannot_sign_is_told_what_can(
    request: pytest.FixtureRequest, engine: str, storage: str, credentials: dict[str, Any], advice: str
) -> None:
    table = request.getfixturevalue(f"{storage}_storage")
    backend = backend_of(table, engine=engine, credentials=credentials)
    with pytest.raises(SigningError, match=advice) as caught:
        backend.sign(f"{PROJECT}/a/b.dat", 60)
    assert not any(str(secret) in str(caught.value) for secret in credentials.values() if len(str(secret)) > 5)
    memory = backend_of({"backend": "memory", "path": "/links"})
    with pytest.raises(SigningError, match="protocol 'memory' make no links"):
        memory.sign(f"{PROJECT}/a/b.dat", 60)


def test_google_link_is_signed_with_the_service_accounts_key(gcs_storage: dict[str, Any], engine: str) -> None:
    """The emulator serves it, but asks for no proof: who signed is proved here."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    account = {
        "type": "service_account",
        "client_email": "lab@example.iam.gserviceaccount.com",
        "private_key": private.private_bytes(*form).decode(),
        "token_uri": "http://localhost:9/token",
        "project_id": "lab",
    }
    key, content = f"{PROJECT}/ephys/objects/R-raw/k{time.monotonic_ns()}/a%20b%C3%BC.dat", b"spikes"
    backend_of(gcs_storage).upload(key, io.BytesIO(content))
    url = backend_of(gcs_storage, engine=engine, credentials={"token": json.dumps(account)}).sign(key, 900, HEADERS)
    parts, query = urlsplit(url), {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
    assert unquote(parts.path) == f"/{gcs_storage['bucket']}/{key}"
    assert (query["X-Goog-Expires"], query["X-Goog-SignedHeaders"]) == ("900", "host")
    assert query["response-content-disposition"] == HEADERS.fields()["Content-Disposition"]
    assert query["X-Goog-Credential"].startswith("lab@example.iam.gserviceaccount.com/")
    text, _, signature = parts.query.rpartition("&X-Goog-Signature=")
    request = "\n".join(["GET", parts.path, text, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"])
    digest = hashes.Hash(hashes.SHA256())
    digest.update(request.encode())
    scope = query["X-Goog-Credential"].partition("/")[2]
    signed = "\n".join(["GOOG4-RSA-SHA256", query["X-Goog-Date"], scope, digest.finalize().hex()])
    private.public_key().verify(bytes.fromhex(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert get(url)[0] == content


@pytest.mark.parametrize("token", [None, "a/token+with=signs"])
def test_signature_is_the_one_of_botocore(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://s3.eu-west-1.amazonaws.com/lab/" + quote("a b/ü%C3~+.dat", safe="/~")
    query = {"response-content-disposition": HEADERS.fields()["Content-Disposition"]}
    query |= {"X-Amz-Security-Token": token} if token else {}
    request = AWSRequest("GET", address, params={k: v for k, v in query.items() if not k.startswith("X-Amz")})
    S3SigV4QueryAuth(Credentials("KEY", "secret", token), "s3", "eu-west-1", expires=60).add_auth(request)
    theirs = parse_qs(urlsplit(request.url).query)
    moment = datetime.strptime(theirs["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    ours = query_signature.aws_signer("KEY", "secret", "eu-west-1").url(address, query, 60, moment)
    assert parse_qs(urlsplit(ours).query) == theirs

"""Presigned URLs in the way of AWS Signature Version 4, which Google's V4 follows: a request whose query is its proof.

The clients' own functions write what they sign into their logs, or sign in a way that newer regions refuse.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html,
https://cloud.google.com/storage/docs/authentication/canonical-requests
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and how.

    Parameters
    ----------
    prefix : str
        How the parameters of the query begin: ``X-Amz`` or ``X-Goog``.
    algorithm : str
        What the service calls it.
    identity : str
        Who signs: an access key's id, or an account.
    scope : str
        Where it counts, after the day: ``eu-west-1/s3/aws4_request``.
    sign : callable
        Makes the signature, in hexadecimal digits, of a text and the day of its scope.
    """

    prefix: str
    algorithm: str
    identity: str
    scope: str
    sign: Callable[[bytes, str], str]

    def url(self, address: str, query: dict[str, str], seconds: int, moment: datetime) -> str:
        """Return a URL by which anybody may get what is at *address* (quoted, without a query), so long from *moment*.

        *query* is what the store is asked for besides.
        """
        parts, time = urlsplit(address), moment.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{time[:8]}/{self.scope}"
        told = {
            "Algorithm": self.algorithm,
            "Credential": f"{self.identity}/{scope}",
            "Date": time,
            "Expires": str(seconds),
            "SignedHeaders": "host",
        }
        asked = query | {f"{self.prefix}-{name}": value for name, value in told.items()}
        text = "&".join(
            sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in asked.items())
        )
        request = f"GET\n{parts.path}\n{text}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = self.sign(f"{self.algorithm}\n{time}\n{scope}\n{digest}".encode(), time[:8])
        return f"{address}?{text}&{self.prefix}-Signature={signature}"


def aws_signer(access_key: str, secret: str, region: str) -> Signer:
    """Return who signs for S3 with a secret key."""
    scope = f"{region}/s3/aws4_request"

    def sign(text: bytes, day: str) -> str:
        key = reduce(_keyed, [day, *scope.split("/")], f"AWS4{secret}".encode())
        return hmac.new(key, text, hashlib.sha256).hexdigest()

    return Signer("X-Amz", "AWS4-HMAC-SHA256", access_key, scope, sign)


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def google_signer(account: str, sign_bytes: Callable[[bytes], bytes]) -> Signer:
    """Return who signs for Google Cloud Storage with a service account's private key."""
    return Signer(
        "X-Goog", "GOOG4-RSA-SHA256", account, "auto/storage/goog4_request", lambda text, _day: sign_bytes(text).hex()
    )

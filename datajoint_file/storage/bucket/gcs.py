"""Google Cloud Storage backend through fsspec: what it does otherwise than other object stores."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import ConfigurationError, SigningError, StorageError
from datajoint_file.storage.backend import ContentHeaders, ObjectStat
from datajoint_file.storage.bucket.backend import NO_CONTENT, NO_LINK, Marker, Page, foreign_listing
from datajoint_file.storage.bucket.fsspec_upload import FileUploads
from datajoint_file.storage.bucket.query_signature import google_signer
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import moment

_METHODS = frozenset({"google_default", "cache", "anon", "browser", "cloud"})
"""Names of gcsfs for ways to find credentials."""


class GCSBackend(FileUploads):
    """Objects of a bucket of Google Cloud Storage."""

    protocol = "gs"

    @staticmethod
    def filesystem_class(protocol: str) -> Any:
        """Return gcsfs's plain class.

        The one that gcsfs itself would choose asks for the kind of each bucket over gRPC: it needs one more permission,
        waits a minute where nobody answers (private endpoints), and does not survive a fork.
        """
        return importlib.import_module("gcsfs.core").GCSFileSystem

    @staticmethod
    def arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
        """Return what gcsfs is made with.

        Without a token it tries one source after the other and ends as an anonymous caller: it is asked for the
        machine's own.
        """
        arguments = {**credentials, "token": _token(storage, credentials.get("token", "google_default"))}
        if storage.endpoint_url:
            arguments["endpoint_url"] = storage.endpoint_url
        return arguments

    @staticmethod
    def addresses(storage: StorageSettings, credentials: dict[str, Any], options: dict[str, Any]) -> Iterator[str]:
        """Give what may be the store's address."""
        yield storage.endpoint_url or ""
        yield str(options.get("endpoint_url") or "")
        yield os.environ.get("STORAGE_EMULATOR_HOST", "")

    @staticmethod
    def _told(headers: ContentHeaders) -> dict[str, Any]:
        fields = headers.fields()
        media_type = {"content_type": fields["Content-Type"]} if "Content-Type" in fields else {}
        return {**media_type, "fixed_key_metadata": {"content_disposition": fields.get("Content-Disposition")}}

    @staticmethod
    def _details(filesystem: Any, path: str) -> Coroutine[Any, Any, dict[str, Any]]:
        """Ask for the object alone; gcsfs would ask for a listing beside it, in case that it is a directory."""
        asked: Coroutine[Any, Any, dict[str, Any]] = filesystem._get_object(path)
        return asked

    def _link(self, name: str, seconds: int, fields: dict[str, str]) -> str:
        filesystem = self._filesystem()
        credentials = filesystem.credentials.credentials
        if not isinstance(credentials, importlib.import_module("google.auth.credentials").Signing):
            raise SigningError(
                f"{name}: links of Google Cloud Storage are signed with a service account's private key, which these "
                f"credentials have not: give its JSON key as token in [{self.table}.credentials]; {NO_LINK}"
            )
        query = {f"response-{field.lower()}": value for field, value in fields.items()}
        url = f"{filesystem._location.rstrip('/')}/{quote(f'{self.bucket}/{name}', safe='/~')}"
        signer = google_signer(credentials.signer_email, credentials.sign_bytes)
        return signer.url(url, query, seconds, datetime.now(timezone.utc))

    def _copy(self, source: str, size: int, key: str, headers: ContentHeaders, *, is_new: bool) -> None:
        """Ask until it is done, as gcsfs does, which passes no condition on."""
        filesystem, places = self._filesystem(), [*source.split("/", 1), *self._path(key).split("/", 1)]
        asked: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "json_out": True}
        asked |= {"ifGenerationMatch": "0"} if is_new else {}
        reply: dict[str, Any] = {}
        while not reply.get("done"):
            asked["rewriteToken"] = reply.get("rewriteToken")
            reply = run(filesystem, filesystem._call("POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", *places, **asked))
            if not (reply.get("done") or reply.get("rewriteToken")):
                raise StorageError(f"{key}: the copy is not complete: the store does not say how to go on").of(key)

    async def _delete(self, filesystem: Any, bucket: str, name: str) -> bool:
        status, *_ = await filesystem._request("DELETE", "b/{}/o/{}", bucket, name)
        return bool(status == NO_CONTENT)

    async def _object_page(self, filesystem: Any, below: str, marker: Marker) -> Page[ObjectStat]:
        fields = "kind,nextPageToken,items(name,size,updated)"
        query = {"prefix": below or None, "maxResults": self.page_size, "pageToken": marker, "fields": fields}
        reply = await filesystem._call("GET", "b/{}/o", self.bucket, json_out=True, **query)
        if not isinstance(reply, dict) or reply.get("kind") != "storage#objects":
            raise foreign_listing()
        objects = [ObjectStat(o["name"], int(o["size"]), moment(o.get("updated"))) for o in reply.get("items", ())]
        return objects, reply.get("nextPageToken") or None


def _token(storage: StorageSettings, token: Any) -> Any:
    """Return *token* so that gcsfs takes it for what it is.

    It would send any other text to Google in a URL, to ask what it is: the key of a service account too.
    """
    if not isinstance(token, str) or token in _METHODS:
        return token
    if not token.lstrip().startswith("{"):
        is_file = os.path.isfile(os.path.expanduser(token))  # noqa: PTH111, PTH113 - no error, which would quote it
        return token if is_file else importlib.import_module("google.oauth2.credentials").Credentials(token)
    with suppress(ValueError):  # whose context, the token, is not to be that of what is raised
        return json.loads(token)
    problem = "credentials.token = ***: it begins like the JSON key of a service account, and is no JSON"
    raise ConfigurationError(f"{storage.where} {problem}")

"""Google's XML interface in front of a server that has only the JSON one: what obstore speaks to Google Cloud Storage.

As far as backends use it, after Google's reference: objects whole and in ranges, conditional writes, multipart uploads.
Everything else is passed on. A process of its own: ``python -m tests.contract.xml_front ADDRESS`` prints where it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

_JSON_PATHS = ("/storage/", "/upload/", "/b/", "/download/")
_COPY = re.compile(r"/rewriteTo/b/(?P<bucket>[^/]+)/o/(?P<name>[^/?]+)")
_PASSED_ON = ("Range", "Content-Type", "Content-Range", "X-Goog-Upload-Protocol", "X-Upload-Content-Type")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def _refusal(status: int, code: str) -> Answer:
    xml = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status, xml.encode(), {"Content-Type": "application/xml"})


class XMLInterface:
    """What is answered to whom.

    Parameters
    ----------
    address : str
        The server with the JSON interface.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._headers: dict[str, Any] = {}
        self._writing = threading.Lock()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        if target.startswith(_JSON_PATHS):
            if "ifGenerationMatch=0" in target and (copy := _COPY.search(target)):
                return self._copy(copy, target, body)
            return self._ask(method, target, body, {name: headers[name] for name in _PASSED_ON if headers[name]})
        parts = urlsplit(target)
        bucket, name = (unquote(part) for part in parts.path[1:].split("/", 1))
        if self._ask("GET", f"/storage/v1/b/{bucket}").status == 404:
            return _refusal(404, "NoSuchBucket")
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if "uploads" in query:
            return self._begin(headers)
        if "uploadId" in query:
            return self._continue(method, bucket, name, query, body)
        if method == "PUT":
            return self._write(bucket, name, body, headers, headers["x-goog-if-generation-match"])
        return self._read(method, bucket, name, headers["Range"])

    def _copy(self, copy: re.Match[str], target: str, body: bytes) -> Answer:
        with self._writing:  # fake-gcs-server does not look at this condition either
            if self._ask("GET", f"/storage/v1/b/{copy['bucket']}/o/{copy['name']}").status == 200:
                return _refusal(412, "PreconditionFailed")
            return self._ask("POST", target, body, {"Content-Type": "application/json"})

    def _begin(self, headers: Any) -> Answer:
        upload = uuid.uuid4().hex
        self._uploads[upload] = {}
        self._headers[upload] = headers
        body = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        return Answer(200, body.encode())

    def _continue(self, method: str, bucket: str, name: str, query: dict[str, str], body: bytes) -> Answer:
        parts = self._uploads.get(query["uploadId"])
        if parts is None:
            return _refusal(404, "NoSuchUpload")
        if method == "PUT":
            parts[int(query["partNumber"])] = body
            return Answer(200, headers={"ETag": f'"{query["partNumber"]}"'})
        del self._uploads[query["uploadId"]]
        if method == "DELETE":
            return Answer(204)
        numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        content = b"".join(parts[number] for number in numbers)
        written = self._write(bucket, name, content, self._headers[query["uploadId"]], None)
        xml = b'<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>'
        return Answer(200, xml) if written.status == 200 else written

    def _write(self, bucket: str, name: str, content: bytes, headers: Any, generation: str | None) -> Answer:
        told = {"contentType": headers["Content-Type"], "contentDisposition": headers["Content-Disposition"]}
        about = json.dumps({"name": name, **{field: value for field, value in told.items() if value}}).encode()
        mark = uuid.uuid4().hex.encode()
        media_type = (told["contentType"] or "application/octet-stream").encode()
        parts = b"--%b\r\nContent-Type: application/json\r\n\r\n%b\r\n--%b\r\nContent-Type: %b\r\n\r\n%b\r\n--%b--"
        body = parts % (mark, about, mark, media_type, content, mark)
        kind = {"Content-Type": f"multipart/related; boundary={mark.decode()}"}
        with self._writing:  # fake-gcs-server does not look at the condition of such an upload
            if generation == "0" and self._read("HEAD", bucket, name, None).status == 200:
                return _refusal(412, "PreconditionFailed")
            reply = self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart", body, kind)
        return Answer(reply.status, headers={"ETag": '"1"', "x-goog-generation": "1"})

    def _read(self, method: str, bucket: str, name: str, range_: str | None) -> Answer:
        path = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        found = self._ask("GET", path)
        if found.status == 404:
            return _refusal(404, "NoSuchKey")
        about = json.loads(found.body)
        modified = format_datetime(datetime.fromisoformat(about["updated"].replace("Z", "+00:00")), usegmt=False)
        headers = {"Last-Modified": modified.replace("+0000", "GMT"), "ETag": '"1"'}
        if method == "HEAD":
            return Answer(200, headers={**headers, "Content-Length": about["size"]})
        reply = self._ask("GET", f"{path}?alt=media", headers={"Range": range_} if range_ else {})
        return Answer(reply.status, reply.body, {**reply.headers, **headers})

    def _ask(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        request = Request(self._address + target, body or None, headers or {}, method=method)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=20) as response:
                return Answer(response.status, response.read(), _kept(response.headers))
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read(), _kept(error.headers))


def _kept(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in ("Content-Type", "Content-Range", "Location") if headers[name]}


@contextmanager
def xml_front(address: str) -> Iterator[str]:
    """Run the front of the JSON server at *address*, and give its own."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main(address: str) -> None:
    interface = XMLInterface(address)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = interface.answer(self.command, self.path, self.headers, body)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

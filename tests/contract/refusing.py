"""Servers that answer as they are told, in a store's own words: they refuse everything, or go by a script."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What a server says once."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Script:
    """What a server says, one request after the other; the last reply again and again."""

    replies: Sequence[Reply]
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def next(self, request: str) -> Reply:
        self.requests.append(request)
        return self.replies[min(len(self.requests), len(self.replies)) - 1]


@contextmanager
def refusing_server(status: int, body: bytes) -> Iterator[str]:
    """Run a server that answers every request alike, and give its address."""
    with scripted_server(Reply(body, status)) as script:
        yield script.address


@contextmanager
def scripted_server(*replies: Reply) -> Iterator[Script]:
    """Run a server that gives *replies* in turn, and give the script with what was asked."""
    script = Script(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = script.next(f"{self.command} {self.path}")
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            for header in reply.headers:
                self.send_header(*header)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    script.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Roots of the web: a row reaches nothing beside its root, whatever its names are to a URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.pipeline.pipeline import Pipeline


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """Give the address of a server that has every file, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else b"abc")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.mark.parametrize("key", ["a%20b.dat", "%252e%252e/secret.dat", "a%3Fx=1", "a%23b"])
def test_row_stays_below_a_root_of_the_web(asked: tuple[str, list[str]], key: str) -> None:
    address, paths = asked
    roots = {"web": {"backend": "http", "path": f"{address}/base"}}
    storage = {"backend": "memory", "path": "/lab"}
    pipeline = Pipeline(parse_settings({"project": {"name": "lab"}, "storage": storage, "roots": roots}, "the test"))
    with pipeline.stores.of_root("web/x").open(f"web/{key}") as file:
        assert file.read() == b"abc"
    assert set(paths) == {f"/base/{key}"}

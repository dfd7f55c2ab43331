"""A proxy before a store of HTTP that loses, replaces and damages answers; the store has done what it was asked for.

Changed bytes on the way are the subject of `proxy`.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal[
    "lost", "500", "503", "416", "empty", "foreign", "foreign xml", "foreign json", "error in 200", "short", "cut",
    "again",
]  # fmt: skip
"""What becomes of an answer: it is lost, is an error, is empty or somebody else's with status 200, ends in its middle
(and says so or not), or is that to the request before."""

_ERROR = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>try again</Message></Error>"
_BODIES = {
    "empty": b"",
    "foreign": b"<html>welcome</html>",
    "foreign xml": b"<?xml version='1.0' encoding='UTF-8'?><Greeting><Name>welcome</Name></Greeting>",
    "foreign json": b'{"greeting": "welcome"}',
    "error in 200": _ERROR % b"InternalError",
}
_STATUS = {"500": (500, b"InternalError"), "503": (503, b"SlowDown"), "416": (416, b"InvalidRange")}
_OF_ONE_CONNECTION = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(slots=True)
class Rule:
    """What is to happen to the next *times* requests that *matches* a line such as ``PUT /bucket/key?query``."""

    fault: Fault
    matches: re.Pattern[str]
    times: int = 1
    is_done: bool = True  # else the store never hears of it
    after: int = 0  # so many pass before
    hits: int = 0


class LyingProxy:
    """Passes requests on to *port*, and does to the answers what its rules say.

    Parameters
    ----------
    port : int
        Of the store, on this machine.
    """

    def __init__(self, port: int) -> None:
        self.store = port
        self.requests: list[str] = []
        self.rules: list[Rule] = []
        self._lock = threading.Lock()
        self._server = _Server(port, self._rule_for)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spoil(self, fault: Fault, matches: str, *, times: int = 1, is_done: bool = True, after: int = 0) -> Rule:
        """Do this to the next requests whose line matches, but the first *after*; return what counts them."""
        rule = Rule(fault, re.compile(matches), times, is_done, after)
        with self._lock:
            self.rules = [rule]
            self.requests = []
        return rule

    def then(self, fault: Fault, matches: str, *, times: int = 1) -> Rule:
        """Do this when the rules before are used up."""
        rule = Rule(fault, re.compile(matches), times)
        with self._lock:
            self.rules.append(rule)
        return rule

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _rule_for(self, request: str) -> Rule | None:
        with self._lock:
            self.requests.append(request)
            for rule in self.rules:
                if rule.hits < rule.times and rule.matches.search(request):
                    if rule.after > 0:
                        rule.after -= 1
                        return None
                    rule.hits += 1
                    return rule
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up in the middle."""

    def __init__(self, store: int, rule_for: Callable[[str], Rule | None]) -> None:
        self.store = store
        self.rule_for = rule_for
        self.said: _Answer | None = None
        super().__init__(("127.0.0.1", 0), _Handler)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    content: bytes
    stop: int | None = None  # the content is cut there


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection. The server has the port of the store, and the rules."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self.server.rule_for(f"{self.command} {self.path}")
        answer = self._asked(body) if rule is None or rule.is_done else _Answer(200, [], b"")
        if rule is None:
            self.server.said = answer
            self._say(answer)
        else:
            self._say_instead(rule.fault, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - as the base class calls them

    def _say_instead(self, fault: Fault, answer: _Answer) -> None:
        if fault in _STATUS:
            status, code = _STATUS[fault]
            self._say(_Answer(status, [], b"" if self.command == "HEAD" else _ERROR % code))
        elif fault in _BODIES:
            self._say(_Answer(200, [], _BODIES[fault]))
        elif fault == "cut":
            self._say(replace(answer, content=answer.content[: len(answer.content) // 2]))
        elif fault == "again":
            self._say(self.server.said or answer)
        else:
            if fault == "short":
                self._say(_Answer(answer.status, answer.headers, answer.content, len(answer.content) // 2))
            self._hang_up()

    def _asked(self, body: bytes) -> _Answer:
        store = http.client.HTTPConnection("127.0.0.1", self.server.store, timeout=60)
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_ONE_CONNECTION | {"expect"}:
                store.putheader(name, value)
        if body or self.command in ("PUT", "POST"):
            store.putheader("Content-Length", str(len(body)))
        store.endheaders(body)
        found = store.getresponse()
        headers = [(name, value) for name, value in found.getheaders() if name.lower() not in _OF_ONE_CONNECTION]
        if self.command == "HEAD":
            headers.append(("Content-Length", found.getheader("Content-Length") or "0"))
        content = found.read()
        store.close()
        return _Answer(found.status, headers, content)

    def _say(self, answer: _Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in answer.headers):
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content[: answer.stop])
        self.wfile.flush()

    def _hang_up(self) -> None:
        """End the connection by a reset, as a router does that has forgotten it."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def finish(self) -> None:
        with suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

"""A wire between a client and a store that counts what passes: requests one way, bytes the other."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) /\S* HTTP/1\.1\r\n")


class Wire:
    """Passes every byte on, unchanged: signatures cover the address that the client sees.

    Parameters
    ----------
    address : str
        Where the store is, as a URL.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._store = (parts.hostname or "", parts.port or 80)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[str] = []
        self.received = 0

    def clear(self) -> None:
        """Count from nothing again."""
        self.requests, self.received = [], 0

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            store = socket.create_connection(self._store)
            threading.Thread(target=self._pass_on, args=(client, store, self._note_requests), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(store, client, self._note_bytes), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
        with suppress(OSError):
            while content := source.recv(2**18):
                note(content)
                target.sendall(content)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _note_requests(self, content: bytes) -> None:
        with self._lock:
            self.requests += [found.decode() for found in _REQUEST.findall(content)]

    def _note_bytes(self, content: bytes) -> None:
        with self._lock:
            self.received += len(content)


@contextmanager
def wire_to(address: str) -> Iterator[Wire]:
    """Lay a wire to the store at *address*."""
    wire = Wire(address)
    thread = threading.Thread(target=wire.serve, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.close()
        thread.join()

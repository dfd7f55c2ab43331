"""A server that never answers: whoever asks it is interrupted in the middle of a request."""

from __future__ import annotations

import os
import signal
import socket
import threading

PATIENCE_SECONDS = 30


class StalledServer:
    """Takes a request, tells so, and never answers."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.was_left = threading.Event()

    def serve_one(self) -> None:
        """Interrupt this process when a request is there; then wait until the client gives up."""
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.recv(2**16)
            os.kill(os.getpid(), signal.SIGINT)
            try:
                while connection.recv(2**16):
                    pass
            except ConnectionError:
                pass
        self.was_left.set()

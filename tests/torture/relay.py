"""A TCP proxy before a database server that can lose replies and go away.

It knows nothing of the protocols that pass through it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)
_CHUNK = 2**16


class Relay:
    """Forwards each connection to a server, a thread each.

    Parameters
    ----------
    host, port
        Where the server is.

    Attributes
    ----------
    port : int
        Where the relay is.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._armed: set[int] = set()
        self._is_open = True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="relay").start()

    def lose_reply(self, client_port: int) -> None:
        """Swallow what the server answers to the next message of the connection from *client_port*, then reset it."""
        self._armed.add(client_port)

    def refuse(self, *, refuse: bool) -> None:
        """Refuse new connections from now on, or accept them again."""
        self._is_open = not refuse

    def close(self) -> None:
        """Accept no more connections; those that are open go on until they end."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, (_, port) = self._listener.accept()
                if not self._is_open:
                    _reset(client)
                    continue
                threading.Thread(target=self._serve, args=(client, port), daemon=True, name="relayed").start()

    def _serve(self, client: socket.socket, port: int) -> None:
        try:
            server = socket.create_connection(self._server)
        except OSError:
            _reset(client)
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with server, suppress(OSError):
            while self._forward(client, server, port):
                pass
        _reset(client)

    def _forward(self, client: socket.socket, server: socket.socket, port: int) -> bool:
        """Pass on what has come, either way. False: an end has hung up, or the reply was to be lost."""
        ready, _, _ = select.select([client, server], [], [])
        for source, target in ((client, server), (server, client)):
            if source not in ready:
                continue
            content = source.recv(_CHUNK)
            if not content or (source is server and port in self._armed):
                self._armed.discard(port)
                return False
            target.sendall(content)
        return True


def _reset(connection: socket.socket) -> None:
    """Close a connection so that its peer gets an error and not an end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()

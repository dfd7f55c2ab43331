"""TCP proxy that adds latency: every byte arrives half a round trip later, each way; a new connection costs one more.

Bandwidth is not limited, and connections do not wait for each other. The standard library is all it needs: it is
started by its path, as ``proxy.py PORT HOST SERVER_PORT ROUND_TRIP_SECONDS``.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from functools import partial

_HOST = "127.0.0.1"
_BACKLOG = 1024
_WAITING_BYTES = 2**20
"""So much may wait for a receiver that is slow before its sender is made to wait."""


class _End(asyncio.Protocol):
    """One end of a connection: what comes in here goes out at the other, later.

    Parameters
    ----------
    delay_seconds : float
        How much later.
    opens_at : float
        By the loop's clock; as if nothing could be sent before.
    """

    def __init__(self, delay_seconds: float, opens_at: float) -> None:
        self._delay_seconds = delay_seconds
        self._opens_at = opens_at
        self._loop = asyncio.get_running_loop()
        self._under_way = deque[bytes | None]()
        self.transport: asyncio.Transport
        self.other: _End

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type
        transport.set_write_buffer_limits(_WAITING_BYTES)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._send(None)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def _send(self, data: bytes | None) -> None:
        self._under_way.append(data)
        self._loop.call_at(max(self._loop.time(), self._opens_at) + self._delay_seconds, self._arrive)

    def _arrive(self) -> None:
        data = self._under_way.popleft()  # timers of one moment may come in any order, bytes may not
        if data is None:
            self.other.transport.close()
        else:
            self.other.transport.write(data)


class _Accepted(_End):
    """The client's end, which opens the server's."""

    def __init__(self, server: tuple[str, int], round_trip_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(round_trip_seconds / 2, loop.time() + round_trip_seconds)
        self._server = server
        self._opening: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            _, self.other = await self._loop.create_connection(
                lambda: _End(self._delay_seconds, self._opens_at), *self._server
            )
        except OSError:
            self.transport.abort()
            return
        self.other.other = self
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "other"):
            super().connection_lost(exc)


async def _serve(port: int, server: tuple[str, int], round_trip_seconds: float) -> None:
    accept = partial(_Accepted, server, round_trip_seconds)
    listening = await asyncio.get_running_loop().create_server(accept, _HOST, port, backlog=_BACKLOG)
    await listening.serve_forever()


if __name__ == "__main__":
    _port, _host, _server_port, _seconds = sys.argv[1:]
    asyncio.run(_serve(int(_port), (_host, int(_server_port)), float(_seconds)))

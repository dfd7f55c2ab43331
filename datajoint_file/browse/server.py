"""Web server of the pages: uvicorn on the loopback interface, one process, until Ctrl-C.

The secret of its address is in no argument list, which any user of the machine could read: a browser is given the path
of a file that only its user can read, and that sends it on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from datajoint_file.browse.archive import Archive
from datajoint_file.browse.guard import HOST, Guard
from datajoint_file.browse.pages import application

_ENDING_SECONDS = 2
_SECONDS_TO_ASK = 10


class _Protocol(H11Protocol):
    """Closes a connection on which nothing has been asked for a while.

    Any user of the machine can open connections, and without this keep them, until the process can open no file.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        self.loop.call_later(_SECONDS_TO_ASK, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if getattr(self, "cycle", None) is None:  # its type says that there is always one
            self.transport.close()


def serve(connect: Callable[[], Any], *, port: int = 0, opens: bool = True, say: Callable[[str], None]) -> None:
    """Serve the pages of what a user of the database sees, until the process is interrupted.

    Parameters
    ----------
    connect : callable
        Opens a connection to the database.
    port : int
        Where to listen, on the loopback interface; at a free port if it is 0.
    opens : bool
        Open the browser.
    say : callable
        Is given the address, which has the secret, once the server listens.

    Raises
    ------
    OSError
        If the port is not free.
    """
    archive = Archive(connect)
    with contextlib.closing(archive), socket.create_server((HOST, port)) as listening, contextlib.ExitStack() as stack:
        guard = Guard(listening.getsockname()[1])
        say(guard.address())
        if opens:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="datajoint-file-"))
            _open(_door(Path(directory), guard.address_for_once()))
        server_of(guard.around(application(archive))).run(sockets=[listening])


def server_of(app: ASGIApp) -> uvicorn.Server:
    """Return a server that says nothing: addresses of pages have keys in them, and the first one the secret."""
    quiet: dict[str, Any] = {"log_config": None, "log_level": "critical", "access_log": False}
    plain: dict[str, Any] = {"server_header": False, "proxy_headers": False}
    kind: dict[str, Any] = {"http": _Protocol, "ws": "none", "loop": "asyncio", "lifespan": "off"}
    return uvicorn.Server(uvicorn.Config(app, **quiet, **plain, **kind, timeout_graceful_shutdown=_ENDING_SECONDS))


def _door(directory: Path, address: str) -> Path:
    """Write the page that sends a browser on to *address*, in a directory that only this user can look into."""
    door = directory / "open.html"
    door.write_text(f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={address}">')
    door.chmod(0o600)
    return door


def _open(page: Path) -> None:
    """Open the browser beside the server, for which some programs would wait."""
    threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()

"""Granian's embedded server on listening sockets that we open ourselves.

Opening them here gives a clear error when an address is in use: Granian alone would share the port, through
SO_REUSEPORT, with whatever listens there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from granian._granian import SocketHolder
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp

from gateway.listening import ListeningSockets
from gateway.settings import Listener

log = logging.getLogger(__name__)

STOP_TIMEOUT = 2.0  # seconds that requests in progress have to end
HEADER_TIMEOUT_MS = 30_000


class ListeningServer(Server):
    """One Granian server on a listening socket, which stays ours: it serves a duplicate."""

    def __init__(self, app: ASGIApp, descriptor: int, listener: Listener) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            websockets=False,
            backlog=listener.backlog,
            log_enabled=False,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
        )
        self._listener = listener
        # Granian closes the descriptor when it stops.
        self._descriptor = socket.dup(descriptor)

    def interrupt(self) -> None:
        """Stop accepting; serve() returns when the requests in progress have ended."""
        self.stop()  # type: ignore[no-untyped-call]

    def _init_shared_socket(self) -> None:
        self._ssp = None
        held: Any = SocketHolder  # its type stub leaves the constructor out
        self._shd = held(self._descriptor, bool(self._listener.path), self._listener.backlog)


class Servers:
    """All servers of the control process."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._stopping = False
        self._sockets: list[ListeningSockets] = []
        self._running: list[tuple[ListeningServer, asyncio.Task[Any]]] = []

    def start(self, app: ASGIApp, listener: Listener) -> None:
        """Serve `app` on an address, in the running event loop. Raises gateway.listening.ListenError."""
        sockets = ListeningSockets.open([listener], 1, private=True)
        ((descriptor, _, _),) = sockets.for_worker(0, 1, {})
        server = ListeningServer(app, descriptor, listener)
        task = asyncio.get_running_loop().create_task(server.serve(), name=f"the server on {listener}")
        task.add_done_callback(self._ended)
        self._sockets.append(sockets)
        self._running.append((server, task))

    async def stop(self) -> bool:
        """Stop accepting and let requests in progress end. False when some did not end in time."""
        self._stopping = True
        for server, _ in self._running:
            server.interrupt()
        for sockets in self._sockets:
            sockets.close()
        tasks = [task for _, task in self._running]
        if not tasks:
            return True
        _, unfinished = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
        return not unfinished

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self._stopping or task.cancelled():
            return
        # Without its listeners a control process is of no use; the master starts another one.
        self._on_failure(f"{task.get_name()} ended: {task.exception() or 'without an error'}")

"""Granian's embedded server on listening sockets that we open ourselves.

Opening them here gives a clear error when an address is in use: Granian alone would share the port, through
SO_REUSEPORT, with whatever listens there. And a server can be replaced on its socket, for a certificate that
was renewed.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp

from gateway.listening import ListeningSockets
from gateway.settings import Listener

from .tls import TlsFiles

log = logging.getLogger(__name__)

STOP_TIMEOUT = 2.0  # seconds that requests in progress have to end
HEADER_TIMEOUT_MS = 10_000
SILENCE = 10
"""seconds that the kernel keeps a new connection to itself while nothing comes over it"""
MOST_CONNECTIONS = 4096
"""connections of one listener, idle ones too: the next ones wait until one of these ends"""
LONGEST_HEAD = 64 * 1024
"""bytes of a request's head, more is answered 431"""


class ListeningServer(Server):
    """One Granian server on a listening socket, which stays ours: it serves a duplicate."""

    def __init__(
        self, app: ASGIApp, descriptor: int, listener: Listener, tls: TlsFiles | None = None
    ) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            websockets=False,
            backlog=listener.backlog,
            backpressure=most_connections(),
            log_enabled=False,
            http=HTTPModes.auto if listener.http2 else HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=LONGEST_HEAD),
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_ca=tls.client_ca if tls else None,
            ssl_client_verify=bool(tls and tls.client_ca),
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


def most_connections() -> int:
    """Connections of one listener: they must leave descriptors for everything else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if limit < 0 else max(16, min(MOST_CONNECTIONS, limit // 8))


def hold_silent_connections(descriptor: int) -> None:
    """Have a listening TCP socket give away connections only when a first byte has come."""
    with socket.socket(fileno=socket.dup(descriptor)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENCE)


@dataclass
class Running:
    """A server, with what another one in its place needs."""

    app: ASGIApp
    listener: Listener
    descriptor: int
    tls: TlsFiles | None
    server: ListeningServer
    task: asyncio.Task[Any]


class Servers:
    """All servers of the control process."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._stopping = False
        self._sockets: list[ListeningSockets] = []
        self._running: list[Running] = []
        self._replaced: set[asyncio.Task[Any]] = set()
        """servers that only end the requests they have"""

    def start(self, app: ASGIApp, listener: Listener, tls: TlsFiles | None = None) -> None:
        """Serve `app` on an address, in the running event loop; `tls` is needed when it has 'ssl'.

        Raises gateway.listening.ListenError.
        """
        sockets = ListeningSockets.open([listener], 1, private=True)
        ((descriptor, _, _),) = sockets.for_worker(0, 1, {})
        if not listener.path:
            hold_silent_connections(descriptor)
        self._sockets.append(sockets)
        self._running.append(self._serve(app, listener, descriptor, tls if listener.ssl else None))

    def renew(self, listeners: tuple[Listener, ...], tls: TlsFiles | None) -> None:
        """Have those of these listeners that have 'ssl' show other files, if they are others. New connections
        get them; requests in progress end as they began."""
        for place, running in enumerate(self._running):
            if running.tls is None or tls is None or running.listener not in listeners:
                continue
            if running.tls.digest == tls.digest:
                continue
            self._running[place] = self._serve(running.app, running.listener, running.descriptor, tls)
            self._replaced.add(running.task)
            running.task.add_done_callback(self._replaced.discard)
            running.server.interrupt()
            log.warning("%s shows the certificate in %s from now on", running.listener, tls.source)

    async def stop(self) -> bool:
        """Stop accepting and let requests in progress end. False when some did not end in time."""
        self._stopping = True
        for running in self._running:
            running.server.interrupt()
        for sockets in self._sockets:
            sockets.close()
        tasks = {running.task for running in self._running} | self._replaced
        if not tasks:
            return True
        _, unfinished = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
        return not unfinished

    def _serve(self, app: ASGIApp, listener: Listener, descriptor: int, tls: TlsFiles | None) -> Running:
        server = ListeningServer(app, descriptor, listener, tls)
        task = asyncio.get_running_loop().create_task(server.serve(), name=f"the server on {listener}")
        task.add_done_callback(self._ended)
        return Running(app, listener, descriptor, tls, server, task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self._stopping or task.cancelled() or task in self._replaced:
            return
        # Without its listeners a control process is of no use; the master starts another one.
        self._on_failure(f"{task.get_name()} ended: {task.exception() or 'without an error'}")

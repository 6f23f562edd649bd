"""Upstreams that do exactly what a test tells them, on a free port of 127.0.0.1."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable

Handler = Callable[["Connection"], None]


class Connection:
    """One accepted connection, with a small reader of HTTP/1.1 requests."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        self.number = number  # 0 for the first connection accepted
        self.buffer = b""
        sock.settimeout(20)

    def read_head(self) -> bytes:
        """The next request head including the empty line; b"" at the end of the stream."""
        while b"\r\n\r\n" not in self.buffer:
            piece = self.socket.recv(65536)
            if not piece:
                return b""
            self.buffer += piece
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read_exactly(self, length: int) -> bytes:
        while len(self.buffer) < length:
            piece = self.socket.recv(65536)
            if not piece:
                break
            self.buffer += piece
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def read_body(self, head: bytes) -> bytes:
        """The body that `head` announces, decoded."""
        if length := re.search(rb"(?im)^content-length:\s*(\d+)", head):
            return self.read_exactly(int(length[1]))
        if not re.search(rb"(?im)^transfer-encoding:\s*chunked", head):
            return b""
        body = b""
        while True:
            while b"\r\n" not in self.buffer:
                self.buffer += self.socket.recv(65536)
            size, _, self.buffer = self.buffer.partition(b"\r\n")
            piece = self.read_exactly(int(size, 16) + 2)
            if int(size, 16) == 0:
                return body
            body += piece[:-2]

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)


class Upstream:
    """Accepts connections and runs `handler` for each in a thread. Context manager.

    `requests` holds every (head, body) that `read_request` of any handler returned.
    """

    def __init__(self, handler: Handler | None = None) -> None:
        self.handler = handler or serve_echo
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self.listener.getsockname()[1]
        self.connections = 0
        self.open: list[socket.socket] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.closed = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock, self.connections)
            self.connections += 1
            self.open.append(sock)
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection: Connection) -> None:
        connection.upstream = self  # type: ignore[attr-defined]
        try:
            self.handler(connection)
        except OSError:
            pass
        finally:
            connection.socket.close()

    def close(self) -> None:
        self.closed = True
        # wakes accept(), which close() alone does not
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for sock in self.open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def response(body: bytes = b"ok", status: str = "200 OK", *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def serve_echo(connection: Connection) -> None:
    """Answer every request with its head and body as text/plain; keep the connection."""
    while head := connection.read_head():
        body = connection.read_body(head)
        connection.upstream.requests.append((head, body))  # type: ignore[attr-defined]
        connection.send(response(head + body, "200 OK", b"Content-Type: text/plain"))


def serve_raw(*answers: bytes, close: bool = False) -> Handler:
    """Answer the requests of a connection with these bytes in turn, the last one for ever; optionally close after each."""

    def handler(connection: Connection) -> None:
        turn = 0
        while head := connection.read_head():
            body = connection.read_body(head)
            connection.upstream.requests.append((head, body))  # type: ignore[attr-defined]
            connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1
            if close:
                return

    return handler

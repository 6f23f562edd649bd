"""Upstreams that do exactly what a test tells them, on a free port of 127.0.0.1."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable

Handler = Callable[["Connection"], None]


class Connection:
    """One accepted connection, with a small reader of HTTP/1.1 requests."""

    def __init__(self, sock: socket.socket, number: int, upstream: Upstream) -> None:
        self.socket = sock
        self.number = number  # 0 for the first connection accepted
        self.upstream = upstream
        self.buffer = b""
        sock.settimeout(60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_head(self) -> bytes:
        """The next request head including the empty line; b"" at the end of the stream."""
        while b"\r\n\r\n" not in self.buffer:
            piece = self.receive()
            if not piece:
                return b""
            self.buffer += piece
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.upstream.heads.append(head + b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def receive(self) -> bytes:
        piece = self.socket.recv(1 << 18)
        self.upstream.received += len(piece)
        return piece

    def read_request(self) -> tuple[bytes, bytes]:
        """The next head and its body, noted in the upstream's `requests`; b"" twice at the stream's end."""
        head = self.read_head()
        if not head:
            return b"", b""
        body = self.read_body(head)
        self.upstream.requests.append((head, body))
        return head, body

    def read_exactly(self, length: int) -> bytes:
        pieces = [self.buffer]
        missing = length - len(self.buffer)
        while missing > 0:
            piece = self.receive()
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        data, self.buffer = data[:length], data[length:]
        return data

    def read_body(self, head: bytes) -> bytes:
        """The body that `head` announces, decoded."""
        if length := re.search(rb"(?im)^content-length:\s*(\d+)", head):
            body = self.read_exactly(int(length[1]))
            if len(body) < int(length[1]):
                raise ConnectionError("the request was cut off")
            return body
        if not re.search(rb"(?im)^transfer-encoding:\s*chunked", head):
            return b""
        body = b""
        while True:
            while b"\r\n" not in self.buffer:
                piece = self.receive()
                if not piece:
                    raise ConnectionError("the request was cut off")
                self.buffer += piece
            size, _, self.buffer = self.buffer.partition(b"\r\n")
            piece = self.read_exactly(int(size, 16) + 2)
            if int(size, 16) == 0:
                return body
            body += piece[:-2]

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for_end(self) -> bytes:
        """Read until the gateway closes or resets; what came until then."""
        data = self.buffer
        try:
            while piece := self.receive():
                data += piece
        except ConnectionResetError:
            pass
        return data


class Upstream:
    """Accepts connections and runs `handler` for each in a thread. Context manager.

    `requests` holds every (head, body) that `read_request` of any handler returned, `heads` every head read.
    """

    def __init__(self, handler: Handler | None = None, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self.handler = handler or serve_echo
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.create_server((address, port), family=family, backlog=1024)
        self.port: int = self.listener.getsockname()[1]
        self.connections = 0
        self.open: list[socket.socket] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.heads: list[bytes] = []
        self.received = 0  # bytes
        self.failures: list[Exception] = []  # of handlers; close() raises the first
        self.closed = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock, self.connections, self)
            self.connections += 1
            self.open.append(sock)
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection: Connection) -> None:
        try:
            self.handler(connection)
        except OSError:
            pass
        except Exception as error:  # what a handler asserts is part of the test
            self.failures.append(error)
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

        if self.failures:
            raise self.failures[0]

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def response(body: bytes = b"ok", status: str = "200 OK", *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def serve_echo(connection: Connection) -> None:
    """Answer every request with its head and body as text/plain; keep the connection."""
    while (request := connection.read_request())[0]:
        head, body = request
        connection.send(response(head + body, "200 OK", b"Content-Type: text/plain"))


def serve_raw(*answers: bytes, close: bool = False) -> Handler:
    """Answer a connection's requests with these bytes in turn, the last one for ever; or close after each."""

    def handler(connection: Connection) -> None:
        turn = 0
        while connection.read_request()[0]:
            connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1
            if close:
                return

    return handler

"""Idle keep-alive connections: open, used once, then silent."""

from __future__ import annotations

import resource
import select
import socket

from bench.processes import BenchError


class IdleConnections:
    """Holds `count` connections to 127.0.0.1:`port`, each of which has had one answer. Close it when done."""

    def __init__(self, port: int, count: int, path: str) -> None:
        _allow_descriptors(count + 256)
        self.count = count
        self._sockets: list[socket.socket] = []
        try:
            for _ in range(count):
                self._sockets.append(_used_connection(port, path))
        except BaseException:
            self.close()
            raise

    def still_open(self) -> int:
        """How many the proxy has not closed."""
        poll = select.poll()
        for one in self._sockets:
            poll.register(one, select.POLLIN | select.POLLRDHUP)
        return self.count - len(poll.poll(0))  # readable without a request: closed, or an error answer

    def close(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets.clear()


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(f"{count} file descriptors are needed, {hard} are allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _used_connection(port: int, path: str) -> socket.socket:
    """A connection on which one request was answered with a body of known length."""
    one = socket.create_connection(("127.0.0.1", port), timeout=10)
    try:
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode())
        received = b""
        while True:
            head, found, body = received.partition(b"\r\n\r\n")
            if found:
                lengths = [
                    line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                if not lengths:
                    raise BenchError("an answer on an idle connection has no Content-Length")
                if len(body) >= int(lengths[0].split(b":")[1]):
                    return one
            more = one.recv(65536)
            if not more:
                raise BenchError("an idle connection was closed during its first request")
            received += more
    except BaseException:
        one.close()
        raise

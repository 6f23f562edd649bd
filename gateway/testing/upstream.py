"""An upstream for tests: it notes what it is asked, and answers what the test wants."""

from __future__ import annotations

import http.server
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

import msgspec


@dataclass(frozen=True)
class UpstreamRequest:
    """A request as it reached the upstream."""

    method: str
    target: str
    """path and query"""
    headers: Message
    """names in any case; `get_all` for repeated ones"""
    body: bytes


class TestUpstream:
    """Listens on a free port of 127.0.0.1. Context manager.

    `status`, `headers` and `body` are what it answers with; they may be changed at any time.
    """

    __test__ = False  # no class of tests, whatever its name says to pytest

    def __init__(self) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.body = b"ok"
        self.requests: deque[UpstreamRequest] = deque(maxlen=1000)
        """the last ones, oldest first"""
        self.count = 0
        """requests so far"""
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: upstream._serve(self)
                raise AttributeError(name)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def answer(self, status: int = 200, body: Any = b"ok", headers: Mapping[str, str] | None = None) -> None:
        """Answer so from now on; what is neither bytes nor a str is sent as JSON."""
        self.status = status
        self.headers = dict(headers or {})
        if isinstance(body, bytes):
            self.body = body
        elif isinstance(body, str):
            self.body = body.encode()
        else:
            self.body = msgspec.json.encode(body)
            self.headers = {"Content-Type": "application/json", **self.headers}

    def _serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        self.count += 1
        self.requests.append(UpstreamRequest(handler.command, handler.path, handler.headers, body))
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(self.body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(self.body)

    def __enter__(self) -> TestUpstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

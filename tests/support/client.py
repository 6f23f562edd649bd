"""A client that sees every byte of a connection: it sends what the test says, and checks what it reads
against the framing rules of HTTP/1.1 (RFC 9112).
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from types import TracebackType

from tests.support.gateway import PATIENCE

STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ([^\r\n]*)")
FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*")


class CutOffError(Exception):
    """The connection ended inside a message; `received` is what there was of its body."""

    def __init__(self, received: bytes = b"", *, reset: bool = False) -> None:
        super().__init__(f"the connection {'was reset' if reset else 'ended'} after {received[-100:]!r}")
        self.received = received
        self.reset = reset


class Response:
    """A complete response. `fields` in order of arrival with names in lower case."""

    def __init__(self, status: int, reason: bytes, fields: list[tuple[str, str]]) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.body = b""
        self.trailers: list[tuple[str, str]] = []
        self.interim: list[Response] = []

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        """The value of the field; None without it; the test fails when it is repeated."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} repeated: {values}"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether the server says that it closes the connection."""
        return "close" in [
            option.strip().lower() for value in self.all("connection") for option in value.split(",")
        ]

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.fields} {self.body[:200]!r}>"


class Client:
    """A connection to 127.0.0.1:port."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:  # before connecting, so that the window is small from the beginning
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    # --- sending -------------------------------------------------------------------------------------------
    def send(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def send_bytewise(self, data: bytes) -> Client:
        """One byte in each packet."""
        for i in range(len(data)):
            self.socket.sendall(data[i : i + 1])
        return self

    def request(self, target: str = "/", *fields: str, method: str = "GET", body: bytes = b"") -> Client:
        lines = [f"{method} {target} HTTP/1.1", "Host: a.test", *fields]
        return self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def end_sending(self) -> Client:
        """Half-close: the gateway reads the end of the stream."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- reading -------------------------------------------------------------------------------------------
    def fill(self) -> bool:
        """Wait for more bytes; False at the end of the stream."""
        piece = self.socket.recv(1 << 20)
        self.buffer += piece
        return bool(piece)

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise CutOffError(self.buffer)
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        assert b"\n" not in line, f"bare LF in {line!r}"
        return line

    def exactly(self, length: int) -> bytes:
        pieces = [self.buffer]
        missing = length - len(self.buffer)
        self.buffer = b""
        while missing > 0:
            try:
                piece = self.socket.recv(min(missing, 1 << 20))
            except ConnectionResetError:
                raise CutOffError(b"".join(pieces), reset=True) from None
            if not piece:
                raise CutOffError(b"".join(pieces))
            pieces.append(piece)
            missing -= len(piece)
        data = b"".join(pieces)
        self.buffer = data[length:]
        return data[:length]

    def fields(self) -> list[tuple[str, str]]:
        fields = []
        while line := self.line():
            match = FIELD.fullmatch(line)
            assert match, f"not a field line: {line!r}"
            fields.append((match[1].decode().lower(), match[2].decode("latin-1")))
        return fields

    def head(self) -> Response:
        line = self.line()
        match = STATUS_LINE.fullmatch(line)
        assert match, f"not a status line: {line!r}"
        return Response(int(match[1]), match[2], self.fields())

    def response(self, method: str = "GET", *, version: int = 1) -> Response:
        """The next final response, complete. Raises CutOffError when it ends too early.

        `method` and the minor `version` are those of the request: they decide on the framing (RFC 9112 §6.3).
        """
        interim = []
        while True:
            response = self.head()
            if response.status >= 200 or response.status == 101:
                break
            assert not response.all("content-length") + response.all("transfer-encoding")
            interim.append(response)
        response.interim = interim
        length, coding = response.get("content-length"), response.get("transfer-encoding")
        assert length is None or coding is None, f"two framings: {response}"
        if response.status in (101, 204):
            assert length is None, response
            assert coding is None, response
        elif method == "HEAD" or response.status == 304:
            assert coding is None, response
        elif coding is not None:
            assert version == 1, "a HTTP/1.0 client knows no transfer coding"
            assert coding == "chunked"
            self.chunked_body(response)
        elif length is not None:
            response.body = self.exactly(int(length))
        else:
            assert response.closes, f"no framing on a connection that stays open: {response}"
            response.body = self.rest()
        return response

    def chunk(self) -> bytes:
        """The data of the next chunk; b"" for the last one."""
        size = self.line()
        assert re.fullmatch(rb"[0-9a-f]+", size), f"not a chunk size: {size!r}"
        length = int(size, 16)
        if length == 0:
            return b""
        data = self.exactly(length)
        assert self.exactly(2) == b"\r\n"
        return data

    def chunked_body(self, response: Response) -> None:
        pieces: list[bytes] = []
        try:
            while piece := self.chunk():
                pieces.append(piece)
            response.trailers = self.fields()
        except CutOffError as error:
            raise CutOffError(b"".join(pieces) + error.received, reset=error.reset) from None
        response.body = b"".join(pieces)

    def rest(self) -> bytes:
        """Everything until the end of the stream. Raises CutOffError when it is a reset."""
        pieces = [self.buffer]
        self.buffer = b""
        try:
            while piece := self.socket.recv(1 << 20):
                pieces.append(piece)
        except ConnectionResetError:
            raise CutOffError(b"".join(pieces), reset=True) from None
        return b"".join(pieces)

    def until(self, mark: bytes) -> bytes:
        """Read up to and including `mark`."""
        while mark not in self.buffer:
            if not self.fill():
                raise CutOffError(self.buffer)
        end = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def expect_close(self) -> None:
        """The gateway sends no more and closes (or resets) the connection."""
        try:
            rest = self.rest()
        except CutOffError as error:
            rest = error.received
        assert rest == b""

    def expect_open(self) -> None:
        """Nothing to read now, not even the end of the stream."""
        assert self.buffer == b""
        assert not select.select([self.socket], [], [], 0)[0], self.socket.recv(1000)

    def quiet(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        return self.buffer == b"" and not select.select([self.socket], [], [], seconds)[0]

    # --- lifetime ------------------------------------------------------------------------------------------
    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """`pieces` in chunked coding (RFC 9112 §7.1)."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def fill_socket(sock: socket.socket, piece: bytes, *, pause: float = 0.3, most: int = 1 << 30) -> int:
    """Send `piece` again and again until the other side takes nothing for `pause` seconds. Bytes sent."""
    sent = 0
    sock.setblocking(False)
    last = time.monotonic()
    while sent < most and time.monotonic() - last < pause:
        try:
            sent += sock.send(piece)
            last = time.monotonic()
        except BlockingIOError:
            select.select([], [sock], [], 0.02)
    sock.settimeout(PATIENCE)
    return sent

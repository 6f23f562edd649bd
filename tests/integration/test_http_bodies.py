"""Bodies both ways: framing, sizes around the buffers, integrity, limits, streaming, back-pressure."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, chunked, fill_socket
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.upstreams import Connection, Upstream, response

BUFFER = 8192  # client_body_buffer_size's default
LARGE = 69632  # of a relay buffer
SIZES = [0, 1, 100, BUFFER - 1, BUFFER, BUFFER + 1, 65536, LARGE - 1, LARGE, LARGE + 1, 300_000, 5_000_000]
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def serve_digest(connection: Connection) -> None:
    """Answer with the body's hash; the request is noted without its body."""
    while head := connection.read_head():
        body = connection.read_body(head)
        connection.upstream.requests.append((head, digest(body).encode()))
        connection.send(response(digest(body).encode()))


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


# --- requests ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_request_with_length(upstream: StartUpstream, client: Client, size: int) -> None:
    behind = upstream(serve_digest)
    body = some_bytes(size)
    for _ in range(2):
        client.send(POST + b"Content-Length: %d\r\n\r\n" % size + body)
        assert client.response().body.decode() == digest(body)
    head = behind.heads[0].lower()
    assert b"\r\ncontent-length: %d\r\n" % size in head
    assert b"transfer-encoding" not in head
    client.expect_open()
    assert behind.connections == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pieces", [1, 7])
def test_chunked_request(upstream: StartUpstream, client: Client, size: int, pieces: int) -> None:
    behind = upstream(serve_digest)
    body = some_bytes(size)
    step = max(1, -(-size // pieces))
    coded = chunked(*(body[i : i + step] for i in range(0, size, step)), trailers=b"X-Trailer: 1\r\n")
    for _ in range(2):
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + coded)
        assert client.response().body.decode() == digest(body)
    head = behind.heads[0].lower()
    assert (
        head.count(b"\r\ncontent-length: %d\r\n" % size) + head.count(b"\r\ntransfer-encoding: chunked\r\n")
        == 1
    )
    assert b"x-trailer" not in head
    client.expect_open()


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 100, 5000])
def test_chunked_request_in_pieces(upstream: StartUpstream, client: Client, cut: int) -> None:
    """Chunks and packets begin at different places."""
    upstream(serve_digest)
    body = some_bytes(20 * cut)
    step = 7 * cut // 2 + 1
    coded = chunked(*(body[i : i + step] for i in range(0, len(body), step)))
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    for i in range(0, len(coded), cut):
        client.send(coded[i : i + cut])
    assert client.response().body.decode() == digest(body)


def test_tiny_chunks(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_digest)
    body = some_bytes(50_000)
    client.send(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*(body[i : i + 1] for i in range(len(body))))
    )
    assert client.response().body.decode() == digest(body)


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "QUERY"])
def test_body_with_any_method(upstream: StartUpstream, client: Client, method: str) -> None:
    behind = upstream()
    client.request("/", "Content-Length: 5", method=method, body=b"hello")
    assert client.response().status == 200
    assert behind.requests[0][1] == b"hello"


def test_empty_body_of_a_post_without_length(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.request(method="POST")
    assert client.response().status == 200
    assert b"content-length" not in behind.heads[0].lower()


# --- responses ---------------------------------------------------------------------------------------------
def framed(framing: str, body: bytes) -> bytes:
    """A response with `body`."""
    if framing == "length":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        step = max(1, len(body) // 3)
        coded = chunked(*(body[i : i + step] for i in range(0, len(body), step)), trailers=b"X-T: 1\r\n")
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n" + coded
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_response(upstream: StartUpstream, client: Client, framing: str, size: int) -> None:
    body = some_bytes(size)

    def handler(connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(framed(framing, body))
            if framing == "close":
                return

    behind = upstream(handler)
    for _ in range(2):
        answer = client.request().response()
        assert digest(answer.body) == digest(body)
        assert answer.trailers == []
    client.expect_open()
    assert behind.connections == (2 if framing == "close" else 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_response_for_http10(upstream: StartUpstream, client: Client, framing: str, size: int) -> None:
    body = some_bytes(size)

    def handler(connection: Connection) -> None:
        connection.read_request()
        connection.send(framed(framing, body))

    upstream(handler)
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = client.response(version=0)
    assert digest(answer.body) == digest(body)
    if framing == "length":
        client.expect_open()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_response_to_a_slow_reader(upstream: StartUpstream, shared_gateway: Gateway, framing: str) -> None:
    """The client's window is a few KiB: every write to it is partial."""
    body = some_bytes(2_000_000)

    def handler(connection: Connection) -> None:
        connection.read_request()
        connection.send(framed(framing, body))

    upstream(handler)
    with Client(shared_gateway.proxy_port, receive_buffer=4096) as client:
        assert digest(client.request().response().body) == digest(body)


# --- both ways at once -------------------------------------------------------------------------------------
@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("size", [BUFFER + 1, 300_000, 8_000_000])
def test_echo_while_the_body_is_sent(upstream: StartUpstream, client: Client, coding: str, size: int) -> None:
    """An upstream that answers with what it reads while it reads it."""

    def echo(connection: Connection) -> None:
        head = connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if b"content-length" in head.lower():  # the body had arrived before the connection stood
            left = size
            while left > 0:
                piece = connection.buffer or connection.receive()
                connection.buffer = b""
                left -= len(piece)
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        else:
            while True:
                while b"\r\n" not in connection.buffer:
                    connection.buffer += connection.receive()
                digits, _, connection.buffer = connection.buffer.partition(b"\r\n")
                piece = connection.read_exactly(int(digits, 16) + 2)[:-2]
                if not piece:
                    break
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        connection.wait_for_end()

    upstream(echo)
    body = some_bytes(size)

    def send() -> None:
        if coding == "length":
            client.send(POST + b"Content-Length: %d\r\n\r\n" % size + body)
        else:
            step = 50_000
            client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            client.send(chunked(*(body[i : i + step] for i in range(0, size, step))))

    sender = threading.Thread(target=send)
    sender.start()
    answer = client.response()
    sender.join()
    assert digest(answer.body) == digest(body)


def test_early_response_while_the_body_is_sent(upstream: StartUpstream, client: Client) -> None:
    """The upstream refuses after the head; the client gets that although it is still sending."""

    def refuse(connection: Connection) -> None:
        connection.read_head()
        connection.send(response(b"no", "403 Forbidden", b"Connection: close"))
        # no close yet: that would be a reset, for bytes are waiting to be read
        connection.wait_for_end()

    upstream(refuse)
    client.send(POST + b"Content-Length: 100000000\r\n\r\n" + b"x" * 100_000)
    answer = client.response()
    assert answer.status == 403
    assert answer.body == b"no"
    assert answer.closes


def test_early_response_then_reset(upstream: StartUpstream, client: Client) -> None:
    """The upstream answers and closes with bytes unread, which resets its connection; its answer counts."""

    def refuse(connection: Connection) -> None:
        connection.read_head()
        connection.send(response(b"no", "403 Forbidden", b"Connection: close"))

    upstream(refuse)
    for _ in range(20):
        with Client(client.socket.getpeername()[1]) as one:
            one.send(POST + b"Content-Length: 10000000\r\n\r\n" + b"x" * 100_000)
            answer = one.response()
            assert answer.closes
            # the reset may overtake the answer; then the gateway knows of no answer
            assert answer.status in (403, 502)


def test_client_stops_after_an_early_response(upstream: StartUpstream, client: Client) -> None:
    def answer_slowly(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 10\r\n\r\nfirst")
        stopped.wait()
        connection.send(b"secnd")
        connection.wait_for_end()

    stopped = threading.Event()
    upstream(answer_slowly)
    client.send(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
    client.until(b"first")
    client.end_sending()
    stopped.set()
    assert client.rest() == b"secnd"


# --- limits ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def limited() -> Iterator[tuple[Gateway, Upstream]]:
    with Upstream() as behind:
        document = one_service(behind.port)
        stream = {"name": "stream", "paths": ["/stream"], "request_buffering": False}
        document["services"][0]["routes"].append(stream)
        with Gateway(document, client_max_body_size=20_000, client_body_timeout="2s") as gateway:
            yield gateway, behind


@pytest.mark.parametrize("path", ["/", "/stream"])
@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("size", [19_999, 20_000, 20_001, 500_000])
def test_client_max_body_size(limited: tuple[Gateway, Upstream], path: str, coding: str, size: int) -> None:
    gateway, behind = limited
    behind.requests.clear()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n".encode()
    with Client(gateway.proxy_port) as client:
        if coding == "length":
            client.send(head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        else:
            client.send(
                head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 15_000, b"x" * (size - 15_000))
            )
        answer = client.response()
        if size <= 20_000:
            assert answer.status == 200
            assert len(behind.requests[-1][1]) == size
        else:
            assert answer.status == 413
            assert answer.closes
            assert answer.body.startswith(b"Payload too large\n")
            client.end_sending().expect_close()
            assert behind.requests == []


# --- streaming ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_unbuffered_request_arrives_as_it_is_sent(
    upstream: StartUpstream, client: Client, coding: str
) -> None:
    behind = upstream(routes=[{"name": "stream", "paths": ["/"], "request_buffering": False}])
    pieces = [b"one", b"two", b"three"]
    if coding == "length":
        client.send(POST + b"Content-Length: 11\r\n\r\n")
    else:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    wait_for(lambda: behind.heads, what="the head arrives")
    received = behind.received
    for piece in pieces:
        client.send(piece if coding == "length" else b"%x\r\n%s\r\n" % (len(piece), piece))
        wait_for(lambda: behind.received >= received + len(piece), what=f"{piece!r} arrives")  # noqa: B023
        received = behind.received
    if coding == "chunked":
        client.send(b"0\r\n\r\n")
    assert client.response().status == 200
    assert behind.requests[0][1] == b"onetwothree"


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_buffered_request_waits_for_its_end(upstream: StartUpstream, client: Client, coding: str) -> None:
    behind = upstream()
    if coding == "length":
        client.send(POST + b"Content-Length: 6\r\n\r\nabc")
    else:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert client.quiet(0.1)
    assert behind.connections == 0
    client.send(b"def" if coding == "length" else b"3\r\ndef\r\n0\r\n\r\n")
    assert client.response().status == 200
    assert behind.requests[0][1] == b"abcdef"


def test_server_sent_events(upstream: StartUpstream, client: Client) -> None:
    """Each event arrives before the next one is sent."""

    def events(connection: Connection) -> None:
        connection.read_request()
        connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(5):
            event = b"data: %d\n\n" % number
            connection.send(b"%x\r\n%s\r\n" % (len(event), event))
            arrived.acquire()
        connection.send(b"0\r\n\r\n")
        connection.wait_for_end()

    arrived = threading.Semaphore(0)
    upstream(events)
    assert client.request("/", "Accept: text/event-stream").head().get("content-type") == "text/event-stream"
    for number in range(5):
        assert client.chunk() == b"data: %d\n\n" % number
        arrived.release()
    assert client.chunk() == b""


def test_close_delimited_events(upstream: StartUpstream, client: Client) -> None:
    def events(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            connection.send(b"data: %d\n\n" % number)
            arrived.acquire()

    arrived = threading.Semaphore(0)
    upstream(events)
    assert client.request().head().status == 200
    for number in range(3):
        assert client.chunk() == b"data: %d\n\n" % number
        arrived.release()
    assert client.chunk() == b""


# --- back-pressure -----------------------------------------------------------------------------------------
def worker_memory(gateway: Gateway) -> int:
    """Bytes that belong to the worker alone."""
    return sum(int(psutil.Process(pid).memory_full_info().uss) for pid in gateway.worker_pids())


def test_client_that_reads_nothing_stops_the_upstream(
    upstream: StartUpstream, shared_gateway: Gateway
) -> None:
    def endless(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        sent.append(fill_socket(connection.socket, b"x" * 65536))
        connection.wait_for_end()

    sent: list[int] = []
    upstream(endless)
    with Client(shared_gateway.proxy_port) as client:
        client.request()  # and nothing is read
        before = worker_memory(shared_gateway)
        wait_for(lambda: sent, what="the upstream is stopped")
        assert worker_memory(shared_gateway) - before < 1_000_000
    # what the sockets' own buffers hold, at most
    assert sent[0] < 20_000_000


def test_upstream_that_reads_nothing_stops_the_client(
    upstream: StartUpstream, shared_gateway: Gateway
) -> None:
    def deaf(connection: Connection) -> None:
        connection.read_head()
        done.wait()

    done = threading.Event()
    upstream(deaf)
    with Client(shared_gateway.proxy_port) as client:
        before = worker_memory(shared_gateway)
        client.send(POST + b"Content-Length: 1000000000\r\n\r\n")
        sent = fill_socket(client.socket, b"x" * 65536)
        assert worker_memory(shared_gateway) - before < 1_000_000
        # longer than client_body_timeout: waiting is not the client's fault
        assert client.quiet(2.5)
    done.set()
    assert sent < 20_000_000

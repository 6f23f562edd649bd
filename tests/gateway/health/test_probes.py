"""Probes against servers that do whatever they like."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.entities.upstreams import ActiveChecks
from gateway.health.probe import Outcome, Recipe, probe
from native.target_state import TargetReport
from tests.support.certificates import certificate, key_pem, new_key
from tests.support.gateway import free_port
from tests.support.upstreams import Connection, Upstream, response, serve_raw

SUCCESS, TCP_FAILURE, TIMEOUT, HTTP_FAILURE = TargetReport


def recipe(host_header: str | None = None, tls: ssl.SSLContext | None = None, **checks: Any) -> Recipe:
    return Recipe.of(msgspec.convert({"timeout": 2, **checks}, ActiveChecks), host_header, tls)


def look(port: int, name: str = "svc.test", ip: str = "127.0.0.1", **checks: Any) -> Outcome:
    return asyncio.run(probe(recipe(**checks), ip, port, name))


def answered(answer: bytes, **checks: Any) -> Outcome:
    """What a probe makes of an answer after which the connection is closed."""
    with Upstream(serve_raw(answer, close=True)) as server:
        return look(server.port, **checks)


@pytest.mark.parametrize(
    ("status", "report"),
    [
        ("200 OK", SUCCESS),
        ("302 Found", SUCCESS),
        ("404 Not Found", HTTP_FAILURE),
        ("503 Service Unavailable", HTTP_FAILURE),
        ("204 No Content", None),
        ("418", None),
    ],
)
def test_statuses_as_configured(status: str, report: TargetReport | None) -> None:
    assert answered(response(status=status)) == (report, f"status {status[:3]}")


def test_own_statuses() -> None:
    own = {"healthy": {"http_statuses": [404]}, "unhealthy": {"http_statuses": [200]}}
    assert answered(response(status="404 Not Found"), **own).report is SUCCESS
    assert answered(response(), **own).report is HTTP_FAILURE


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nlocation: /elsewhere\r\ncontent-length: 1000000\r\n\r\nnot all of it",
        b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_answers_that_will_do(answer: bytes) -> None:
    assert answered(answer).report is SUCCESS


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "connection closed"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 20", "the answer is not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 099 OK\r\n", "the answer is not HTTP"),
        (b"\x00" * 100_000, "the answer is not HTTP"),
        (b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 100 Continue\r\n" + b"a: b\r\n" * 10_000, "too many interim responses"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, "too many interim responses"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "connection closed"),
    ],
    ids=("nothing", "other", "cut", "status-4", "status-0", "zeros", "long", "fields", "interim", "no-final"),
)
def test_answers_that_are_none(answer: bytes, reason: str) -> None:
    assert answered(answer) == (TCP_FAILURE, reason)


def test_a_refused_connection() -> None:
    assert look(free_port()) == (TCP_FAILURE, "connection refused")


def test_a_reset_connection() -> None:
    def reset(connection: Connection) -> None:
        connection.read_head()
        connection.reset()

    with Upstream(reset) as server:
        assert look(server.port).report is TCP_FAILURE


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_hangs_is_left_in_time(begun: bytes) -> None:
    left = threading.Event()

    def hang(connection: Connection) -> None:
        connection.read_head()
        connection.send(begun)
        connection.wait_for_end()
        left.set()

    with Upstream(hang) as server:
        started = time.monotonic()
        assert look(server.port, timeout=0.4) == (TIMEOUT, "timeout")
        assert time.monotonic() - started < 10
        assert left.wait(30)


def test_a_server_that_accepts_nothing_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]  # until the queue of the listener is full
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
        assert look(port, timeout=0.4, type="tcp").report is TIMEOUT
        for one in waiting:
            one.close()


def test_a_timeout_that_is_this_process_s_own_says_nothing() -> None:
    """With all processors busy for longer than a probe may take, no target is to blame."""

    async def busy() -> Outcome:
        looking = asyncio.create_task(probe(recipe(timeout=0.05), "127.0.0.1", server.port, "x"))
        await asyncio.sleep(0)
        time.sleep(0.5)
        return await looking

    with Upstream(lambda connection: time.sleep(1)) as server:
        assert asyncio.run(busy()).report is None


def test_no_timeout_is_one_all_the_same() -> None:
    assert recipe(timeout=0).timeout == 1


def test_no_redirect_is_followed_and_no_body_read() -> None:
    def redirect(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 900000000\r\n\r\n")
        try:
            while True:
                connection.send(b"x" * 65536)
        except OSError:
            pass

    with Upstream(redirect) as server:
        assert look(server.port).report is SUCCESS
        assert len(server.heads) == 1


# --- what is sent ---------------------------------------------------------------------------------------


def sent(name: str = "svc.test", host_header: str | None = None, **checks: Any) -> bytes:
    with Upstream(serve_raw(response(), close=True)) as server:
        asyncio.run(probe(recipe(host_header, **checks), "127.0.0.1", server.port, name))
        return server.heads[0]


def test_the_request_of_a_probe() -> None:
    assert sent() == b"GET / HTTP/1.1\r\nConnection: close\r\nHost: svc.test\r\n\r\n"
    assert sent(host_header="own.test:81", http_path="/up?a=1").splitlines() == [
        b"GET /up?a=1 HTTP/1.1",
        b"Connection: close",
        b"Host: own.test:81",
        b"",
    ]
    assert b"Host: 127.0.0.1\r\n" in sent(name="127.0.0.1")


def test_headers_of_a_probe() -> None:
    lines = sent(headers={"x-a": ["1", "2"], "x-ä": ["é"], "X-Long": ["in\r\njected: yes"]}).splitlines()
    assert lines[2:-2] == [b"x-a: 1", b"x-a: 2", "x-ä: é".encode(), b"X-Long: in  jected: yes"]
    assert lines[-2] == b"Host: svc.test"
    own = sent(headers={"Host": ["mine.test"]})
    assert own.count(b"ost:") == 1
    assert b"Host: mine.test\r\n" in own


# --- tcp, and what is only a connection --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "grpc", "grpcs"])
def test_a_connection_is_enough(kind: str) -> None:
    with Upstream(lambda connection: None) as server:
        assert look(server.port, type=kind) == (SUCCESS, "connected")
    assert look(free_port(), type=kind).report is TCP_FAILURE


def test_ipv6() -> None:
    with Upstream(serve_raw(response()), address="::1") as server:
        assert look(server.port, ip="::1").report is SUCCESS


# --- TLS -------------------------------------------------------------------------------------------------


class TlsServer:
    """Answers one request per connection with 200; notes the names that clients ask for."""

    def __init__(self, directory: Path, chain: str, key: str) -> None:
        path = directory / f"server-{free_port()}.pem"
        path.write_text(chain + key)
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(path)
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self._upstream = Upstream(self._serve)
        self.port = self._upstream.port

    def _serve(self, connection: Connection) -> None:
        with self._context.wrap_socket(connection.socket, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(response())

    def close(self) -> None:
        self._upstream.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ssl.SSLContext, Path]:
    directory = tmp_path_factory.mktemp("tls")
    key = new_key()
    pem = certificate("probing authority", key, is_authority=True)
    return key, ssl.create_default_context(cadata=pem), directory


MakeServer = Callable[..., TlsServer]


@pytest.fixture
def secured(authority: tuple[Any, ssl.SSLContext, Path]) -> Iterator[MakeServer]:
    started: list[TlsServer] = []

    def make(name: str, days: int = 30, signed: bool = True) -> TlsServer:
        key = new_key()
        issued = {"issuer": "probing authority", "issuer_key": authority[0]} if signed else {}
        started.append(
            TlsServer(authority[2], certificate(name, key, days=days, **issued), key_pem(key))  # type: ignore[arg-type]
        )
        return started[-1]

    yield make
    for server in started:
        server.close()


def test_tls_with_the_name_of_the_target(secured: MakeServer, authority: Any) -> None:
    server = secured("svc.test")
    outcome = look(server.port, type="https", tls=authority[1])
    assert outcome == (SUCCESS, "status 200")
    assert server.names == ["svc.test"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"https_sni": "sni.test", "host_header": "host.test"}, "sni.test"),
        ({"host_header": "host.test:8443"}, "host.test"),
        ({}, "svc.test"),
    ],
)
def test_which_name_tls_asks_for(
    secured: MakeServer, authority: Any, given: dict[str, str], expected: str
) -> None:
    server = secured(expected)
    assert look(server.port, type="https", tls=authority[1], **given).report is SUCCESS
    assert server.names == [expected]


def test_tls_by_address(secured: MakeServer, authority: Any) -> None:
    server = secured("127.0.0.1")
    assert look(server.port, name="127.0.0.1", type="https", tls=authority[1]).report is SUCCESS


@pytest.mark.parametrize(
    "made", [{"name": "other.test"}, {"name": "svc.test", "days": -1}, {"name": "svc.test", "signed": False}]
)
def test_certificates_that_are_wrong(secured: MakeServer, authority: Any, made: dict[str, Any]) -> None:
    outcome = look(secured(**made).port, type="https", tls=authority[1])
    assert outcome.report is TCP_FAILURE
    assert outcome.reason.startswith("TLS: ")


def test_certificates_that_nobody_looks_at(secured: MakeServer) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    assert look(secured("other.test", days=-1).port, type="https", tls=trusting).report is SUCCESS


def test_a_server_without_tls(authority: Any) -> None:
    with Upstream(lambda connection: connection.send(response(status="400 Bad Request"))) as server:
        assert look(server.port, type="https", tls=authority[1]).report is TCP_FAILURE

"""Ten thousand connections, and what happens when descriptors run out."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from tests.support.footprint import Footprint, TidyGateway, at_rest, workers
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.load import HOST, Backend, EventLoopThread, Load, more_requests

CONNECTIONS = 10_000
OTHER_DESCRIPTORS = 500
"""of this process, and of a worker beside its clients"""
MEMORY_PER_CONNECTION = 8 << 10
"""bytes per idle connection that the design allows"""
FEW_DESCRIPTORS = 256
REQUEST = b"GET /load HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, made one after the other."""
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            made.append(socket.create_connection((HOST, port), timeout=10))
        yield made
    finally:
        for one in made:
            one.close()


def request_on_each(connections: list[socket.socket], at_once: int = 200) -> int:
    """One request on every connection, some at once. How many were answered 200."""
    answered = 0
    for first in range(0, len(connections), at_once):
        some = connections[first : first + at_once]
        for one in some:
            one.sendall(REQUEST)
        answered += sum(receive_answer(one).startswith(b"HTTP/1.1 200") for one in some)
    return answered


def receive_answer(connection: socket.socket) -> bytes:
    """One answer of the backend: its body is the request's target."""
    received = b""
    while not received.endswith(b"\r\n\r\n/load"):
        piece = connection.recv(4096)
        if not piece:
            break
        received += piece
    return received


def connections_possible() -> int:
    """Raise this process's limit as far as allowed. How many of CONNECTIONS it and a worker can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, CONNECTIONS + 2 * OTHER_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(CONNECTIONS, hard - OTHER_DESCRIPTORS)


def private_bytes(gateway: Gateway) -> int:
    return sum(psutil.Process(pid).memory_full_info().uss for pid in gateway.worker_pids())


def test_ten_thousand_connections(
    backend: Backend, thread: EventLoopThread, record_property: Callable[[str, object], None]
) -> None:
    count = connections_possible()
    if count < CONNECTIONS:
        print(f"only {count} connections: the hard limit of descriptors is too low")
    # without access log: its ring is filled, and so becomes memory, bit by bit
    gateway = TidyGateway(
        one_service(backend.port),
        proxy_access_log="off",
        worker_connections=count + 100,
        keepalive_timeout=300,
    )
    with gateway:
        with clients(gateway.proxy_port, 200) as some:
            assert request_on_each(some) == 200
        before, descriptors = private_bytes(gateway), Footprint.of(gateway).descriptors
        with clients(gateway.proxy_port, count) as idle:
            assert request_on_each(idle) == count
            (worker,) = workers(gateway)
            assert worker["connections_active"] == count
            per_connection = (private_bytes(gateway) - before) / count
            record_property("bytes_per_idle_connection", round(per_connection))
            print(f"{count} idle connections, {per_connection:.0f} bytes each")
            assert per_connection < MEMORY_PER_CONNECTION
            with Load(thread, gateway.proxy_port, connections=16) as load:
                wait_for(more_requests(load, 500), what="requests beside the idle connections")
                load.stop().check()
            assert request_on_each(idle) == count  # none of them was closed
        at_rest(gateway)
        assert Footprint.of(gateway).descriptors == descriptors
        full = private_bytes(gateway)
        with clients(gateway.proxy_port, count) as again:
            assert request_on_each(again[:200]) == 200
            wait_for(lambda: workers(gateway)[0]["connections_active"] == count, what="all accepted again")
            assert private_bytes(gateway) - full < 1 << 20, "a second wave needs more memory than the first"


class LimitedGateway(TidyGateway):
    """Started with a hard limit of descriptors for each process."""

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", f'ulimit -n {FEW_DESCRIPTORS} && exec "$@"', "sh", *super().command]


def test_few_descriptors(backend: Backend, thread: EventLoopThread) -> None:
    """More clients than descriptors: some wait to be accepted, those that are in work on, none is refused."""
    with LimitedGateway(one_service(backend.port)) as gateway:
        before = Footprint.of(gateway)
        pauses = workers(gateway)[0]["accept_pauses"]
        with clients(gateway.proxy_port, 300) as many:
            wait_for(lambda: workers(gateway)[0]["accept_pauses"] > pauses, what="accepting pauses")
            accepted = workers(gateway)[0]["connections_active"]
            assert 50 <= accepted <= FEW_DESCRIPTORS
            for one in many:
                one.sendall(REQUEST)
            waiting = set(many)
            # whoever has an answer goes, and makes room for another
            while waiting:
                ready, _, _ = select.select(list(waiting), [], [], 10)
                assert ready, f"{len(waiting)} clients wait in vain"
                for one in ready:
                    assert receive_answer(one).startswith(b"HTTP/1.1 200")
                    one.sendall(REQUEST)  # its connection works on while others wait
                    assert receive_answer(one).startswith(b"HTTP/1.1 200")
                    waiting.discard(one)
                    one.close()
        with Load(thread, gateway.proxy_port, connections=8) as load:
            wait_for(more_requests(load, 100), what="requests afterwards")
            load.stop().check()
        Footprint.of(gateway).check(before, slack=8 << 20)


def test_more_connections_allowed_than_descriptors(backend: Backend) -> None:
    """Said at the start; clients do not take all descriptors, so that requests still reach upstreams."""
    with LimitedGateway(one_service(backend.port), worker_connections=1000) as gateway:
        assert "file descriptors" in gateway.output()
        before = Footprint.of(gateway)
        with clients(gateway.proxy_port, 400) as many:
            wait_for(lambda: workers(gateway)[0]["accept_pauses"] > 0, what="accepting pauses")
            (worker,) = workers(gateway)
            assert 100 < worker["connections_active"] < FEW_DESCRIPTORS - 16
            for one in many[:10]:
                assert request_on_each([one] * 5, at_once=1) == 5
            for one in many[10:300]:
                one.close()
            assert request_on_each(many[300:], at_once=10) == 100
        Footprint.of(gateway).check(before, slack=4 << 20)


def test_descriptors_run_out(backend: Backend, thread: EventLoopThread) -> None:
    """The kernel gives no more descriptors (EMFILE): accepting pauses; established connections go on."""
    with (
        TidyGateway(one_service(backend.port)) as gateway,
        Load(thread, gateway.proxy_port, connections=8) as load,
    ):
        wait_for(more_requests(load, 100), what="requests")
        with clients(gateway.proxy_port, 16) as some:
            # as many connections to the upstream as the load may ever want at once: there will be no new ones
            for one in some:
                one.sendall(b"GET /slow/0.3/x HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(
                lambda: workers(gateway)[0]["upstream_idle"] >= 12, what="idle connections to the upstream"
            )
        wait_for(lambda: workers(gateway)[0]["connections_active"] <= 8, what="they are gone")
        (worker,) = workers(gateway)
        process = psutil.Process(worker["pid"])
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 20, hard))
        with clients(gateway.proxy_port, 60) as many:
            for one in many:
                one.sendall(b"GET /slow/0.2/x HTTP/1.1\r\n")  # a head that goes on later
            wait_for(lambda: workers(gateway)[0]["accept_pauses"] > worker["accept_pauses"], what="pauses")
            wait_for(more_requests(load, 200), what="requests on established connections")
        wait_for(lambda: workers(gateway)[0]["connections_active"] <= 8, what="the others are gone")
        process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
        with clients(gateway.proxy_port, 60) as many:
            assert request_on_each(many) == 60
        load.stop().check()
        at_rest(gateway)

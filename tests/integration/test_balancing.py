"""Balancing over real upstreams, by two workers that choose as one."""

from __future__ import annotations

import re
import select
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.support.client import Client, Response
from tests.support.gateway import Gateway, wait_for
from tests.support.prometheus_text import parse
from tests.support.upstreams import Connection, Handler, Upstream, response

COOKIE = re.compile(r"who=([0-9a-f-]+); Path=/; Same-Site=Lax; HttpOnly")


def named(connection: Connection) -> None:
    """Answer with the port."""
    while connection.read_request()[0]:
        connection.send(response(b"%d" % connection.upstream.port))


class Pool:
    """Upstreams behind a name, which a service with a route for everything has as its host."""

    def __init__(self, gateway: Gateway, stack: ExitStack) -> None:
        self.gateway = gateway
        self.stack = stack

    def start(self, *handlers: Handler) -> list[Upstream]:
        return [self.stack.enter_context(Upstream(handler)) for handler in handlers]

    def configure(
        self,
        targets: dict[int, int],
        *,
        paths: tuple[str, ...] = ("/",),
        service: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
        name: str = "pool",
        **upstream: Any,
    ) -> None:
        """`targets`: port -> weight; `more`: of the document; `name`: of the upstream."""
        document: dict[str, Any] = {
            "_format_version": "3.0",
            "services": [
                {
                    "name": "s",
                    "host": name,
                    **(service or {}),
                    "routes": [{"name": "r", "paths": list(paths), "strip_path": False}],
                }
            ],
            "upstreams": [
                {
                    "name": name,
                    "targets": [
                        {"target": f"127.0.0.1:{port}", "weight": weight} for port, weight in targets.items()
                    ],
                    **upstream,
                }
            ],
            **(more or {}),
        }
        self.gateway.configure(document)

    def ask(self, path: str = "/", *fields: str) -> Response:
        """On a connection of its own: either worker may have it."""
        with Client(self.gateway.proxy_port) as client:
            return client.request(path, *fields).response()

    def asked(self, path: str = "/", *fields: str) -> int:
        """The port of the upstream that answers."""
        answer = self.ask(path, *fields)
        assert answer.status == 200, answer
        return int(answer.body)

    def tally(self, count: int, path: str = "/", *fields: str) -> Counter[int]:
        return Counter(self.asked(path, *fields) for _ in range(count))


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(worker_processes=2, trusted_ips="127.0.0.1", real_ip_header="X-Forwarded-For") as found:
        yield found


@pytest.fixture
def pool(gateway: Gateway) -> Iterator[Pool]:
    with ExitStack() as stack:
        yield Pool(gateway, stack)


@pytest.fixture
def three(pool: Pool) -> list[int]:
    """Ports of three upstreams."""
    return [one.port for one in pool.start(named, named, named)]


@contextmanager
def load(pool: Pool, threads: int = 3) -> Iterator[list[int]]:
    """Requests all the time; every one must succeed. Gives the list of the ports that answered; it grows."""
    answered: list[int] = []
    failures: list[BaseException] = []
    over = threading.Event()

    def send() -> None:
        try:
            with Client(pool.gateway.proxy_port) as client:
                while not over.is_set():
                    answer = client.request().response()
                    assert answer.status == 200, answer
                    answered.append(int(answer.body))
        except BaseException as failure:
            failures.append(failure)

    running = [threading.Thread(target=send) for _ in range(threads)]
    for one in running:
        one.start()
    try:
        yield answered
    finally:
        over.set()
        for one in running:
            one.join()
    assert not failures


# --- round-robin -------------------------------------------------------------------------------------------
def test_weights_are_exact_over_both_workers(pool: Pool, three: list[int]) -> None:
    pool.configure(dict(zip(three, (300, 100, 0), strict=True)))
    assert pool.tally(40) == {three[0]: 30, three[1]: 10}


def test_targets_and_weights_change_under_load(pool: Pool, three: list[int]) -> None:
    one, other, third = three
    pool.configure({one: 100, other: 100})
    with load(pool) as answered:
        wait_for(lambda: {one, other} <= set(answered), what="both answer")
        pool.configure({one: 100, other: 100, third: 200})
        wait_for(lambda: third in answered, what="the new one answers")
        pool.configure({one: 100, third: 300})
        seen = len(answered)
        wait_for(lambda: len(answered) > seen + 100, what="requests go on")
        late = Counter(answered[seen + 20 :])
        assert other not in late
        assert late[third] > late[one]
    assert pool.tally(20) == {one: 5, third: 15}


# --- least connections -------------------------------------------------------------------------------------
def test_fewest_requests_under_way(pool: Pool) -> None:
    gates: dict[int, threading.Event] = {}

    def gated(connection: Connection) -> None:
        while connection.read_request()[0]:
            gates[connection.upstream.port].wait(60)
            connection.send(response(b"%d" % connection.upstream.port))

    behind = pool.start(gated, gated, gated)
    gates |= {one.port: threading.Event() for one in behind}
    weights = dict(zip(gates, (100, 100, 200), strict=True))
    pool.configure(weights, algorithm="least-connections")
    with ExitStack() as stack:
        clients: list[Client] = []
        while len(clients) < 12:
            clients.append(stack.enter_context(Client(pool.gateway.proxy_port)).request())
            wait_for(
                lambda: sum(len(one.requests) for one in behind) == len(clients), what="the request arrives"
            )
        # whichever workers had them
        assert [len(one.requests) for one in behind] == [3, 3, 6]
        free = behind[0]
        gates[free.port].set()
        sockets = [client.socket for client in clients]
        wait_for(lambda: len(select.select(sockets, [], [], 0)[0]) == 3, what="three are answered")
        assert pool.tally(20) == {free.port: 20}
        for gate in gates.values():
            gate.set()
        assert Counter(int(client.response().body) for client in clients) == {
            behind[0].port: 3,
            behind[1].port: 3,
            behind[2].port: 6,
        }


# --- latency -----------------------------------------------------------------------------------------------
def test_the_faster_one_gets_most(pool: Pool) -> None:
    wanted = threading.Event()

    def slow(connection: Connection) -> None:
        while connection.read_request()[0]:
            wanted.wait(0.4)
            connection.send(response(b"%d" % connection.upstream.port))

    behind = pool.start(slow, named)
    pool.configure({one.port: 100 for one in behind}, algorithm="latency")
    wait_for(lambda: len(pool.tally(1)) and behind[0].requests and behind[1].requests, what="both are known")
    assert pool.tally(40)[behind[1].port] >= 36


# --- consistent hashing ------------------------------------------------------------------------------------
def sticks(pool: Pool, asks: list[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """Where each of these requests goes: always to the same upstream."""
    first = {ask: pool.asked(*ask) for ask in asks}
    for _ in range(2):
        assert {ask: pool.asked(*ask) for ask in asks} == first
    return first


def test_hash_of_a_header(pool: Pool, three: list[int]) -> None:
    pool.configure(dict.fromkeys(three, 100), hash_on="header", hash_on_header="X-Who")
    found = sticks(pool, [("/", f"X-Who: {number}") for number in range(30)])
    assert set(found.values()) == set(three)
    # all values of it
    several = sticks(pool, [("/", "X-Who: 1", f"X-Who: {number}") for number in range(30)])
    assert set(several.values()) == set(three)
    # without it, everybody is one
    assert len(pool.tally(10)) == 1


def test_hash_of_the_path(pool: Pool, three: list[int]) -> None:
    pool.configure(dict.fromkeys(three, 100), hash_on="path")
    found = sticks(pool, [(f"/{number}",) for number in range(30)])
    assert set(found.values()) == set(three)
    for number in range(30):
        assert pool.asked(f"/x/../%3{number % 10}?q={number}") == found[(f"/{number % 10}",)]


def test_hash_of_an_argument(pool: Pool, three: list[int]) -> None:
    pool.configure(dict.fromkeys(three, 100), hash_on="query_arg", hash_on_query_arg="uid")
    found = sticks(pool, [(f"/?a=1&uid={number}",) for number in range(30)])
    assert set(found.values()) == set(three)
    for number in range(10):
        # in whatever order they come, and however they are written
        assert pool.asked(f"/x?uid=%3{number}&b=2") == found[(f"/?a=1&uid={number}",)]
        assert pool.asked(f"/?uid={number}&uid=b") == pool.asked(f"/?uid=b&c=3&uid={number}")
    assert len(pool.tally(10)) == 1


@pytest.mark.parametrize("capture", ["who", "1"])
def test_hash_of_a_capture(pool: Pool, three: list[int], capture: str) -> None:
    pool.configure(
        dict.fromkeys(three, 100),
        paths=(r"~/u/(?<who>\w+)", "/"),
        hash_on="uri_capture",
        hash_on_uri_capture=capture,
        hash_fallback="header",
        hash_fallback_header="X-Who",
    )
    found = sticks(pool, [(f"/u/{number}",) for number in range(30)])
    assert set(found.values()) == set(three)
    assert all(pool.asked(f"/u/{number}/more") == found[(f"/u/{number}",)] for number in range(10))
    fallback = sticks(pool, [("/", f"X-Who: {number}") for number in range(30)])
    assert set(fallback.values()) == set(three)


def test_hash_of_the_clients_address(pool: Pool, three: list[int]) -> None:
    pool.configure(dict.fromkeys(three, 100), hash_on="ip")
    found = sticks(pool, [("/", f"X-Forwarded-For: 10.0.0.{number}") for number in range(30)])
    assert set(found.values()) == set(three)
    assert len(pool.tally(10)) == 1


def test_hash_of_the_consumer(pool: Pool, three: list[int]) -> None:
    more = {
        "plugins": [{"name": "key-auth", "config": {"anonymous": "nobody"}}],
        "consumers": [
            {"username": "nobody"},
            *({"username": f"c{n}", "keyauth_credentials": [{"key": f"k{n}"}]} for n in range(40)),
        ],
    }
    pool.configure(dict.fromkeys(three, 100), hash_on="consumer", hash_fallback="ip", more=more)
    found = sticks(pool, [("/", f"apikey: k{number}") for number in range(40)])
    assert set(found.values()) == set(three)


def test_hash_of_a_cookie(pool: Pool, three: list[int]) -> None:
    pool.configure(dict.fromkeys(three, 100), hash_on="cookie", hash_on_cookie="who")
    cookies = {}
    for _ in range(40):
        answer = pool.ask()
        made = COOKIE.fullmatch(answer.get("set-cookie") or "")
        assert made, answer
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made[1])
        cookies[made[1]] = int(answer.body)
    assert set(cookies.values()) == set(three)
    for cookie, port in cookies.items():
        answer = pool.ask("/", f"Cookie: a=b; who={cookie}; c=d")
        assert (int(answer.body), answer.get("set-cookie")) == (port, None)
    # also with an error of the gateway's own: the client keeps the cookie that it has been given
    pool.configure({9: 100}, hash_on="cookie", hash_on_cookie="who", service={"retries": 1})
    answer = pool.ask()
    assert answer.status == 502
    assert COOKIE.fullmatch(answer.get("set-cookie") or "")


def test_a_hash_moves_only_away_from_what_is_gone(pool: Pool, three: list[int]) -> None:
    asks = [("/", f"X-Who: {number}") for number in range(60)]
    hashing: dict[str, Any] = {"hash_on": "header", "hash_on_header": "X-Who"}
    pool.configure(dict.fromkeys(three, 100), **hashing)
    before = {ask: pool.asked(*ask) for ask in asks}
    pool.configure(dict.fromkeys(three[:2], 100), **hashing)
    after = {ask: pool.asked(*ask) for ask in asks}
    assert all(after[ask] == before[ask] for ask in asks if before[ask] != three[2])
    assert {after[ask] for ask in asks if before[ask] == three[2]} == set(three[:2])
    pool.configure(dict.fromkeys(three, 100), **hashing)
    assert {ask: pool.asked(*ask) for ask in asks} == before


# --- sticky sessions ---------------------------------------------------------------------------------------
STICKY: dict[str, Any] = {"algorithm": "sticky-sessions", "sticky_sessions_cookie": "who"}


def test_sticky_sessions(pool: Pool, three: list[int]) -> None:
    pool.configure(dict.fromkeys(three, 100), **STICKY)
    cookies = {}
    for _ in range(6):
        answer = pool.ask()
        made = COOKIE.fullmatch(answer.get("set-cookie") or "")
        assert made, answer
        cookies[made[1]] = int(answer.body)
    assert sorted(cookies.values()) == sorted(three)
    for cookie, port in cookies.items():
        for _ in range(4):
            answer = pool.ask("/", f"Cookie: who={cookie}")
            assert (int(answer.body), answer.get("set-cookie")) == (port, None)
    # what is no cookie of ours is none
    for nonsense in ("x", "0" * 16, "Z" * 16, "f" * 17):
        answer = pool.ask("/", f"Cookie: who={nonsense}")
        assert COOKIE.fullmatch(answer.get("set-cookie") or "")
    # whose target is gone gets another one
    gone = next(cookie for cookie, port in cookies.items() if port == three[0])
    pool.configure({three[0]: 0, three[1]: 100, three[2]: 100}, **STICKY)
    answer = pool.ask("/", f"Cookie: who={gone}")
    made = COOKIE.fullmatch(answer.get("set-cookie") or "")
    assert made
    assert cookies[made[1]] == int(answer.body) != three[0]


def test_a_sticky_cookie_names_who_answered_in_the_end(pool: Pool) -> None:
    def refuse(connection: Connection) -> None:
        connection.read_request()

    bad, good = pool.start(refuse, named)
    pool.configure({bad.port: 100, good.port: 100}, **STICKY)
    for _ in range(4):
        answer = pool.ask()
        made = COOKIE.fullmatch(answer.get("set-cookie") or "")
        assert made
        assert int(answer.body) == good.port
        assert pool.ask("/", f"Cookie: who={made[1]}").get("set-cookie") is None
    assert bad.requests


# --- slow start --------------------------------------------------------------------------------------------
def test_a_new_target_begins_with_little(pool: Pool, three: list[int]) -> None:
    # those that an upstream has when it is made begin at once
    pool.configure({three[0]: 100}, name="growing", slow_start=3600)
    assert pool.asked() == three[0]
    pool.configure({three[0]: 100, three[1]: 100}, name="growing", slow_start=3600)
    assert pool.tally(200)[three[1]] < 60
    pool.configure({three[0]: 100, three[1]: 100}, name="growing")
    assert pool.tally(20) == {three[0]: 10, three[1]: 10}


# --- passive checks ----------------------------------------------------------------------------------------
def test_a_failing_target_gets_no_more_requests(pool: Pool, gateway: Gateway) -> None:
    def fail(connection: Connection) -> None:
        connection.read_request()
        connection.reset()

    bad, good = pool.start(fail, named)
    checks: dict[str, Any] = {"passive": {"unhealthy": {"tcp_failures": 2}}}
    pool.configure({bad.port: 100, good.port: 100}, healthchecks=checks)
    assert pool.tally(30) == {good.port: 30}
    assert len(bad.requests) == 2
    wait_for(
        lambda: (
            f"target is unhealthy, it gets no more requests: 127.0.0.1:{bad.port} of pool"
            in (gateway.prefix / "error.log").read_text()
        ),
        what="a log line",
    )
    # all weight that there is
    pool.configure({bad.port: 100, good.port: 100}, healthchecks={**checks, "threshold": 50})
    answer = pool.ask()
    assert answer.status == 503
    assert b"failure to get a peer from the ring-balancer" in answer.body


# --- retry budget ------------------------------------------------------------------------------------------
def test_retries_do_not_multiply_an_outage(pool: Pool) -> None:
    def fail(connection: Connection) -> None:
        connection.read_request()

    with Gateway(worker_processes=2, retry_budget_percent=20, retry_budget_min=0) as limited:
        small = Pool(limited, pool.stack)
        bad = small.start(fail, fail, fail)
        small.configure({one.port: 100 for one in bad}, service={"retries": 5})
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(limited.proxy_port)) for _ in range(4)]
            for _ in range(25):
                for client in clients:
                    client.request()
                for client in clients:
                    assert client.response().status == 502
        assert sum(len(one.requests) for one in bad) == 120
        page = limited.call(limited.status_port, "GET", "/metrics")[2]
        refused = parse(page)["sluicegate_upstream_retries_refused_total"]
        assert refused.value("sluicegate_upstream_retries_refused_total") == 100

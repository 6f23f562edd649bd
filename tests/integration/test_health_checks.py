"""Health checks by two real workers and a real control process: how targets go out and come back."""

from __future__ import annotations

import json
import os
import signal
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import certificate, key_pem, new_key
from tests.support.client import Client
from tests.support.footprint import at_rest, other_control, other_workers
from tests.support.gateway import Gateway, free_port, wait_for
from tests.support.prometheus_text import parse
from tests.support.upstreams import Connection, Upstream, response

OFTEN = {
    "timeout": 10,  # seconds; a server that is only slow, on a busy machine, is well
    "healthy": {"interval": 0.1, "successes": 1},
    "unhealthy": {"interval": 0.1, "tcp_failures": 1, "timeouts": 1, "http_failures": 1},
}


class Server(Upstream):
    """Answers with its port; `status` of requests and of probes (of `/probe`) can be changed, 0: hangs."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.probe_status = 200
        self.probes = 0
        self._over = threading.Event()
        super().__init__(self.answer, port=port)

    def answer(self, connection: Connection) -> None:
        while head := connection.read_head():
            is_probe = head.startswith(b"GET /probe")
            self.probes += is_probe
            status = self.probe_status if is_probe else self.status
            if not status:
                self._over.wait(60)
                return
            connection.send(response(b"%d" % self.port, f"{status} X"))

    def close(self) -> None:
        self._over.set()
        super().close()


class Pool:
    """Servers that are the targets of an upstream, with a service and a route for everything."""

    def __init__(self, gateway: Gateway, stack: ExitStack, number: int) -> None:
        self.gateway = gateway
        self.stack = stack
        # Health stays when a configuration goes: each test has an upstream of its own.
        self.name = f"pool-{number}"

    def start(self, count: int) -> list[Server]:
        return [self.stack.enter_context(Server()) for _ in range(count)]

    def configure(
        self, *ports: int, more: dict[str, Any] | None = None, read_ms: int = 60_000, **healthchecks: Any
    ) -> None:
        service = {
            "name": "s",
            "host": self.name,
            "retries": 0,
            "read_timeout": read_ms,
            "routes": [{"name": "r", "paths": ["/"], "strip_path": False}],
        }
        targets = [{"target": f"127.0.0.1:{port}"} for port in ports]
        upstream = {"name": self.name, "healthchecks": healthchecks, "targets": targets}
        self.gateway.configure({"services": [service], "upstreams": [upstream], **(more or {})})

    def ask(self, count: int = 24) -> Counter[int]:
        """Answers by port, or by status where that is not 200. Each request has a connection of its own, so
        that both workers get some."""
        found: Counter[int] = Counter()
        for _ in range(count):
            with Client(self.gateway.proxy_port) as client:
                answer = client.request("/").response()
            found[int(answer.body) if answer.status == 200 else answer.status] += 1
        return found

    def admin(self, method: str, path: str) -> tuple[int, Any]:
        status, _, body = self.gateway.call(self.gateway.admin_port, method, f"/upstreams/{self.name}/{path}")
        return status, json.loads(body) if body else None

    def health(self) -> dict[int, str]:
        """Kong's word by port."""
        page = self.admin("GET", "health")[1]
        return {target["data"]["port"]: target["health"] for target in page["data"]}

    def counters(self, port: int) -> dict[str, Any]:
        at_rest(self.gateway)  # what clients have their answers to is counted
        page = self.admin("GET", "health?details=1")[1]
        [found] = [target for target in page["data"] if target["data"]["port"] == port]
        return found["data"]["addresses"][0]["counters"]  # type: ignore[no-any-return]

    def mark(self, port: int, word: str) -> None:
        assert self.admin("PUT", f"targets/127.0.0.1:{port}/{word}") == (204, None)

    def until_out(self, server: Server, *, out: bool = True) -> None:
        word = "UNHEALTHY" if out else "HEALTHY"
        wait_for(lambda: self.health()[server.port] == word, what=f"the target is {word}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """An authority that the gateway trusts: its key, and where its certificate is."""
    key = new_key()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    path.write_text(certificate("health authority", key, is_authority=True))
    return key, path


@pytest.fixture(scope="module")
def gateway(authority: tuple[Any, Path]) -> Iterator[Gateway]:
    made = Gateway(worker_processes=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SSL_CERT_FILE", str(authority[1]))
        with made as running:
            yield running


@pytest.fixture
def pool(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Pool]:
    with ExitStack() as stack:
        yield Pool(gateway, stack, request.session.items.index(request.node))


# --- passive checks -----------------------------------------------------------------------------------------


def test_bad_statuses_take_a_target_out_for_both_workers(pool: Pool) -> None:
    bad, good = pool.start(2)
    bad.status = 503
    pool.configure(
        bad.port, good.port, passive={"healthy": {"successes": 1}, "unhealthy": {"http_failures": 3}}
    )
    assert pool.ask() == {503: 3, good.port: 21}
    assert pool.health() == {bad.port: "UNHEALTHY", good.port: "HEALTHY"}
    assert pool.ask() == {good.port: 24}
    # passive checks alone never bring it back
    bad.status = 200
    assert pool.ask() == {good.port: 24}
    pool.mark(bad.port, "healthy")
    assert pool.ask() == {good.port: 12, bad.port: 12}


def test_a_success_forgets_failures(pool: Pool) -> None:
    (server,) = pool.start(1)
    pool.configure(server.port, passive={"healthy": {"successes": 1}, "unhealthy": {"http_failures": 2}})
    for status in (500, 200, 500, 200, 500, 404, 500, 503):
        server.status = status
        found = pool.ask(1)
        assert found == {server.port if status == 200 else status: 1}
    assert pool.ask(1) == {503: 1}  # from the gateway: 404 is neither, so the last but one was too many
    assert len(server.heads) == 7


def test_refused_connections_and_timeouts(pool: Pool) -> None:
    refused = free_port()
    slow, good = pool.start(2)
    slow.status = 0
    passive = {"unhealthy": {"tcp_failures": 1, "timeouts": 1}}
    pool.configure(refused, slow.port, good.port, read_ms=1000, passive=passive)
    assert pool.ask() == {502: 1, 504: 1, good.port: 22}
    assert pool.health() == {refused: "UNHEALTHY", slow.port: "UNHEALTHY", good.port: "HEALTHY"}
    assert pool.counters(slow.port)["timeouts"] == 1
    assert pool.counters(refused)["tcp_failures"] == 1


def test_all_targets_out_and_one_back(pool: Pool) -> None:
    one, two = pool.start(2)
    one.status = two.status = 500
    pool.configure(one.port, two.port, passive={"unhealthy": {"http_failures": 1}})
    assert pool.ask(10) == {500: 2, 503: 8}
    assert pool.admin("GET", "health?balancer_health=1")[1]["data"]["health"] == "UNHEALTHY"
    one.status = 200
    pool.mark(one.port, "healthy")
    assert pool.ask(10) == {one.port: 10}
    assert pool.admin("GET", "health?balancer_health=1")[1]["data"]["health"] == "HEALTHY"


def test_what_is_counted_can_be_seen(pool: Pool) -> None:
    (server,) = pool.start(1)
    pool.configure(server.port, passive={"unhealthy": {"http_failures": 5}})
    pool.ask(6)
    server.status = 500
    pool.ask(2)
    assert pool.counters(server.port) == {
        "state": "mostly_healthy",
        "successes": 0,
        "tcp_failures": 0,
        "timeouts": 0,
        "http_failures": 2,
        "changes": 0,
        "open": 0,
        "requests": 8,
        "failures": 0,
    }
    assert "counters" not in pool.admin("GET", "health")[1]["data"][0]["data"]["addresses"][0]


# --- active checks ------------------------------------------------------------------------------------------


def test_probes_take_targets_out_and_bring_them_back(pool: Pool, gateway: Gateway) -> None:
    one, two = pool.start(2)
    one.probe_status = 500
    pool.configure(one.port, two.port, active={**OFTEN, "http_path": "/probe"})
    pool.until_out(one)
    assert pool.ask() == {two.port: 24}
    one.probe_status = 200
    pool.until_out(one, out=False)
    assert pool.ask() == {one.port: 12, two.port: 12}
    log = gateway.output()
    for words in ("unhealthy now (active check: status 500)", "healthy now (active check: status 200)"):
        assert f"upstream {pool.name}: target 127.0.0.1:{one.port} (127.0.0.1:{one.port}) is {words}" in log


def test_a_server_that_goes_and_comes(pool: Pool) -> None:
    one, two = pool.start(2)
    pool.configure(one.port, two.port, active={**OFTEN, "http_path": "/probe"})
    one.close()
    pool.until_out(one)
    assert pool.ask() == {two.port: 24}
    with Server(one.port) as again:
        pool.until_out(again, out=False)
        assert pool.ask() == {again.port: 12, two.port: 12}


def test_probes_that_hang(pool: Pool) -> None:
    one, two = pool.start(2)
    one.probe_status = 0
    pool.configure(one.port, two.port, active={**OFTEN, "http_path": "/probe", "timeout": 1})
    pool.until_out(one)
    assert pool.counters(one.port)["timeouts"] == 1
    assert pool.ask() == {two.port: 24}


def test_probes_mend_what_requests_found_out(pool: Pool) -> None:
    """Passive checks take a target out at once, active ones bring it back: the usual way."""
    bad, good = pool.start(2)
    bad.status = 500
    passive = {"unhealthy": {"http_failures": 1}}
    seldom = {"healthy": {"interval": 0, "successes": 2}, "unhealthy": {"interval": 0.1}}
    pool.configure(bad.port, good.port, passive=passive, active={**seldom, "http_path": "/probe"})
    assert pool.ask(10)[500] >= 1
    bad.status = 200
    wait_for(lambda: pool.health()[bad.port] == "HEALTHY", what="the target is back")
    assert bad.probes >= 2
    assert not good.probes


def test_the_threshold(pool: Pool) -> None:
    servers = pool.start(3)
    checks = {"active": {**OFTEN, "http_path": "/probe"}, "threshold": 50}
    pool.configure(*(server.port for server in servers), **checks)
    servers[0].probe_status = 500
    pool.until_out(servers[0])
    assert sum(pool.ask(6).values()) == 6
    assert 503 not in pool.ask(6)
    servers[1].probe_status = 500
    pool.until_out(servers[1])
    assert pool.ask(6) == {503: 6}  # a third is not more than half
    servers[1].probe_status = 200
    pool.until_out(servers[1], out=False)
    assert 503 not in pool.ask(6)


class SecuredServer:
    """Answers each connection's first request with 200 over TLS."""

    def __init__(self, pem: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self.upstream = Upstream(self._serve)
        self.port = self.upstream.port

    def _serve(self, connection: Connection) -> None:
        with self._context.wrap_socket(connection.socket, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(response())


def test_probes_with_tls_and_tcp(pool: Pool, authority: tuple[Any, Path], tmp_path: Path) -> None:
    servers = []
    for number, issued in enumerate(({"issuer": "health authority", "issuer_key": authority[0]}, {})):
        key = new_key()
        pem = tmp_path / f"{number}.pem"
        pem.write_text(certificate("secured.test", key, **issued) + key_pem(key))  # type: ignore[arg-type]
        servers.append(SecuredServer(pem))
        pool.stack.callback(servers[-1].upstream.close)
    known, unknown = (server.port for server in servers)
    refused = free_port()
    active = {**OFTEN, "type": "https", "https_sni": "secured.test"}
    pool.configure(known, unknown, refused, active=active)
    out = {known: "HEALTHY", unknown: "UNHEALTHY", refused: "UNHEALTHY"}
    wait_for(lambda: pool.health() == out, what="targets without a good certificate are out")
    pool.configure(known, unknown, refused, active={**active, "https_verify_certificate": False})
    wait_for(lambda: pool.health() == {**out, unknown: "HEALTHY"}, what="certificates do not matter")
    pool.configure(known, unknown, refused, active={**OFTEN, "type": "tcp"})
    pool.mark(known, "unhealthy")
    wait_for(lambda: pool.health() == {**out, unknown: "HEALTHY"}, what="a connection is enough")


# --- by hand ------------------------------------------------------------------------------------------------


def test_the_very_next_request_goes_by_a_mark(pool: Pool) -> None:
    one, two = pool.start(2)
    pool.configure(one.port, two.port, passive={"unhealthy": {"tcp_failures": 1}})
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pool.gateway.proxy_port)) for _ in range(8)]
        for number in range(20):
            out, rest = (one, two) if number % 2 else (two, one)
            pool.mark(rest.port, "healthy")
            pool.mark(out.port, "unhealthy")
            answers = {client.request("/").response().body for client in clients}
            assert answers == {b"%d" % rest.port}


def test_health_checks_that_are_off_know_no_marks(pool: Pool) -> None:
    (server,) = pool.start(1)
    pool.configure(server.port, passive={"unhealthy": {"tcp_failures": 1}})
    pool.mark(server.port, "unhealthy")
    assert pool.ask(2) == {503: 2}
    pool.configure(server.port)
    assert pool.health() == {server.port: "HEALTHCHECKS_OFF"}
    assert pool.ask(4) == {server.port: 4}
    assert pool.admin("PUT", f"targets/127.0.0.1:{server.port}/healthy")[0] == 400


# --- what survives ------------------------------------------------------------------------------------------


def test_a_reload_keeps_health(pool: Pool, gateway: Gateway) -> None:
    one, two = pool.start(2)
    checks = {"passive": {"unhealthy": {"http_failures": 1}}}
    pool.configure(one.port, two.port, **checks)
    pool.mark(one.port, "unhealthy")
    other = {"consumers": [{"username": "somebody"}]}
    pool.configure(two.port, one.port, more=other, **checks)
    assert pool.ask() == {two.port: 24}
    # gone and back again
    pool.configure(two.port, **checks)
    pool.configure(one.port, two.port, **checks)
    assert pool.ask() == {two.port: 24}
    assert pool.health() == {one.port: "UNHEALTHY", two.port: "HEALTHY"}


def test_killed_processes_keep_health(pool: Pool, gateway: Gateway) -> None:
    one, two, three = pool.start(3)
    active = {**OFTEN, "http_path": "/probe"}
    pool.configure(one.port, two.port, three.port, active=active)
    three.probe_status = 500
    pool.until_out(three)
    control = gateway.status()["control"]["pid"]
    os.kill(control, signal.SIGKILL)
    assert set(pool.ask()) == {one.port, two.port}
    wait_for(lambda: other_control(gateway, control) and pool.health(), what="another control process")
    assert pool.health()[three.port] == "UNHEALTHY"
    before = one.probes
    wait_for(lambda: one.probes > before + 1, what="probes go on")
    three.probe_status = 200
    pool.until_out(three, out=False)
    # and a worker
    pool.mark(one.port, "unhealthy")
    pool.configure(one.port, two.port, three.port, passive={"unhealthy": {"http_failures": 1}})
    pool.mark(one.port, "unhealthy")
    killed = set(gateway.worker_pids())
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: other_workers(gateway, killed, 2) and gateway.accepts(), what="new workers")
    assert set(pool.ask()) == {two.port, three.port}
    assert pool.counters(two.port)["open"] == 0


# --- shown --------------------------------------------------------------------------------------------------


def test_explanations_leave_out_who_is_unhealthy(pool: Pool, gateway: Gateway) -> None:
    one, two = pool.start(2)
    pool.configure(one.port, two.port, passive={"unhealthy": {"http_failures": 1}})

    def explained() -> tuple[Any, list[str], list[str]]:
        body = gateway.call(gateway.admin_port, "GET", "/explain?url=http://a.test/")[2]
        target = json.loads(body)["target"]
        return (
            target["picked"],
            [peer["address"] for peer in target["peers"]],
            [peer["address"] for peer in target["left_out"]],
        )

    addresses = sorted(f"127.0.0.1:{server.port}" for server in (one, two))
    picked, peers, left_out = explained()
    assert (picked, sorted(peers), left_out) == (None, addresses, [])
    pool.mark(one.port, "unhealthy")
    rest = f"127.0.0.1:{two.port}"
    assert explained() == (rest, [rest], [f"127.0.0.1:{one.port}"])
    pool.mark(two.port, "unhealthy")
    picked, peers, left_out = explained()
    assert (picked, peers, sorted(left_out)) == (None, [], addresses)


def test_metrics_tell_the_truth(pool: Pool, gateway: Gateway) -> None:
    one, two = pool.start(2)
    pool.configure(
        one.port,
        two.port,
        more={"plugins": [{"name": "prometheus", "config": {"upstream_health_metrics": True}}]},
        passive={"unhealthy": {"http_failures": 1}},
    )
    one.status = 500
    pool.ask(4)
    at_rest(gateway)
    families = parse(gateway.call(gateway.status_port, "GET", "/metrics")[2])
    family = families["kong_upstream_target_health"]
    states = {
        labels["address"]: labels["state"]
        for (_, own), value in family.samples.items()
        if value and (labels := dict(own))["upstream"] == pool.name
    }
    assert states == {f"127.0.0.1:{one.port}": "unhealthy", f"127.0.0.1:{two.port}": "healthy"}
    counted = {
        name: {
            labels["address"]: value
            for (_, own), value in families[f"sluicegate_target_{name}"].samples.items()
            if (labels := dict(own))["upstream"] == pool.name
        }
        for name in ("requests_open", "requests_total", "changes_total", "failures_total")
    }
    addresses = (f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}")
    assert counted == {
        "requests_open": dict.fromkeys(addresses, 0),
        "requests_total": dict(zip(addresses, (1, 3), strict=True)),
        "changes_total": dict(zip(addresses, (1, 0), strict=True)),
        "failures_total": dict.fromkeys(addresses, 0),
    }

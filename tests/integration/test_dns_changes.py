"""Names whose addresses change, through a real name server and real gateway processes (proxying.md §6)."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dns.rcode
import psutil
import pytest

from gateway.run_directory import RunDirectory, read_json
from tests.support.dns_server import RunningDns
from tests.support.gateway import Gateway, free_port, one_service, wait_for
from tests.support.upstreams import Connection, Upstream, response

QUICK = 1
"""seconds: the shortest time to live that is kept to"""
STALE = 6
"""seconds that old addresses serve: longer than a busy machine takes to start another control process"""


@pytest.fixture(scope="module")
def names() -> Iterator[RunningDns]:
    with RunningDns() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(names: RunningDns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    hosts = tmp_path_factory.mktemp("dns") / "hosts"
    hosts.write_text("")
    with Gateway(
        worker_processes=2,
        dns_resolver=f"127.0.0.1:{names.port}",
        dns_hostsfile=hosts,
        dns_stale_ttl=STALE,
        dns_not_found_ttl=1,
    ) as running:
        yield running


class Addresses:
    """Backends at 127.0.0.1, 127.0.0.2, … on one port; each answers with its address and the Host it saw."""

    def __init__(self, count: int) -> None:
        self.port = free_port()
        self.upstreams = [
            Upstream(self.handler(f"127.0.0.{number + 1}"), address=f"127.0.0.{number + 1}", port=self.port)
            for number in range(count)
        ]

    @staticmethod
    def handler(address: str) -> Any:
        def serve(connection: Connection) -> None:
            while head := connection.read_head():
                lines = head.decode().split("\r\n")
                host = next(line[6:] for line in lines if line.lower().startswith("host: "))
                connection.send(response(json.dumps([address, host]).encode()))

        return serve

    def close(self) -> None:
        for upstream in self.upstreams:
            upstream.close()


@pytest.fixture(scope="module")
def backends() -> Iterator[Addresses]:
    started = Addresses(3)
    yield started
    started.close()


def ask(gateway: Gateway) -> tuple[int, str, str]:
    """Status, which backend answered (or the message), and the Host it saw."""
    status, _, body = gateway.request("/")
    found = json.loads(body)
    return (status, *found) if status == 200 else (status, found["message"], "")


def wait_until_served_by(gateway: Gateway, *addresses: str) -> None:
    """Until requests go to these backends and no others."""
    wait_for(
        lambda: {ask(gateway)[1] for _ in range(6 * len(addresses))} == set(addresses),
        what=f"served by {addresses}",
    )


def balanced(gateway: Gateway, target: str, **upstream: Any) -> None:
    document = one_service(80, host="group.test")
    targets = [{"target": target, "weight": 100}]
    gateway.configure({**document, "upstreams": [{"name": "group.test", "targets": targets, **upstream}]})


class Load:
    """Clients that ask all the time."""

    def __init__(self, gateway: Gateway, clients: int = 4) -> None:
        self._gateway = gateway
        self.seen: Counter[tuple[int, str]] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._over.is_set():
            status, answer, _ = ask(self._gateway)
            self.seen[status, answer] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_addresses_change_under_load(gateway: Gateway, names: RunningDns, backends: Addresses) -> None:
    names.zone.set("moves.test", "A", "127.0.0.1", ttl=QUICK)
    began = time.monotonic()
    gateway.configure(one_service(backends.port, host="moves.test"))
    wait_until_served_by(gateway, "127.0.0.1")
    with Load(gateway) as load:
        for addresses in (["127.0.0.2", "127.0.0.3"], ["127.0.0.3"]):
            names.zone.set("moves.test", "A", *addresses, ttl=QUICK)
            wait_until_served_by(gateway, *addresses)
    assert {status for status, _ in load.seen} == {200}
    assert all(load.seen[200, f"127.0.0.{number}"] for number in (1, 2, 3))
    # asked once for each time to live, not for each request
    times = (time.monotonic() - began) / QUICK
    assert names.zone.asked("moves.test", "A") < 6 + 2 * times < sum(load.seen.values())


def test_srv_records_tell_ports_weights_and_priorities(
    gateway: Gateway, names: RunningDns, backends: Addresses
) -> None:
    """Of the lowest number only; weight 0 counts as 1."""
    port = backends.port
    names.zone.set(
        "_web.srv.test", "SRV", f"1 3 {port} one.test.", f"1 0 {port} two.test.", f"9 9 {port} three.test."
    )
    for number, name in enumerate(("one", "two", "three"), 1):
        names.zone.set(f"{name}.test", "A", f"127.0.0.{number}")
    gateway.configure(one_service(1, host="_web.srv.test"))
    wait_for(lambda: ask(gateway)[0] == 200, what="the name is known")
    answers = Counter(ask(gateway) for _ in range(80))
    host = f"_web.srv.test:{port}"
    assert answers.keys() == {(200, "127.0.0.1", host), (200, "127.0.0.2", host)}
    assert 58 <= answers[200, "127.0.0.1", host] <= 62


@pytest.mark.parametrize("use_srv_name", [True, False], ids=["of the record", "of the target"])
def test_the_name_in_host(
    gateway: Gateway, names: RunningDns, backends: Addresses, use_srv_name: bool
) -> None:
    names.zone.set("srv.test", "SRV", f"1 1 {backends.port} one.test.", f"1 1 {backends.port} two.test.")
    for number, name in enumerate(("one", "two"), 1):
        names.zone.set(f"{name}.test", "A", f"127.0.0.{number}")
    balanced(gateway, "srv.test:99", use_srv_name=use_srv_name)
    wait_for(lambda: ask(gateway)[0] == 200, what="the name is known")
    hosts = {ask(gateway)[1:] for _ in range(20)}
    own = {"127.0.0.1": "one.test", "127.0.0.2": "two.test"}
    assert hosts == {
        (address, f"{name if use_srv_name else 'srv.test'}:{backends.port}") for address, name in own.items()
    }


def test_a_name_that_ceases_to_be(gateway: Gateway, names: RunningDns, backends: Addresses) -> None:
    names.zone.set("gone.test", "A", "127.0.0.1", ttl=QUICK)
    gateway.configure(one_service(backends.port, host="gone.test"))
    wait_for(lambda: ask(gateway)[0] == 200, what="the name is known")
    names.zone.set("gone.test", "A")
    wait_for(lambda: ask(gateway) == (503, "name resolution failed", ""), what="the name is gone")
    names.zone.set("gone.test", "CNAME", "back.test.", ttl=QUICK)
    names.zone.set("back.test", "CNAME", "again.test.", ttl=QUICK)
    names.zone.set("again.test", "A", "127.0.0.2", ttl=QUICK)
    wait_for(lambda: ask(gateway)[1] == "127.0.0.2", what="the name is back")


def test_a_new_control_process_without_a_name_server(
    gateway: Gateway, names: RunningDns, backends: Addresses
) -> None:
    names.zone.set("lasting.test", "A", "127.0.0.1", ttl=QUICK)
    gateway.configure(one_service(backends.port, host="lasting.test"))
    wait_for(lambda: ask(gateway)[0] == 200, what="the name is known")
    names.zone.failure = dns.rcode.SERVFAIL
    number = gateway.status()["peers_number"]
    with Load(gateway, 1) as load:
        psutil.Process(read_json(RunDirectory(gateway.prefix).state)["control_pid"]).kill()
        wait_for(lambda: peers_number(gateway) > number, what="it has published")
        asked = names.zone.asked("lasting.test", "A")
        wait_for(lambda: names.zone.asked("lasting.test", "A") > asked, what="it has asked")
    assert load.seen.keys() == {(200, "127.0.0.1")}
    names.zone.set("lasting.test", "A", "127.0.0.2", ttl=QUICK)
    names.zone.failure = None
    wait_until_served_by(gateway, "127.0.0.2")


def peers_number(gateway: Gateway) -> int:
    """Of the snapshot; 0 while nobody answers."""
    try:
        return int(gateway.status()["peers_number"])
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def test_a_name_server_that_goes_away_and_comes_back(
    gateway: Gateway, names: RunningDns, backends: Addresses
) -> None:
    names.zone.set("kept.test", "A", "127.0.0.1", ttl=QUICK)
    gateway.configure(one_service(backends.port, host="kept.test"))
    wait_for(lambda: ask(gateway)[0] == 200, what="the name is known")
    names.zone.failure = dns.rcode.SERVFAIL
    asked = names.zone.asked("kept.test", "A")
    with Load(gateway, 1) as load:
        wait_for(lambda: names.zone.asked("kept.test", "A") > asked + 1, what="it fails")
    assert load.seen.keys() == {(200, "127.0.0.1")}
    # what is stale is not used for ever
    wait_for(lambda: ask(gateway)[0] == 500, what="nothing is known any more")
    names.stop()
    names.zone.set("kept.test", "A", "127.0.0.3", ttl=QUICK)
    names.zone.failure = None
    names.start()
    wait_for(lambda: ask(gateway)[1] == "127.0.0.3", what="the name server is back")

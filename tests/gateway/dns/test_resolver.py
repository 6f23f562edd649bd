"""The resolver against a real DNS server: order, TTL, stale answers, negative answers, changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import dns.rcode
import pytest

from gateway.dns import RememberedAddresses, Resolver, ResolverOptions
from gateway.dns import resolver as resolver_module
from gateway.dns.hosts import HostsFile, parse_hosts
from gateway.snapshot import Resolution, ResolutionState, ResolvedAddress
from tests.support.dns_server import DnsServer, Zone
from tests.support.gateway import PATIENCE


class Harness:
    """A resolver, its server, and the changes it has reported."""

    def __init__(self, resolver: Resolver, zone: Zone, server: DnsServer) -> None:
        self.resolver = resolver
        self.zone = zone
        self.server = server

    def state(self, name: str) -> ResolutionState:
        return self.resolver.resolutions()[name].state

    def addresses(self, name: str) -> set[str]:
        return {address.ip for address in self.resolver.resolutions()[name].addresses}

    async def until(self, condition: Callable[[], bool]) -> None:
        async def poll() -> None:
            while not condition():
                await asyncio.sleep(0.005)

        await asyncio.wait_for(poll(), PATIENCE)


@asynccontextmanager
async def running(
    hosts: Path | None = None,
    on_change: Callable[[set[str]], None] = lambda names: None,
    known: Mapping[str, tuple[ResolvedAddress, ...]] | None = None,
    **options: object,
) -> AsyncIterator[Harness]:
    zone = Zone()
    server = DnsServer(zone)
    await server.start()
    chosen = ResolverOptions(
        nameservers=(("127.0.0.1", server.port),),
        hosts_file=hosts,
        **{"timeout": 2.0, "lifetime": 4.0, **options},  # type: ignore[arg-type]
    )
    resolver = Resolver(chosen, on_change, known)
    resolver.start()
    try:
        yield Harness(resolver, zone, server)
    finally:
        await resolver.close()
        server.stop()


@pytest.fixture(autouse=True)
def short_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """TTLs below a second, so that no test has to wait for one."""
    monkeypatch.setattr(resolver_module, "SHORTEST_LIFE", 0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_addresses_of_a_name() -> None:
    async def test() -> None:
        async with running() as it:
            it.zone.set("api.test", "A", "10.0.0.1", "10.0.0.2")
            it.resolver.use(["api.test"])
            assert it.resolver.pending() == ["api.test"]
            assert await it.resolver.settle(PATIENCE)
            resolution = it.resolver.resolutions()["api.test"]
            assert resolution.state is ResolutionState.READY
            assert {(one.ip, one.port, one.weight) for one in resolution.addresses} == {
                ("10.0.0.1", None, None),
                ("10.0.0.2", None, None),
            }

    run(test)


def test_aliases_are_followed_with_the_shortest_ttl() -> None:
    async def test() -> None:
        async with running() as it:
            it.zone.set("www.test", "CNAME", "api.test.", ttl=7)
            it.zone.set("api.test", "A", "10.0.0.1", ttl=60)
            it.resolver.use(["www.test"])
            await it.resolver.settle(PATIENCE)
            (address,) = it.resolver.resolutions()["www.test"].addresses
            assert (address.ip, address.ttl) == ("10.0.0.1", 7)

    run(test)


def test_srv_comes_first_with_ports_weights_and_the_lowest_priority_only() -> None:
    async def test() -> None:
        async with running() as it:
            it.zone.set("svc.test", "SRV", "1 5 8080 a.test.", "1 0 8081 b.test.", "2 9 8082 c.test.")
            it.zone.set("svc.test", "A", "10.9.9.9")
            for name, ip in (("a.test", "10.0.0.1"), ("b.test", "10.0.0.2"), ("c.test", "10.0.0.3")):
                it.zone.set(name, "A", ip)
            it.resolver.use(["svc.test"])
            await it.resolver.settle(PATIENCE)
            found = it.resolver.resolutions()["svc.test"].addresses
            assert {(one.ip, one.port, one.weight) for one in found} == {
                ("10.0.0.1", 8080, 5),
                ("10.0.0.2", 8081, 1),
            }

    run(test)


def test_each_srv_record_has_the_name_of_its_target() -> None:
    async def test() -> None:
        async with running() as it:
            it.zone.set("svc.test", "SRV", "1 5 8080 A.test.", "1 5 8080 b.test.", "1 5 8080 gone.test.")
            it.zone.set("a.test", "A", "10.0.0.1", ttl=7)
            it.zone.set("b.test", "A", "10.0.0.1", "10.0.0.2")
            it.resolver.use(["svc.test"])
            await it.resolver.settle(PATIENCE)
            found = it.resolver.resolutions()["svc.test"].addresses
            assert {(one.ip, one.name, one.ttl) for one in found} == {
                ("10.0.0.1", "A.test", 7),
                ("10.0.0.1", "b.test", 7),
                ("10.0.0.2", "b.test", 7),
            }
            it.zone.set("svc.test", "SRV", "1 5 8080 .")
            it.resolver.configure(ResolverOptions((("127.0.0.1", it.server.port),), None, ("SRV",)))
            await it.until(lambda: it.state("svc.test") is ResolutionState.NOT_FOUND)

    run(test)


def test_an_srv_target_that_cannot_be_resolved_is_left_out_until_it_can() -> None:
    async def test() -> None:
        async with running(valid_ttl=0.02, error_ttl=0.02, order=("SRV", "A")) as it:
            it.zone.set("svc.test", "SRV", "1 5 8080 a.test.", "1 5 8080 b.test.")
            it.zone.set("a.test", "A", "10.0.0.1")
            it.zone.set("b.test", "A", "10.0.0.2")
            it.zone.failing_names["b.test"] = dns.rcode.SERVFAIL
            it.resolver.use(["svc.test"])
            await it.resolver.settle(PATIENCE)
            assert it.addresses("svc.test") == {"10.0.0.1"}
            it.zone.failing_names.clear()
            await it.until(lambda: it.addresses("svc.test") == {"10.0.0.1", "10.0.0.2"})
            # what is known is kept when one of them fails later
            it.zone.failing_names["a.test"] = dns.rcode.SERVFAIL
            asked = it.zone.asked("a.test", "A")
            await it.until(lambda: it.zone.asked("a.test", "A") > asked + 3)
            assert it.addresses("svc.test") == {"10.0.0.1", "10.0.0.2"}

    run(test)


def test_a_long_answer_comes_over_tcp() -> None:
    async def test() -> None:
        async with running(order=("A",)) as it:
            it.zone.truncated = True
            addresses = {f"10.1.{number // 250}.{number % 250}" for number in range(600)}
            it.zone.set("many.test", "A", *addresses)
            it.resolver.use(["many.test"])
            await it.resolver.settle(PATIENCE)
            assert it.addresses("many.test") == addresses
            assert it.zone.asked("many.test", "A") == 1

    run(test)


def test_aliases_in_a_circle_are_an_error_and_not_the_end() -> None:
    async def test() -> None:
        async with running(error_ttl=0.01) as it:
            for number in range(20):
                it.zone.set(f"c{number}.test", "CNAME", f"c{number + 1}.test.")
            it.resolver.use(["c0.test"])
            await it.resolver.settle(PATIENCE)
            assert it.state("c0.test") in (ResolutionState.ERROR, ResolutionState.NOT_FOUND)
            it.zone.set("c0.test", "CNAME")
            it.zone.set("c0.test", "A", "10.0.0.1")
            await it.until(lambda: it.state("c0.test") is ResolutionState.READY)

    run(test)


def test_an_answer_is_asked_for_again_when_its_ttl_is_over_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TTL 0 counts as the shortest life, so that nobody is hammered."""

    async def test() -> None:
        monkeypatch.setattr(resolver_module, "SHORTEST_LIFE", 0.25)
        async with running(order=("A",)) as it:
            it.zone.set("zero.test", "A", "10.0.0.1", ttl=0)
            it.zone.set("long.test", "A", "10.0.0.1", ttl=60)
            begun = asyncio.get_running_loop().time()
            it.resolver.use(["zero.test", "long.test"])
            await it.until(lambda: it.zone.asked("zero.test", "A") == 4)
            assert asyncio.get_running_loop().time() - begun >= 3 * 0.25
            assert it.zone.asked("long.test", "A") == 1

    run(test)


def test_the_type_that_succeeded_last_is_asked_first() -> None:
    async def test() -> None:
        async with running(valid_ttl=0.01) as it:
            it.zone.set("api.test", "A", "10.0.0.1")
            it.resolver.use(["api.test"])
            await it.until(lambda: it.zone.asked("api.test", "A") >= 3)
            assert it.zone.asked("api.test", "SRV") == 1

    run(test)


@pytest.mark.parametrize(("order", "expected"), [(("A", "AAAA"), "10.0.0.1"), (("AAAA", "A"), "fd00::1")])
def test_the_order_decides_between_ip_versions(order: tuple[str, ...], expected: str) -> None:
    async def test() -> None:
        async with running(order=order) as it:
            it.zone.set("api.test", "A", "10.0.0.1")
            it.zone.set("api.test", "AAAA", "fd00::1")
            it.resolver.use(["api.test"])
            await it.resolver.settle(PATIENCE)
            assert it.addresses("api.test") == {expected}

    run(test)


def test_an_unknown_name_is_asked_for_again_after_the_negative_ttl() -> None:
    async def test() -> None:
        changes: list[set[str]] = []
        async with running(on_change=changes.append, not_found_ttl=0.01) as it:
            it.resolver.use(["late.test"])
            await it.resolver.settle(PATIENCE)
            assert it.state("late.test") is ResolutionState.NOT_FOUND
            it.zone.set("late.test", "A", "10.0.0.1")
            await it.until(lambda: it.state("late.test") is ResolutionState.READY)
            assert changes == [{"late.test"}, {"late.test"}]

    run(test)


def test_names_that_dns_cannot_express_are_not_found() -> None:
    async def test() -> None:
        async with running() as it:
            names = ["a..b", "x" * 64 + ".test"]
            it.resolver.use(names)
            await it.resolver.settle(PATIENCE)
            assert [it.state(name) for name in names] == [ResolutionState.NOT_FOUND] * 2
            assert it.zone.questions == []

    run(test)


@pytest.mark.parametrize("silent", [False, True])
def test_a_failing_server_is_an_error_and_is_asked_again(silent: bool) -> None:
    async def test() -> None:
        async with running(error_ttl=0.01, timeout=0.2, lifetime=0.4) as it:  # spent when it is silent
            it.zone.failure, it.zone.silent = dns.rcode.SERVFAIL, silent
            it.resolver.use(["api.test"])
            await it.until(lambda: not it.resolver.pending())
            assert it.state("api.test") is ResolutionState.ERROR
            it.zone.set("api.test", "A", "10.0.0.1")
            it.zone.failure, it.zone.silent = None, False
            await it.until(lambda: it.state("api.test") is ResolutionState.READY)

    run(test)


def test_old_addresses_serve_while_a_refresh_fails_until_they_are_stale() -> None:
    async def test() -> None:
        changes: list[set[str]] = []
        async with running(on_change=changes.append, valid_ttl=0.01, error_ttl=0.01, stale_ttl=1.5) as it:
            it.zone.set("api.test", "A", "10.0.0.1")
            it.resolver.use(["api.test"])
            await it.resolver.settle(PATIENCE)
            it.zone.failure = dns.rcode.SERVFAIL
            asked = len(it.zone.questions)
            await it.until(lambda: len(it.zone.questions) > asked + 8)
            assert it.addresses("api.test") == {"10.0.0.1"}
            assert changes == [{"api.test"}]
            await it.until(lambda: it.state("api.test") is ResolutionState.ERROR)
            assert it.addresses("api.test") == set()

    run(test)


def test_what_was_known_before_serves_until_the_name_is_resolved() -> None:
    async def test() -> None:
        changes: list[set[str]] = []
        known = {"api.test": (ResolvedAddress("10.0.0.1"),), "other.test": (ResolvedAddress("10.0.0.9"),)}
        async with running(on_change=changes.append, error_ttl=0.01, known=known) as it:
            it.zone.failure = dns.rcode.SERVFAIL
            it.resolver.use(["api.test"])
            assert it.resolver.pending() == []
            await it.until(lambda: it.zone.asked("api.test", "A") > 3)
            assert it.addresses("api.test") == {"10.0.0.1"}
            assert changes == []
            it.zone.set("api.test", "A", "10.0.0.2")
            it.zone.failure = None
            await it.until(lambda: it.addresses("api.test") == {"10.0.0.2"})
            it.resolver.use(["other.test"])
            assert it.resolver.pending() == ["other.test"]

    run(test)


def test_addresses_are_remembered_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "addresses.json"
    remembered = RememberedAddresses(path)
    assert remembered.load() == {}
    addresses = (ResolvedAddress("10.0.0.1"), ResolvedAddress("fd00::1", 8080, 5, 7.0, "a.test"))
    remembered.save(
        {
            "api.test": Resolution(ResolutionState.READY, addresses),
            "gone.test": Resolution(ResolutionState.NOT_FOUND),
        }
    )
    assert RememberedAddresses(path).load() == {"api.test": addresses}
    for text in ("", "{", "[]", '{"a": [{"ip": 5}]}', "\xff"):
        path.write_bytes(text.encode("latin-1"))
        assert RememberedAddresses(path).load() == {}
    path.unlink()
    path.mkdir()
    RememberedAddresses(path).save({})
    RememberedAddresses(tmp_path / "missing" / "x").save({"a": Resolution(ResolutionState.READY, addresses)})


def test_changed_addresses_are_reported_once_and_the_order_is_no_change() -> None:
    async def test() -> None:
        changes: list[set[str]] = []
        async with running(on_change=changes.append, valid_ttl=0.01) as it:
            it.zone.set("api.test", "A", "10.0.0.1", "10.0.0.2")
            it.resolver.use(["api.test"])
            await it.resolver.settle(PATIENCE)
            it.zone.set("api.test", "A", "10.0.0.2", "10.0.0.1")
            asked = it.zone.asked("api.test", "A")
            await it.until(lambda: it.zone.asked("api.test", "A") > asked + 3)
            assert changes == [{"api.test"}]
            it.zone.set("api.test", "A", "10.0.0.3")
            await it.until(lambda: it.addresses("api.test") == {"10.0.0.3"})
            assert changes == [{"api.test"}] * 2

    run(test)


def test_names_no_longer_in_use_are_forgotten_and_not_asked_for() -> None:
    async def test() -> None:
        async with running(valid_ttl=0.01) as it:
            it.zone.set("a.test", "A", "10.0.0.1")
            it.zone.set("b.test", "A", "10.0.0.2")
            it.resolver.use(["a.test", "b.test"])
            await it.resolver.settle(PATIENCE)
            it.resolver.use(["b.test"])
            assert set(it.resolver.resolutions()) == {"b.test"}
            before_b = it.zone.asked("b.test", "A")
            await it.until(lambda: it.zone.asked("b.test", "A") > before_b + 2)
            before_a = it.zone.asked("a.test", "A")
            await it.until(lambda: it.zone.asked("b.test", "A") > before_b + 6)
            assert it.zone.asked("a.test", "A") == before_a

    run(test)


def test_names_keep_their_addresses_when_others_are_added() -> None:
    async def test() -> None:
        async with running() as it:
            it.zone.set("a.test", "A", "10.0.0.1")
            it.resolver.use(["a.test"])
            await it.resolver.settle(PATIENCE)
            it.resolver.use(["a.test", "b.test"])
            assert it.addresses("a.test") == {"10.0.0.1"}
            assert it.resolver.pending() == ["b.test"]

    run(test)


def test_waiting_for_a_silent_server_is_bounded() -> None:
    async def test() -> None:
        async with running(timeout=30.0, lifetime=60.0) as it:
            it.zone.silent = True
            it.resolver.use(["api.test"])
            assert not await it.resolver.settle(0.05)
            assert it.state("api.test") is ResolutionState.PENDING

    run(test)


def test_other_options_ask_again_and_an_equal_set_does_not() -> None:
    async def test() -> None:
        async with running() as first, running() as second:
            first.zone.set("api.test", "A", "10.0.0.1")
            second.zone.set("api.test", "A", "10.0.0.2")
            first.resolver.use(["api.test"])
            await first.resolver.settle(PATIENCE)
            options = ResolverOptions(nameservers=(("127.0.0.1", second.server.port),), hosts_file=None)
            first.resolver.configure(options)
            await first.until(lambda: first.addresses("api.test") == {"10.0.0.2"})
            asked = len(second.zone.questions)
            first.resolver.configure(options)
            first.resolver.use(["api.test", "other.test"])
            await first.resolver.settle(PATIENCE)
            assert second.zone.asked("api.test", "A") == 1
            assert len(second.zone.questions) > asked

    run(test)


def test_many_names_are_resolved_with_bounded_concurrency() -> None:
    async def test() -> None:
        async with running(concurrency=4, order=("A",)) as it:
            names = [f"n{number}.test" for number in range(100)]
            for number, name in enumerate(names):
                it.zone.set(name, "A", f"10.0.1.{number}")
            it.resolver.use(names)
            assert await it.resolver.settle(PATIENCE)
            assert all(it.state(name) is ResolutionState.READY for name in names)

    run(test)


# --- without a server -----------------------------------------------------------------------------


def resolve(hosts: Path | None, name: str, **options: object) -> Resolution:
    async def ask() -> Resolution:
        async with running(hosts, **options) as it:
            it.resolver.use([name])
            await it.resolver.settle(PATIENCE)
            assert it.zone.questions == []
            return it.resolver.resolutions()[name]

    return asyncio.run(ask())


def test_the_hosts_file_comes_before_dns(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "10.1.1.1 backend Backend.internal # a comment\nfd00::7 backend\n"
        "nonsense backend\n\n10.1.1.2\tbackend\n"
    )
    assert [one.ip for one in resolve(hosts, "BACKEND").addresses] == ["10.1.1.1", "10.1.1.2"]
    assert [one.ip for one in resolve(hosts, "backend.internal").addresses] == ["10.1.1.1"]
    assert [one.ip for one in resolve(hosts, "backend", order=("AAAA", "A")).addresses] == ["fd00::7"]


def test_localhost_needs_no_file(tmp_path: Path) -> None:
    assert [one.ip for one in resolve(None, "localhost").addresses] == ["127.0.0.1"]
    assert [one.ip for one in resolve(tmp_path / "missing", "localhost").addresses] == ["127.0.0.1"]


@pytest.mark.parametrize("literal", ["192.0.2.7", "2001:db8::7", "[2001:db8::7]"])
def test_addresses_are_their_own_answer(literal: str) -> None:
    assert [one.ip for one in resolve(None, literal).addresses] == [literal.strip("[]")]


def test_a_changed_hosts_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("10.0.0.1 a\n")
    hosts = HostsFile(path)
    assert hosts.addresses("a") == ("10.0.0.1",)
    path.write_text("10.0.0.22 a\n")
    assert hosts.addresses("a") == ("10.0.0.22",)
    path.unlink()
    assert hosts.addresses("a") == ("10.0.0.22",)


def test_odd_lines_of_a_hosts_file_are_skipped() -> None:
    assert parse_hosts("# only a comment\n1.2.3 a\n10.0.0.1\nfe80::1%eth0 link\n10.0.0.1 a a A.\n") == {
        "link": ("fe80::1",),
        "a": ("10.0.0.1",),
    }


def test_a_name_that_is_too_long_is_not_even_looked_at() -> None:
    """Taking a name of millions of labels apart would hold the event loop for seconds."""

    async def test() -> None:
        async with running() as harness:
            name = "a." * 2_000_000
            harness.resolver.use([name])
            await harness.until(lambda: harness.state(name) is ResolutionState.NOT_FOUND)
            assert not harness.zone.questions

    asyncio.run(test())

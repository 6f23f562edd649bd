import ipaddress
import uuid
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.entities.fields import Reference
from gateway.entities.services import Service
from gateway.entities.targets import Target
from gateway.entities.upstreams import HealthChecks, Upstream
from gateway.snapshot import (
    PeersCompiler,
    Resolution,
    ResolutionState,
    ResolvedAddress,
    compile_peers,
    host_names,
)
from gateway.snapshot.peers import LONGEST_WHEEL, host_field, weighted_wheel
from gateway.snapshot.slots import target_identity
from gateway.store.configuration import Configuration
from native.snapshot import BalancingAlgorithm, HashInput, PeerSetState, find_peer_set

UPSTREAM_ID = str(uuid.UUID(int=500))


def service(number: int, **fields) -> Service:
    given = {"id": str(uuid.UUID(int=number)), "created_at": 1, "updated_at": 1}
    return Service(**given | fields)


def upstream(**fields) -> Upstream:
    return Upstream(**{"id": UPSTREAM_ID, "created_at": 1, "updated_at": 1, "name": "balanced"} | fields)


def target(number: int, text: str, weight: int | None = 100) -> Target:
    return Target(
        id=str(uuid.UUID(int=1000 + number)),
        created_at=float(number),
        updated_at=float(number),
        upstream=Reference(UPSTREAM_ID),
        target=text,
        weight=weight,
    )


def ready(*addresses: ResolvedAddress | str) -> Resolution:
    return Resolution(
        ResolutionState.READY,
        tuple(ResolvedAddress(one) if isinstance(one, str) else one for one in addresses),
    )


def peer_set(key: str, *entities, resolutions=None):
    data = compile_peers(Configuration(entities, "a" * 32), resolutions or {}, number=1)
    found = find_peer_set(data, key)
    for peer in found["peers"] if found else ():
        peer["address"] = str(ipaddress.ip_address(peer["address"]))
    return found


# --- plain hosts ---------------------------------------------------------------------------------


def test_an_address_as_host():
    found = peer_set("host:127.0.0.1:8080", service(1, host="127.0.0.1", port=8080))
    assert found["state"] == PeerSetState.PEERS_READY
    assert found["peers"] == [
        {
            "address": "127.0.0.1",
            "port": 8080,
            "weight": 1,
            "host_header": "127.0.0.1:8080",
            "name": "127.0.0.1",
            "slot": 0,
            "identity": 0,
        }
    ]
    assert found["wheel"] == [0]
    assert peer_set("host:::1:80", service(1, host="::1"))["peers"][0]["host_header"] == "[::1]"


def test_a_name_as_host():
    resolutions = {"a.test": ready("10.0.0.2", "::1", "10.0.0.1")}
    found = peer_set("host:A.test:80", service(1, host="A.test"), resolutions=resolutions)
    assert [peer["address"] for peer in found["peers"]] == ["10.0.0.1", "10.0.0.2", "::1"]
    assert sorted(found["wheel"]) == [0, 1, 2]
    assert {peer["host_header"] for peer in found["peers"]} == {"A.test"}
    assert found["name"] == "A.test"


def test_the_order_of_a_name_servers_answer_does_not_matter():
    one = Configuration([service(1, host="a.test")], "a" * 32)
    first = compile_peers(one, {"a.test": ready("10.0.0.2", "10.0.0.1")}, number=1)
    assert first == compile_peers(one, {"a.test": ready("10.0.0.1", "10.0.0.2")}, number=1)


def test_srv_records_give_port_and_weight():
    srv = ready(ResolvedAddress("10.0.0.1", 9001, 3), ResolvedAddress("10.0.0.2", 9002, 0))
    found = peer_set("host:a.test:80", service(1, host="a.test"), resolutions={"a.test": srv})
    assert [(peer["port"], peer["weight"]) for peer in found["peers"]] == [(9001, 3), (9002, 1)]
    assert found["peers"][0]["host_header"] == "a.test:9001"
    assert Counter(found["wheel"]) == {0: 3, 1: 1}


@pytest.mark.parametrize(
    ("resolution", "state"),
    [
        (None, PeerSetState.PEERS_PENDING),
        (Resolution(ResolutionState.PENDING), PeerSetState.PEERS_PENDING),
        (Resolution(ResolutionState.NOT_FOUND), PeerSetState.PEERS_NOT_FOUND),
        (Resolution(ResolutionState.ERROR), PeerSetState.PEERS_RESOLVE_ERROR),
        (Resolution(ResolutionState.READY), PeerSetState.PEERS_NOT_FOUND),
    ],
)
def test_states_of_a_name(resolution, state):
    resolutions = {} if resolution is None else {"a.test": resolution}
    found = peer_set("host:a.test:80", service(1, host="a.test"), resolutions=resolutions)
    assert found["state"] == state
    assert found["peers"] == []


def test_services_with_one_host_and_port_share_a_set():
    services = [
        service(1, host="10.0.0.1"),
        service(2, host="10.0.0.1"),
        service(3, host="10.0.0.1", port=81),
    ]
    data = compile_peers(Configuration(services, "a" * 32), {}, number=1)
    assert find_peer_set(data, "host:10.0.0.1:80")["index"] == 0
    assert find_peer_set(data, "host:10.0.0.1:81")["index"] == 1


def test_services_out_of_use_have_no_set():
    off = (service(1, host="10.0.0.1", enabled=False), service(2, host="10.0.0.2", protocol="tcp"))
    assert peer_set("host:10.0.0.1:80", *off) is None
    assert peer_set("host:10.0.0.2:80", *off) is None


# --- upstreams -----------------------------------------------------------------------------------


def test_targets():
    found = peer_set(
        "upstream:balanced",
        upstream(),
        target(1, "10.0.0.1:8001", 200),
        target(2, "name.test:80"),
        target(3, "[0000:0000:0000:0000:0000:0000:0000:0001]:8003"),
        target(4, "10.0.0.4:8004", 0),
        target(5, "gone.test:8005"),
        service(1, host="balanced", port=9999),
        resolutions={
            "name.test": ready("10.1.0.1", "10.1.0.2"),
            "gone.test": Resolution(ResolutionState.NOT_FOUND),
        },
    )
    assert found["state"] == PeerSetState.PEERS_READY
    assert [
        (peer["address"], peer["port"], peer["weight"], peer["host_header"]) for peer in found["peers"]
    ] == [
        ("10.0.0.1", 8001, 200, "10.0.0.1:8001"),
        ("10.1.0.1", 80, 100, "name.test"),
        ("10.1.0.2", 80, 100, "name.test"),
        ("::1", 8003, 100, "[0000:0000:0000:0000:0000:0000:0000:0001]:8003"),
    ]
    assert found["peers"][1]["name"] == "name.test:80"
    assert Counter(found["wheel"]) == {0: 2, 1: 1, 2: 1, 3: 1}
    # the Host field comes from the peer: it has the peer's port
    assert found["host_header"] == ""


def test_host_header_of_the_upstream():
    # recorded (scenario lb-host-header): Kong appends the target's port even to a port
    given = (upstream(host_header="up.example:99"), target(1, "127.0.0.1:8001"), target(2, "127.0.0.1:80"))
    found = peer_set("upstream:balanced", *given)
    assert [peer["host_header"] for peer in found["peers"]] == ["up.example:99:8001", "up.example:99"]


def test_tls_services_leave_another_port_out():
    given = (
        upstream(),
        target(1, "a.test:443"),
        target(2, "a.test:80"),
        service(1, host="balanced", protocol="https"),
    )
    resolutions = {"a.test": ready("10.0.0.1")}
    plain = peer_set("upstream:balanced", *given, resolutions=resolutions)
    tls = peer_set("upstream:balanced:tls", *given, resolutions=resolutions)
    assert [peer["host_header"] for peer in plain["peers"]] == ["a.test:443", "a.test"]
    assert [peer["host_header"] for peer in tls["peers"]] == ["a.test", "a.test:80"]


def test_an_upstream_without_peers():
    no_targets = PeerSetState.PEERS_NO_TARGETS
    assert peer_set("upstream:balanced", upstream())["state"] == no_targets
    assert peer_set("upstream:balanced", upstream(), target(1, "10.0.0.1:80", 0))["state"] == no_targets
    named = (upstream(), target(1, "a.test:80"))
    assert peer_set("upstream:balanced", *named)["state"] == PeerSetState.PEERS_NO_TARGETS
    gone = {"a.test": Resolution(ResolutionState.NOT_FOUND)}
    assert peer_set("upstream:balanced", *named, resolutions=gone)["state"] == no_targets


# --- algorithms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "compiled"),
    [
        ({}, {"algorithm": BalancingAlgorithm.BALANCE_ROUND_ROBIN, "slow_start_ms": 0, "rules": None}),
        (
            {"algorithm": "least-connections", "slow_start": 1.5},
            {"algorithm": BalancingAlgorithm.BALANCE_LEAST_CONNECTIONS, "slow_start_ms": 1500},
        ),
        ({"algorithm": "latency"}, {"algorithm": BalancingAlgorithm.BALANCE_LATENCY}),
        (
            {"algorithm": "sticky-sessions", "sticky_sessions_cookie": "c", "slow_start": 1},
            {
                "algorithm": BalancingAlgorithm.BALANCE_STICKY,
                "hash_name": "c",
                "cookie_path": "/",
                "slow_start_ms": 0,
            },
        ),
        (
            {
                "algorithm": "consistent-hashing",
                "hash_on": "header",
                "hash_on_header": "X-A",
                "hash_fallback": "cookie",
                "hash_on_cookie": "c",
                "hash_on_cookie_path": "/p",
                "slots": 20,
            },
            {
                "algorithm": BalancingAlgorithm.BALANCE_CONSISTENT_HASHING,
                "hash_on": HashInput.HASH_HEADER,
                "hash_name": "X-A",
                "hash_fallback": HashInput.HASH_COOKIE,
                "hash_fallback_name": "c",
                "cookie_path": "/p",
            },
        ),
        # nothing to hash
        ({"algorithm": "consistent-hashing"}, {"algorithm": BalancingAlgorithm.BALANCE_ROUND_ROBIN}),
    ],
)
def test_algorithms(fields, compiled):
    found = peer_set("upstream:balanced", upstream(**fields), target(1, "10.0.0.1:80"))
    assert {name: found[name] for name in compiled} == compiled
    assert len(found["hash_table"]) == (20 if "slots" in fields else 0)


def test_health_rules():
    given = {
        "passive": {
            "healthy": {"http_statuses": [200], "successes": 2},
            "unhealthy": {
                "http_statuses": [500, 503],
                "tcp_failures": 3,
                "timeouts": None,
                "http_failures": 5,
            },
        },
        "threshold": 12.5,
    }
    checks = msgspec.convert(given, HealthChecks)
    found = peer_set("upstream:balanced", upstream(healthchecks=checks), target(1, "10.0.0.1:80"))
    assert found["rules"] == {
        "healthy_statuses": [200],
        "unhealthy_statuses": [500, 503],
        "successes": 2,
        "tcp_failures": 3,
        "timeouts": 0,
        "http_failures": 5,
        "threshold": 12.5,
    }


# --- places in shared memory ---------------------------------------------------------------------


class Places:
    """Gives numbers as they come, as long as there are any."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.given: dict[object, int] = {}
        self.last = (frozenset[int](), frozenset[int]())

    def _place(self, key: object) -> int:
        if key not in self.given and len(self.given) == self.room:
            return 0
        return self.given.setdefault(key, len(self.given) + 1)

    def group(self, key: str) -> int:
        return self._place(key)

    def target(self, group_key: str, name: str, ip: str, port: int) -> tuple[int, int]:
        return self._place((group_key, name, ip, port)), target_identity(group_key, name, ip, port)

    def compiled(self, groups, targets) -> None:
        self.last = (frozenset(groups), frozenset(targets))


def test_places():
    places = Places(100)
    compiler = PeersCompiler(places)
    entities = [
        upstream(),
        target(1, "10.0.0.1:80"),
        target(2, "10.0.0.2:80"),
        service(1, host="balanced", protocol="https"),
        service(2, host="10.0.0.9"),
    ]
    data = compiler.compile(Configuration(entities, "a" * 32), {}, number=1)
    plain, tls = (find_peer_set(data, f"upstream:balanced{suffix}") for suffix in ("", ":tls"))
    group = f"upstream:{UPSTREAM_ID}"
    # with and without TLS they are the same targets
    assert plain["slot"] == tls["slot"] == places.given[group]
    for found in (plain, tls):
        assert [peer["slot"] for peer in found["peers"]] == [
            places.given[(group, f"10.0.0.{number}:80", f"10.0.0.{number}", 80)] for number in (1, 2)
        ]
        assert [peer["identity"] for peer in found["peers"]] == [
            target_identity(group, f"10.0.0.{number}:80", f"10.0.0.{number}", 80) for number in (1, 2)
        ]
    host = find_peer_set(data, "host:10.0.0.9:80")
    assert host["slot"] == places.given["host:10.0.0.9:80"]
    assert [peer["slot"] for peer in host["peers"]] == [0]
    assert places.last == ({plain["slot"], host["slot"]}, {peer["slot"] for peer in plain["peers"]})
    # those that are not named any more are given back; what has not changed is named all the same
    compiler.compile(Configuration(entities[:2], "b" * 32), {}, number=2)
    assert places.last == ({plain["slot"]}, {plain["peers"][0]["slot"]})


def test_who_found_no_place_asks_again():
    places = Places(1)
    compiler = PeersCompiler(places)
    configuration = Configuration([upstream(), target(1, "10.0.0.1:80")], "a" * 32)
    found = find_peer_set(compiler.compile(configuration, {}, number=1), "upstream:balanced")
    assert (found["slot"], found["peers"][0]["slot"]) in ((1, 0), (0, 1))
    places.room = 10
    found = find_peer_set(compiler.compile(configuration, {}, number=2), "upstream:balanced")
    assert 0 not in (found["slot"], found["peers"][0]["slot"])


# --- names to resolve ----------------------------------------------------------------------------


def test_host_names():
    configuration = Configuration(
        [
            service(1, host="A.test"),
            service(2, host="127.0.0.1"),
            service(3, host="::1"),
            service(4, host="balanced"),
            service(5, host="off.test", enabled=False),
            upstream(),
            target(1, "b.test:80"),
            target(2, "zero.test:80", 0),
            target(3, "10.0.0.1:80"),
        ],
        "a" * 32,
    )
    assert host_names(configuration) == {"a.test", "b.test"}
    assert host_names(Configuration.EMPTY) == set()


@pytest.mark.parametrize(
    ("host", "port", "protocol", "field"),
    [
        ("a.test", 80, "http", "a.test"),
        ("a.test", 443, "http", "a.test:443"),
        ("a.test", 443, "https", "a.test"),
        ("a.test", 80, "https", "a.test:80"),
        ("a.test", 443, "grpcs", "a.test"),
        ("a.test", 80, "grpc", "a.test"),
        ("::1", 80, "http", "[::1]"),
        ("[::1]", 81, "http", "[::1]:81"),
    ],
)
def test_host_field(host, port, protocol, field):
    assert host_field(host, port, protocol) == field


# --- turns ---------------------------------------------------------------------------------------


def test_turns_are_interleaved():
    assert weighted_wheel([]) == []
    assert weighted_wheel([100]) == [0]
    assert weighted_wheel([100, 100, 100]) == [0, 1, 2]
    assert weighted_wheel([200, 100]) == [0, 1, 0]
    assert weighted_wheel([5, 1, 1]) == [0, 0, 0, 1, 2, 0, 0]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_turns_are_as_often_and_as_even_as_the_weights_say(weights):
    wheel = weighted_wheel(weights)
    counts = Counter(wheel)
    for peer, weight in enumerate(weights):
        assert counts[peer] * sum(weights) == weight * len(wheel)
        places = [place for place, turn in enumerate(wheel) if turn == peer]
        even = len(wheel) / len(places)
        assert all(after - before < 2 * even + len(weights) for before, after in pairwise(places))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 65535), min_size=2, max_size=40))
def test_a_round_has_a_limit(weights):
    wheel = weighted_wheel(weights)
    assert len(wheel) <= LONGEST_WHEEL
    assert set(wheel) == set(range(len(weights)))


def test_many_peers_with_very_different_weights():
    wheel = weighted_wheel([65535] * 3 + [1] * 60_000)
    assert len(wheel) <= LONGEST_WHEEL
    assert len(set(wheel)) == 60_003


# --- compiling again ------------------------------------------------------------------------------

SERVICES = [
    service(number, **fields)
    for number in (1, 2)
    for fields in (
        {"host": "a.test"},
        {"host": "a.test", "port": 443, "protocol": "https"},
        {"host": "b.test", "protocol": "https"},
        {"host": "balanced"},
        {"host": "10.0.0.1"},
    )
]
TARGETS = [
    target(number, text, weight) for number, text in ((1, "a.test:1"), (2, "b.test")) for weight in (0, 5)
]
ANSWERS = [
    ready("10.0.0.1"),
    ready("10.0.0.2", "::1"),
    ready(),
    Resolution(ResolutionState.ERROR),
]


@st.composite
def changes(draw) -> tuple[Configuration, dict[str, Resolution]]:
    def some(entities):
        return draw(st.lists(st.sampled_from(entities), unique_by=lambda entity: entity.id, max_size=3))

    upstreams = draw(st.sampled_from([[], [upstream()], [upstream(host_header="h.test")]]))
    entities = [*some(SERVICES), *upstreams, *(some(TARGETS) if upstreams else ())]
    resolutions = draw(st.dictionaries(st.sampled_from(["a.test", "b.test"]), st.sampled_from(ANSWERS)))
    return Configuration(entities, "a" * 32), resolutions


@settings(max_examples=60)
@given(st.lists(changes(), max_size=6))
def test_what_a_compiler_keeps_changes_nothing(history):
    compiler = PeersCompiler()
    for number, (configuration, resolutions) in enumerate(history):
        data = compiler.compile(configuration, resolutions, number=number)
        assert data == compile_peers(configuration, resolutions, number=number)

import random
from functools import cache

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from router_support import compiled, route

from gateway.snapshot.balancing import HealthRules
from native.router import Router
from native.snapshot import (
    FORMAT,
    HEADER_SIZE,
    MAGIC,
    BalancingAlgorithm,
    ConfigurationBuilder,
    HashInput,
    PeersBuilder,
    PeerSetState,
    PreparedPeerSet,
    SnapshotError,
    describe,
    find_peer_set,
    peer_key,
    verify,
)

RULES = HealthRules([200, 308, 1023], [500, 999, 4000], 1, 2, 3, 255, 33.333)
READY, NOT_FOUND = PeerSetState.PEERS_READY, PeerSetState.PEERS_NOT_FOUND


@cache
def peers_file(count: int = 3) -> bytes:
    builder = PeersBuilder()
    for number in range(count):
        peer = (bytes([10, 0, number, 1]), 8000 + number, 100, f"t{number}:8000", f"t{number}:8000", 1, 11)
        second = (bytes(15) + b"\1", 8000, 50, "[::1]:8000", "[::1]:8000", 2, 12)
        key = f"upstream:u{number}"
        builder.add_set(
            PreparedPeerSet(
                key,
                name=f"u{number}",
                state=READY,
                peers=[peer, second],
                wheel=[0, 1, 0],
                algorithm=BalancingAlgorithm.BALANCE_CONSISTENT_HASHING,
                hash_on=HashInput.HASH_HEADER,
                hash_name="X-Who",
                hash_fallback=HashInput.HASH_COOKIE,
                hash_fallback_name="who",
                cookie_path="/p",
                hash_slots=10 + number,
                rules=RULES,
                slow_start_ms=7,
                slot=3,
            )
        )
    builder.add_set(PreparedPeerSet("host:gone:80", name="gone", state=NOT_FOUND))
    return builder.build(number=5)


@cache
def configuration_file() -> bytes:
    return compiled(
        route(1, hosts=["a.com:81", "*.b.com", "c.*"], paths=["/x", r"~/u/(\d+)"]),
        route(
            2, methods=["GET", "PURGE"], headers={"x": ["1", "~*b"]}, query_params={"q": ["1"]}, snis=["s.t"]
        ),
        *(route(n, headers={"X-Tenant": [f"t{n}"]}, paths=["/"]) for n in range(10, 40)),
    )


# --- writing and reading -------------------------------------------------------------------------


def test_header():
    data = peers_file()
    assert data[:8] == MAGIC.to_bytes(8, "little") == b"SLGATSNP"
    assert int.from_bytes(data[8:12], "little") == FORMAT
    described = describe(data)
    assert described["kind"].name == "SNAPSHOT_PEERS"
    assert described["number"] == 5
    assert described["size"] == len(data)


def test_peer_sets_are_found_by_their_key():
    data = peers_file(40)
    for number in range(40):
        found = find_peer_set(data, f"upstream:u{number}")
        assert found == describe(data)["sets"][peer_key(f"upstream:u{number}")]
        assert found["name"] == f"u{number}"
        assert found["index"] == number
        assert found["wheel"] == [0, 1, 0]
        assert found["peers"] == [
            {
                "address": bytes([10, 0, number, 1]),
                "port": 8000 + number,
                "weight": 100,
                "host_header": f"t{number}:8000",
                "name": f"t{number}:8000",
                "slot": 1,
                "identity": 11,
            },
            {
                "address": bytes(15) + b"\1",
                "port": 8000,
                "weight": 50,
                "host_header": "[::1]:8000",
                "name": "[::1]:8000",
                "slot": 2,
                "identity": 12,
            },
        ]
        assert found["algorithm"] == BalancingAlgorithm.BALANCE_CONSISTENT_HASHING
        assert (found["hash_on"], found["hash_name"]) == (HashInput.HASH_HEADER, "X-Who")
        assert (found["hash_fallback"], found["hash_fallback_name"]) == (HashInput.HASH_COOKIE, "who")
        assert (found["cookie_path"], found["slow_start_ms"]) == ("/p", 7)
        assert (found["slot"], found["total_weight"]) == (3, 150)
        assert len(found["hash_table"]) == 10 + number
        assert set(found["hash_table"]) == {0, 1}
        assert found["rules"] == {
            "healthy_statuses": [200, 308, 1023],
            "unhealthy_statuses": [500, 999],
            "successes": 1,
            "tcp_failures": 2,
            "timeouts": 3,
            "http_failures": 255,
            "threshold": 33.333,
        }
    gone = find_peer_set(data, "host:gone:80")
    assert gone["state"] == NOT_FOUND
    assert gone["peers"] == []
    assert find_peer_set(data, "upstream:other") is None


def test_no_peer_sets_at_all():
    data = PeersBuilder().build(number=1)
    assert verify(data) is None
    assert find_peer_set(data, "upstream:u") is None


def test_a_key_is_added_once():
    builder = PeersBuilder()
    builder.add_set(PreparedPeerSet("host:a:80", name="a", state=NOT_FOUND))
    with pytest.raises(SnapshotError, match="collides"):
        builder.add_set(PreparedPeerSet("host:a:80", name="a", state=NOT_FOUND))


def test_a_builder_does_not_write_what_it_would_refuse():
    builder = PeersBuilder()
    peer = (bytes(4), 80, 1, "h", "h", 0, 0)
    builder.add_set(PreparedPeerSet("host:a:80", name="a", state=READY, peers=[peer], wheel=[1]))
    with pytest.raises(SnapshotError, match="a wheel names a peer that is not there"):
        builder.build(number=1)
    builder = PeersBuilder()
    builder.add_set(PreparedPeerSet("host:a:80", name="a", state=READY))
    with pytest.raises(SnapshotError, match="a ready peer set is empty"):
        builder.build(number=1)


@pytest.mark.parametrize(
    ("options", "weight", "place", "problem"),
    [
        ({"algorithm": 5}, 1, 0, "in an unknown way"),
        ({"hash_on": 8}, 1, 0, "in an unknown way"),
        ({"hash_fallback": 8}, 1, 0, "in an unknown way"),
        ({"algorithm": 2}, 1, 0, "no hash table"),
        ({"slot": 4096}, 1, 0, "outside the shared memory"),
        ({}, 1, 16384, "outside the shared memory"),
        ({}, 0, 0, "no weight"),
    ],
)
def test_a_balancer_gets_nothing_that_it_cannot_work_with(options, weight, place, problem):
    builder = PeersBuilder()
    peer = (bytes(4), 80, weight, "h", "h", place, 1)
    builder.add_set(PreparedPeerSet("upstream:u", name="u", state=READY, peers=[peer], wheel=[0], **options))
    with pytest.raises(SnapshotError, match=problem):
        builder.build(number=1)


def test_a_configuration_needs_its_index_and_hash():
    with pytest.raises(SnapshotError, match="index is missing"):
        ConfigurationBuilder().build(number=1, configuration_hash="0" * 32)
    with pytest.raises(ValueError, match="32 hex digits"):
        ConfigurationBuilder().build(number=1, configuration_hash="0")


def test_texts_are_stored_once():
    data = compiled(*(route(number, paths=["/a-path-that-many-share"]) for number in range(50)))
    assert data.count(b"upstream.test") <= 2  # once alone, once with the port in the Host field


def test_reading_the_wrong_kind():
    with pytest.raises(SnapshotError, match="not a peers file"):
        find_peer_set(configuration_file(), "host:a:80")
    with pytest.raises(ValueError, match="not a configuration"):
        Router(peers_file())
    with pytest.raises(SnapshotError, match="too short"):
        describe(b"SLGATSNP")


# --- damaged files -------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [configuration_file(), peers_file()], ids=["configuration", "peers"])
class TestDamage:
    def test_sound(self, data):
        assert verify(data) is None

    def test_every_truncation(self, data):
        for length in range(0, len(data), 7):
            assert verify(data[:length]) is not None
        assert verify(data[:-1]) is not None

    def test_appended_bytes(self, data):
        assert verify(data + b"\0") is not None

    def test_every_bit_of_the_header(self, data):
        for bit in range(8 * HEADER_SIZE):
            self.assert_flip_is_seen(data, bit)

    def test_bits_of_the_rest(self, data):
        chosen = random.Random(1)
        for bit in chosen.sample(range(8 * len(data)), 1000):
            self.assert_flip_is_seen(data, bit)

    def assert_flip_is_seen(self, data, bit):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert verify(bytes(damaged)) is not None

    def test_swapped_blocks(self, data):
        assert verify(data[:200] + data[208:216] + data[200:208] + data[216:]) is not None or (
            data[200:208] == data[208:216]
        )


def with_right_checksum(data: bytes) -> bytes:
    """Seal a changed file again, as somebody would who writes files by hand."""
    head = bytearray(data[:HEADER_SIZE])
    head[16:24] = len(data).to_bytes(8, "little")
    head[24:32] = bytes(8)
    seed = xxhash.xxh64_intdigest(bytes(head))
    head[24:32] = xxhash.xxh64_intdigest(data[HEADER_SIZE:], seed).to_bytes(8, "little")
    return bytes(head) + data[HEADER_SIZE:]


REQUESTS = [
    {"method": "GET", "path": "/", "headers": [("x-tenant", "T12"), ("x_tenant", "t39")]},
    {"method": "GET", "host": "a.com", "port": 81, "path": "/x/y"},
    {"method": "PURGE", "host": "z.b.com", "path": "/u/12"},
    {"method": "GET", "host": "c.d", "path": "/u/12", "headers": [("x", "ab")], "query": "q=1&r"},
    {"method": "GET", "path": "/", "headers": [("X", "1")], "query": "q=1", "https": True, "sni": "s.t"},
]


def test_sealing_again_gives_the_same_file():
    data = configuration_file()
    assert with_right_checksum(data) == data


@settings(max_examples=400)
@given(st.data())
def test_a_sealed_file_with_wrong_references_is_refused_or_harmless(data):
    """The checksum is no secret: what passes the checks must be safe to read. Shown under the sanitizers."""
    kind = data.draw(st.sampled_from(["configuration", "peers"]))
    content = bytearray(configuration_file() if kind == "configuration" else peers_file())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(HEADER_SIZE // 4 - 20, len(content) // 4 - 1)) * 4
        value = data.draw(st.sampled_from([0, 1, 7, 8, 255, 2**16, len(content), 2**32 - 8, 2**32 - 1]))
        content[place : place + 4] = value.to_bytes(4, "little")
    sealed = with_right_checksum(bytes(content))
    if verify(sealed) is not None:
        return
    describe(sealed)
    if kind == "peers":
        find_peer_set(sealed, "upstream:u1")
        return
    try:
        router = Router(sealed)
    except ValueError:
        return
    for request in REQUESTS:
        router.match(**request)

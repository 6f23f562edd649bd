"""Sets of address ranges, against Python's ipaddress."""

import ipaddress
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.entities.value_checks import address_range_problem
from native.address_ranges import AddressRanges


def reference(ranges: list[str], address: str) -> bool:
    """What is in the set, looked up range by range; IPv4-mapped addresses and IPv4 ones are the same."""
    client = ipaddress.ip_address(address)
    mapped = client.ipv4_mapped if isinstance(client, ipaddress.IPv6Address) else None
    for text in ranges:
        network = ipaddress.ip_network(text, strict=False)
        if client in network or (mapped is not None and mapped in network):
            return True
        if (
            network.version == 6
            and network.prefixlen >= 96
            and network.network_address.ipv4_mapped is not None
        ):
            inner = f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}"
            if (mapped or client) in ipaddress.ip_network(inner):
                return True
    return False


@pytest.mark.parametrize(
    ("ranges", "inside", "outside"),
    [
        (
            ["10.0.0.0/8"],
            ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            ["9.255.255.255", "11.0.0.0", "::a00:1"],
        ),
        (["127.0.0.1"], ["127.0.0.1"], ["127.0.0.0", "127.0.0.2", "::1"]),
        (["0.0.0.0/0"], ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], ["::", "2001:db8::1"]),
        (["::/0"], ["::", "2001:db8::1", "::ffff:1.2.3.4"], ["1.2.3.4"]),
        (["2001:db8::/32"], ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::", "2001:db7:ffff::"]),
        (["::ffff:10.0.0.0/104"], ["10.9.8.7", "::ffff:10.9.8.7"], ["11.0.0.0"]),
        (["::ffff:0:0/96"], ["1.2.3.4", "::ffff:1.2.3.4"], ["::1"]),
        (["10.0.0.7/30"], ["10.0.0.4", "10.0.0.7"], ["10.0.0.3", "10.0.0.8"]),
        (["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"], ["10.200.0.0", "10.1.2.3"], ["12.0.0.0"]),
        (["192.0.2.0/31", "192.0.2.3"], ["192.0.2.0", "192.0.2.1", "192.0.2.3"], ["192.0.2.2"]),
        ([], [], ["1.2.3.4", "::1"]),
    ],
)
def test_what_is_inside_and_what_is_not(ranges, inside, outside):
    packed = AddressRanges(ranges)
    assert [address for address in inside if address not in packed] == []
    assert [address for address in outside if address in packed] == []


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/8x", "a", "١/8"]
)
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match=r"range|ascii"):
        AddressRanges([text])


def addresses(bits: int) -> st.SearchStrategy[int]:
    # Few different bits: ranges then lie inside and beside each other.
    near = st.integers(0, 255).map(lambda low: (0x0A00_0000 if bits == 32 else 0x2001_0DB8 << 96) | low)
    mapped = st.integers(0, 2**32 - 1).map(lambda low: low if bits == 32 else 0xFFFF << 32 | low)
    return near | mapped | st.integers(0, 2**bits - 1)


ipv4 = addresses(32).map(lambda number: str(ipaddress.IPv4Address(number)))
ipv6 = addresses(128).map(lambda number: str(ipaddress.IPv6Address(number)))
ranges = st.one_of(
    ipv4,
    ipv6,
    st.builds("{}/{}".format, ipv4, st.integers(0, 32)),
    st.builds("{}/{}".format, ipv6, st.integers(0, 128)),
)


@settings(max_examples=200)
@given(given_ranges=st.lists(ranges, max_size=12), clients=st.lists(ipv4 | ipv6, min_size=1, max_size=8))
@example(given_ranges=["0.0.0.0/0", "::/0"], clients=["::ffff:0.0.0.0", "::"])
def test_the_same_as_ipaddress(given_ranges, clients):
    packed = AddressRanges(given_ranges)
    edges = [str(ipaddress.ip_network(one, strict=False)[place]) for one in given_ranges for place in (0, -1)]
    for client in clients + edges:
        assert (client in packed) == reference(given_ranges, client), client


@settings(max_examples=500)
@given(st.text("0123456789abcdef:./%", max_size=24) | ranges.map(lambda text: text.replace("/", "/00")))
@example("fe80::1%eth0")
@example("fe80::1%1/64")
@example("1.2.3.4/00000000000000000000000000000008")
@example("1.2.3.4/255.255.255.0")
@example("01.2.3.4")
def test_what_may_be_configured_can_be_packed(text):
    if address_range_problem(text) is None:
        AddressRanges([text])


def test_ten_thousand_ranges_of_each_family():
    chosen = random.Random(1)
    many = [
        f"{ipaddress.IPv4Address(chosen.getrandbits(32))}/{chosen.randint(12, 32)}" for _ in range(10_000)
    ]
    many += [
        f"{ipaddress.IPv6Address(chosen.getrandbits(128))}/{chosen.randint(32, 128)}" for _ in range(10_000)
    ]
    packed = AddressRanges(many)
    assert packed.size < 4_000_000
    networks = [ipaddress.ip_network(text, strict=False) for text in many]
    assert all(str(network[chosen.randint(0, 3) % network.num_addresses]) in packed for network in networks)
    ipv4_networks = [network for network in networks if network.version == 4]
    edges = [(int(network[0]), int(network[-1])) for network in ipv4_networks]
    for _ in range(200):
        client = chosen.getrandbits(32)
        expected = any(first <= client <= last for first, last in edges)
        assert (str(ipaddress.IPv4Address(client)) in packed) == expected

"""What stands behind a host or upstream name: addresses, weights, and the order of their turns."""

import math
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, cast

from gateway.entities.hosts import HostKind, kind_of_host, parse_host
from gateway.entities.services import Service
from gateway.entities.targets import DEFAULT_PORT, Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress
from gateway.store.configuration import Configuration
from native.snapshot import PeersBuilder, PeerSetState

HTTP_LIKE = ("http", "https", "grpc", "grpcs")
WITH_TLS = ("https", "grpcs")
LONGEST_WHEEL = 65_536
MOST_PEERS = 65_535
"""wheels hold 16-bit peer numbers"""

STATES = {
    ResolutionState.READY: PeerSetState.PEERS_READY,
    ResolutionState.PENDING: PeerSetState.PEERS_PENDING,
    ResolutionState.NOT_FOUND: PeerSetState.PEERS_NOT_FOUND,
    ResolutionState.ERROR: PeerSetState.PEERS_RESOLVE_ERROR,
}
PENDING = Resolution(ResolutionState.PENDING)


class PeerEntry(NamedTuple):
    """One peer in the form PeersBuilder takes."""

    address: bytes
    port: int
    weight: int
    host_header: str
    name: str


# --- names and keys -----------------------------------------------------------------------------------


def upstream_names(configuration: Configuration) -> frozenset[str]:
    """Names of the upstream entities: a service with such a host is balanced over targets."""
    return frozenset(upstream.name for upstream in _upstreams(configuration))


def service_peer_key(service: Service, upstreams: frozenset[str]) -> str:
    """Key of the peer set that serves a service.

    An upstream has a set of its own for TLS services: the port that the Host field leaves out is another.
    """
    if service.host in upstreams:
        return f"upstream:{service.host}" + (":tls" if service.protocol in WITH_TLS else "")
    return f"host:{service.host}:{service.port}"


def host_field(host: str, port: int, protocol: str) -> str:
    """The Host field for a host: with the port unless it is the scheme's, an IPv6 address in brackets."""
    default = 443 if protocol in WITH_TLS else 80
    name = f"[{host}]" if kind_of_host(host) is HostKind.IPV6 and not host.startswith("[") else host
    return name if port == default else f"{name}:{port}"


def host_names(configuration: Configuration) -> set[str]:
    """The names, not addresses, that must be resolved for this configuration; in lower case."""
    upstreams = upstream_names(configuration)
    names = {service.host for service in _services(configuration) if service.host not in upstreams}
    names |= {parse_host(target.target).host for target in _targets(configuration) if target.weight}
    return {name.lower() for name in names if _literal(name) is None}


def _services(configuration: Configuration) -> list[Service]:
    """The services that requests can be sent to."""
    services = cast("Mapping[str, Service]", configuration.of("services")).values()
    return [service for service in services if service.enabled and service.protocol in HTTP_LIKE]


def _upstreams(configuration: Configuration) -> Iterable[Upstream]:
    return cast("Mapping[str, Upstream]", configuration.of("upstreams")).values()


def _targets(configuration: Configuration) -> Iterable[Target]:
    return cast("Mapping[str, Target]", configuration.of("targets")).values()


def _literal(host: str) -> str | None:
    """The address when `host` is one, without brackets."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


# --- compiling ----------------------------------------------------------------------------------------


def compile_peers(
    configuration: Configuration, resolutions: Mapping[str, Resolution], *, number: int
) -> bytes:
    """The peers file with this number. `resolutions`: what is known of every name of `host_names`.

    A name that is missing there counts as not resolved yet. Equal input gives equal bytes, whatever the order
    in which a name server lists addresses. Raises native.snapshot.SnapshotError.
    """
    builder = PeersBuilder()
    upstreams = upstream_names(configuration)
    services = _services(configuration)
    with_tls = {service.host for service in services if service.protocol in WITH_TLS}
    targets: dict[str, list[Target]] = {}
    for target in _targets(configuration):
        targets.setdefault(target.upstream.id, []).append(target)
    for upstream in _upstreams(configuration):
        own = targets.get(upstream.id, [])
        _add_upstream(builder, f"upstream:{upstream.name}", upstream, own, resolutions, "http")
        if upstream.name in with_tls:
            _add_upstream(builder, f"upstream:{upstream.name}:tls", upstream, own, resolutions, "https")
    added = set()
    for service in services:
        key = service_peer_key(service, upstreams)
        if service.host not in upstreams and key not in added:
            added.add(key)
            _add_host(builder, key, service, resolutions)
    return builder.build(number=number)


def _add_host(
    builder: PeersBuilder, key: str, service: Service, resolutions: Mapping[str, Resolution]
) -> None:
    """The set of a plain host: every address has the same weight, unless SRV records say otherwise."""
    resolution = _resolve(service.host, resolutions)
    peers = [
        PeerEntry(
            ip_address(address.ip).packed,
            address.port or service.port,
            1 if address.weight is None else max(address.weight, 1),
            host_field(service.host, address.port or service.port, service.protocol),
            service.host,
        )
        for address in _in_order(resolution)
    ]
    _add_set(builder, key, service.host, STATES[resolution.state], peers)


def _add_upstream(
    builder: PeersBuilder,
    key: str,
    upstream: Upstream,
    targets: Sequence[Target],
    resolutions: Mapping[str, Resolution],
    protocol: str,
) -> None:
    """The set of an upstream: every address of a target has the target's weight, as in Kong."""
    peers = []
    state = PeerSetState.PEERS_NO_TARGETS
    for target in targets:
        host = parse_host(target.target)
        if not target.weight:
            continue
        resolution = _resolve(host.host, resolutions)
        if resolution.state is ResolutionState.PENDING:
            state = PeerSetState.PEERS_PENDING
        for address in _in_order(resolution):
            port = address.port or host.port or DEFAULT_PORT
            peers.append(
                PeerEntry(
                    ip_address(address.ip).packed,
                    port,
                    target.weight if address.weight is None else max(address.weight, 1),
                    # Kong appends the port even to a host_header that has one
                    _with_port(upstream.host_header, port, protocol)
                    if upstream.host_header
                    else host_field(host.host, port, protocol),
                    target.target,
                )
            )
    _add_set(builder, key, upstream.name, PeerSetState.PEERS_READY if peers else state, peers)


def _add_set(builder: PeersBuilder, key: str, name: str, state: PeerSetState, peers: list[PeerEntry]) -> None:
    peers = peers[:MOST_PEERS]
    wheel = weighted_wheel([peer.weight for peer in peers])
    builder.add_set(key, name=name, state=state, peers=peers, wheel=wheel)


def _with_port(name: str, port: int, protocol: str) -> str:
    return name if port == (443 if protocol in WITH_TLS else 80) else f"{name}:{port}"


def _resolve(host: str, resolutions: Mapping[str, Resolution]) -> Resolution:
    literal = _literal(host)
    if literal is not None:
        return Resolution(ResolutionState.READY, (ResolvedAddress(literal),))
    found = resolutions.get(host.lower(), PENDING)
    if found.state is ResolutionState.READY and not found.addresses:
        return Resolution(ResolutionState.NOT_FOUND)
    return found


def _in_order(resolution: Resolution) -> list[ResolvedAddress]:
    """IPv4 before IPv6, then by number."""
    if resolution.state is not ResolutionState.READY:
        return []

    def place(address: ResolvedAddress) -> tuple[bool, bytes, int, int]:
        parsed = ip_address(address.ip)
        return isinstance(parsed, IPv6Address), parsed.packed, address.port or 0, address.weight or 0

    return sorted(resolution.addresses, key=place)


# --- weighted round-robin -----------------------------------------------------------------------------


def weighted_wheel(weights: Sequence[int]) -> list[int]:
    """The order of turns: each peer as often as its weight (above zero) says, its turns spread evenly.

    Peer i of weight w stands at the places (k + ½) / w of the round; peers at one place follow their number.
    """
    turns = _shares(weights)
    places = [((k + 0.5) / share, peer) for peer, share in enumerate(turns) for k in range(share)]
    return [peer for _, peer in sorted(places)]


def _shares(weights: Sequence[int]) -> list[int]:
    """Turns per round: weights over their common divisor, scaled down when a round would be too long."""
    if not weights:
        return []
    divisor = math.gcd(*weights)
    shares = [weight // divisor for weight in weights]
    total = sum(shares)
    if total <= LONGEST_WHEEL:
        return shares
    shares = [max(1, share * LONGEST_WHEEL // total) for share in shares]
    # those raised to one turn may have made it too long again: take from the largest
    excess = sum(shares) - LONGEST_WHEEL
    for peer in sorted(range(len(shares)), key=lambda number: (-shares[number], number)):
        if excess <= 0:
            break
        taken = min(shares[peer] - 1, excess)
        shares[peer] -= taken
        excess -= taken
    return shares

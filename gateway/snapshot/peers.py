"""What stands behind a host or upstream name: addresses, weights, and the order of their turns."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple, cast

from gateway.entities.hosts import HostKind, kind_of_host, parse_host
from gateway.entities.services import Service
from gateway.entities.targets import DEFAULT_PORT, Target
from gateway.entities.upstreams import Upstream
from gateway.garbage import collection_paused
from gateway.snapshot.balancing import balancing_of
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress
from gateway.snapshot.slots import NO_SLOT, NoSlots, SlotRegistry, upstream_group
from gateway.store.configuration import Configuration
from native.snapshot import PeersBuilder, PeerSetState, PreparedPeerSet

HTTP_LIKE = ("http", "https", "grpc", "grpcs")
WITH_TLS = ("https", "grpcs")
LONGEST_WHEEL = 65_536
MOST_PEERS = 65_535
"""wheels hold 16-bit peer numbers"""
MOST_KEPT = 65_536
"""names and addresses whose reading is remembered"""

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
    slot: int
    identity: int


class CompiledSet(NamedTuple):
    """A set of the peers file, with the places in shared memory that it names."""

    prepared: PreparedPeerSet
    group: int
    targets: frozenset[int]


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
    names = {service.host for service in _services(configuration)} - upstreams
    names |= {_parse_host(target.target).host for target in _targets(configuration) if target.weight}
    return {name.lower() for name in names if _literal(name) is None}


_parse_host = lru_cache(MOST_KEPT)(parse_host)


def _services(configuration: Configuration) -> list[Service]:
    """The services that requests can be sent to."""
    services = cast("Mapping[str, Service]", configuration.of("services")).values()
    return [service for service in services if service.enabled and service.protocol in HTTP_LIKE]


def _upstreams(configuration: Configuration) -> Iterable[Upstream]:
    return cast("Mapping[str, Upstream]", configuration.of("upstreams")).values()


def _targets(configuration: Configuration) -> Iterable[Target]:
    return cast("Mapping[str, Target]", configuration.of("targets")).values()


@lru_cache(MOST_KEPT)
def _literal(host: str) -> str | None:
    """The address when `host` is one, without brackets."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


# --- compiling ----------------------------------------------------------------------------------------


class PeersCompiler:
    """Compiles one peers file after the other, and keeps for the next what became of each host and upstream.

    The result is the same as without anything kept.
    """

    def __init__(self, slots: SlotRegistry | None = None) -> None:
        """`slots`: who gives places in shared memory; without, nothing is counted for anybody."""
        self._slots = slots or NoSlots()
        self._counts = slots is not None
        # Key of a set -> what it was made from (compared by identity, then by value) and what became of it.
        self._sets: dict[str, tuple[tuple[object, ...], CompiledSet]] = {}

    def compile(
        self, configuration: Configuration, resolutions: Mapping[str, Resolution], *, number: int
    ) -> bytes:
        """The peers file with this number. `resolutions`: what is known of every name of `host_names`.

        A name that is missing there counts as not resolved yet. Equal input gives equal bytes, whatever the
        order in which a name server lists addresses. Raises native.snapshot.SnapshotError.
        """
        with collection_paused():
            known, self._sets = self._sets, {}
            upstreams = upstream_names(configuration)
            services = _services(configuration)
            self._add_upstreams(configuration, services, resolutions, known)
            for service in services:
                if service.host in upstreams:
                    continue
                key = service_peer_key(service, upstreams)
                if key not in self._sets:
                    source = (service.protocol in WITH_TLS, _resolve(service.host, resolutions))
                    found = known.get(key)
                    if found is None or found[0] != source:
                        found = (source, host_set(key, service, source[1], self._slots))
                    self._sets[key] = found
            builder = PeersBuilder()
            for _, peer_set in self._sets.values():
                builder.add_set(peer_set.prepared)
            data = builder.build(number=number)
            compiled = [peer_set for _, peer_set in self._sets.values()]
            self._slots.compiled(
                {peer_set.group for peer_set in compiled},
                set[int]().union(*(peer_set.targets for peer_set in compiled)),
            )
            return data

    def _add_upstreams(
        self,
        configuration: Configuration,
        services: list[Service],
        resolutions: Mapping[str, Resolution],
        known: Mapping[str, tuple[tuple[object, ...], CompiledSet]],
    ) -> None:
        with_tls = {service.host for service in services if service.protocol in WITH_TLS}
        targets: dict[str, list[Target]] = {}
        for target in _targets(configuration):
            if target.weight:
                targets.setdefault(target.upstream.id, []).append(target)
        for upstream in _upstreams(configuration):
            own = targets.get(upstream.id, [])
            answers = [_resolve(_parse_host(target.target).host, resolutions) for target in own]
            source = (upstream, own, answers)
            protocols = ("http", "https") if upstream.name in with_tls else ("http",)
            for protocol in protocols:
                key = f"upstream:{upstream.name}" + (":tls" if protocol in WITH_TLS else "")
                found = known.get(key)
                # who found no place may find one now
                missing = (
                    self._counts and found is not None and NO_SLOT in (found[1].group, *found[1].targets)
                )
                if found is None or found[0] != source or missing:
                    found = (source, upstream_set(key, upstream, own, answers, protocol, self._slots))
                self._sets[key] = found


def compile_peers(
    configuration: Configuration, resolutions: Mapping[str, Resolution], *, number: int
) -> bytes:
    """The peers file with this number, see PeersCompiler.compile()."""
    return PeersCompiler().compile(configuration, resolutions, number=number)


def host_set(key: str, service: Service, resolution: Resolution, slots: SlotRegistry) -> CompiledSet:
    """The set of a plain host. Turns and retries are counted for it, but nothing for its addresses."""
    peers = [
        PeerEntry(
            _packed(ip),
            port,
            weight,
            host_field(service.host, port, service.protocol),
            service.host,
            NO_SLOT,
            0,
        )
        for ip, port, weight in _host_addresses(service, resolution)
    ]
    group = slots.group(key)
    return CompiledSet(
        _peer_set(key, service.host, STATES[resolution.state], peers, slot=group), group, frozenset()
    )


class TargetAddress(NamedTuple):
    """Where requests to a target go."""

    ip: str
    port: int
    weight: int


def service_addresses(service: Service, resolutions: Mapping[str, Resolution]) -> list[TargetAddress]:
    """The addresses of a service whose host is no upstream."""
    return _host_addresses(service, _resolve(service.host, resolutions))


def _host_addresses(service: Service, resolution: Resolution) -> list[TargetAddress]:
    """All of the same weight, unless SRV records say otherwise."""
    return [
        TargetAddress(
            address.ip,
            address.port or service.port,
            1 if address.weight is None else max(address.weight, 1),
        )
        for address in _in_order(resolution)
    ]


def address_weight(target: Target, address: ResolvedAddress) -> int:
    """Every address has the target's weight, as in Kong, unless SRV records say otherwise; and none where the
    target has none."""
    if not target.weight:
        return 0
    return target.weight if address.weight is None else max(address.weight, 1)


def target_addresses(target: Target, resolution: Resolution) -> list[TargetAddress]:
    """The addresses of a target, with their weights."""
    host = _parse_host(target.target)
    return [
        TargetAddress(
            address.ip,
            address.port or host.port or DEFAULT_PORT,
            address_weight(target, address),
        )
        for address in _in_order(resolution)
    ]


def target_resolution(target: Target, resolutions: Mapping[str, Resolution]) -> Resolution:
    """What is known of the host of a target."""
    return _resolve(_parse_host(target.target).host, resolutions)


def upstream_set(
    key: str,
    upstream: Upstream,
    targets: Sequence[Target],
    answers: Sequence[Resolution],
    protocol: str,
    slots: SlotRegistry,
) -> CompiledSet:
    """The set of an upstream. `targets` are those with a weight, `answers` what is known of their names."""
    peers = []
    group = upstream_group(upstream.id)
    for target, resolution in zip(targets, answers, strict=True):
        host = _parse_host(target.target)
        addresses = target_addresses(target, resolution)
        for (ip, port, weight), resolved in zip(addresses, _in_order(resolution), strict=True):
            name = resolved.name if upstream.use_srv_name and resolved.name else host.host
            slot, identity = slots.target(group, target.target, ip, port)
            peers.append(
                PeerEntry(
                    _packed(ip),
                    port,
                    weight,
                    # Kong appends the port even to a host_header that has one
                    _with_port(upstream.host_header, port, protocol)
                    if upstream.host_header
                    else host_field(name, port, protocol),
                    target.target,
                    slot,
                    identity,
                )
            )
    group_slot = slots.group(group)
    prepared = _peer_set(
        key,
        upstream.name,
        # As in Kong, why its targets have no addresses makes no difference to who asks for the upstream.
        PeerSetState.PEERS_READY if peers else PeerSetState.PEERS_NO_TARGETS,
        peers,
        slot=group_slot,
        **balancing_of(upstream),
    )
    return CompiledSet(prepared, group_slot, frozenset(peer.slot for peer in peers))


def _peer_set(
    key: str, name: str, state: PeerSetState, peers: list[PeerEntry], **balancing: Any
) -> PreparedPeerSet:
    peers = peers[:MOST_PEERS]
    wheel = weighted_wheel([peer.weight for peer in peers])
    return PreparedPeerSet(key, name=name, state=int(state), peers=peers, wheel=wheel, **balancing)


def _with_port(name: str, port: int, protocol: str) -> str:
    return name if port == (443 if protocol in WITH_TLS else 80) else f"{name}:{port}"


def _resolve(host: str, resolutions: Mapping[str, Resolution]) -> Resolution:
    literal = _literal(host)
    if literal is not None:
        return _resolution_of(literal)
    found = resolutions.get(host.lower(), PENDING)
    if found.state is ResolutionState.READY and not found.addresses:
        return Resolution(ResolutionState.NOT_FOUND)
    return found


@lru_cache(MOST_KEPT)
def _resolution_of(address: str) -> Resolution:
    return Resolution(ResolutionState.READY, (ResolvedAddress(address),))


@lru_cache(MOST_KEPT)
def _packed(address: str) -> bytes:
    return ip_address(address).packed


def _in_order(resolution: Resolution) -> Sequence[ResolvedAddress]:
    """IPv4 before IPv6, then by number."""
    if resolution.state is not ResolutionState.READY:
        return ()
    if len(resolution.addresses) == 1:
        return resolution.addresses

    def place(address: ResolvedAddress) -> tuple[int, bytes, int, int, str]:
        packed = _packed(address.ip)
        return len(packed), packed, address.port or 0, address.weight or 0, address.name

    return sorted(resolution.addresses, key=place)


# --- weighted round-robin -----------------------------------------------------------------------------


def weighted_wheel(weights: Sequence[int]) -> list[int]:
    """The order of turns: each peer as often as its weight (above zero) says, its turns spread evenly.

    Peer i of weight w stands at the places (k + ½) / w of the round; peers at one place follow their number.
    """
    if len(weights) == 1:
        return [0]
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

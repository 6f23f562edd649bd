"""Where a request goes: the addresses behind its service, from the snapshot that the workers balance by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from gateway.entities.hosts import address_text
from gateway.entities.services import Service
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.balancing import ALGORITHMS, INPUTS
from gateway.snapshot.peers import service_peer_key, upstream_names
from gateway.snapshot.slots import upstream_group
from gateway.snapshot.target_health import is_checked, serves
from gateway.snapshot.upstream_health import AVAILABLE, UpstreamHealth
from gateway.store import Configuration
from native.rendezvous import slot_table
from native.snapshot import BalancingAlgorithm, HashInput, PeerSetState, find_peer_set

if TYPE_CHECKING:
    from gateway.snapshot import Resolution
    from gateway.snapshot.upstream_health import KnownHealth

STATES = {
    PeerSetState.PEERS_READY: "ready",
    PeerSetState.PEERS_PENDING: "the name is not resolved yet",
    PeerSetState.PEERS_NOT_FOUND: "the name has no addresses",
    PeerSetState.PEERS_RESOLVE_ERROR: "the name could not be resolved",
    PeerSetState.PEERS_NO_TARGETS: "no target takes requests",
}
NAME_FAILED = (503, "name resolution failed")
NO_PEER = (503, "failure to get a peer from the ring-balancer")
UNEXPECTED = (500, "An unexpected error occurred")
ANSWERS = {
    PeerSetState.PEERS_PENDING: NAME_FAILED,
    PeerSetState.PEERS_NOT_FOUND: NAME_FAILED,
    PeerSetState.PEERS_RESOLVE_ERROR: UNEXPECTED,
    PeerSetState.PEERS_NO_TARGETS: NO_PEER,
}
"""What the gateway answers where there is nobody to send a request to."""
ALGORITHM_NAMES = {algorithm: name for name, algorithm in ALGORITHMS.items()}
INPUT_NAMES = {kind: name for name, kind in INPUTS.items()}
SHARES_OF = {
    BalancingAlgorithm.BALANCE_ROUND_ROBIN: "requests",
    BalancingAlgorithm.BALANCE_LEAST_CONNECTIONS: None,
    BalancingAlgorithm.BALANCE_LATENCY: None,
    BalancingAlgorithm.BALANCE_CONSISTENT_HASHING: "hash values",
    BalancingAlgorithm.BALANCE_STICKY: "new clients",
}
"""Of what each peer has a share; None: there is no telling, it depends on what is under way."""
NO_CHOICE: dict[str, Any] = {"algorithm": None, "hash_on": [], "share_of": None}
"""of a peer set that is not known"""


class Targets:
    """The addresses behind services."""

    def __init__(
        self,
        peers: bytes,
        configuration: Configuration,
        known: KnownHealth,
        resolutions: Mapping[str, Resolution],
    ) -> None:
        """`peers`: the content of the snapshot file."""
        self._peers = peers
        self._configuration = configuration
        self._known = known
        self._resolutions = resolutions

    def explain(self, service: Service) -> tuple[dict[str, Any], tuple[int, str] | None]:
        """The target of a request to a service, and what the gateway answers when there is none."""
        names = upstream_names(self._configuration)
        found = find_peer_set(self._peers, service_peer_key(service, names))
        is_upstream = service.host in names
        shown: dict[str, Any] = {"kind": "upstream" if is_upstream else "host", "name": service.host}
        if is_upstream:
            shown["left_out"] = self._left_out(service.host)
        if found is None:
            return {
                **shown,
                **NO_CHOICE,
                "state": "not published yet",
                "peers": [],
                "picked": None,
            }, NAME_FAILED
        shown |= choice_of(found)
        peers = shown_peers(self._available(service.host, found) if is_upstream else found)
        state = PeerSetState(found["state"])
        if state == PeerSetState.PEERS_READY and not peers:
            return {
                **shown,
                "state": STATES[PeerSetState.PEERS_NO_TARGETS],
                "peers": [],
                "picked": None,
            }, NO_PEER
        return {
            **shown,
            "state": STATES[state],
            "peers": peers,
            "picked": peers[0]["address"] if len(peers) == 1 else None,
        }, ANSWERS.get(state)

    def _available(self, name: str, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """A set without the peers that are not healthy; without any when too few are."""
        upstream = cast("Upstream", self._configuration.find_unique("upstreams", "name", name))
        if not is_checked(upstream):
            return found
        group = upstream_group(upstream.id)
        healthy = {
            number
            for number, peer in enumerate(found["peers"])
            if self._known.health(group, peer["name"], str(ip_address(peer["address"])), peer["port"])
            in AVAILABLE
        }
        weights = [peer["weight"] for peer in found["peers"]]
        if not serves(upstream, sum(weights[number] for number in healthy), sum(weights)):
            healthy = set()
        kept = sorted(healthy)
        peers = [found["peers"][number] for number in kept]
        return {
            **found,
            "peers": peers,
            "wheel": [kept.index(number) for number in found["wheel"] if number in healthy],
            "hash_table": hash_table(peers, len(found["hash_table"])),
        }

    def _left_out(self, name: str) -> list[dict[str, Any]]:
        """The targets, and addresses of targets, that get no requests."""
        upstream = cast("Upstream", self._configuration.find_unique("upstreams", "name", name))
        health = UpstreamHealth(upstream, self._known, self._resolutions)
        found: list[dict[str, Any]] = []
        for target in cast("list[Target]", self._configuration.children("targets", "upstreams", upstream.id)):
            addresses = health.addresses(target)
            if not target.weight:
                found.append({"target": target.target, "address": None, "reason": "its weight is 0"})
            elif not addresses:
                found.append({"target": target.target, "address": None, "reason": "no address is known"})
            else:
                found += [
                    {
                        "target": target.target,
                        "address": address_text(one.ip, one.port),
                        "reason": "unhealthy",
                    }
                    for one in addresses
                    if not health.is_healthy(target, one)
                ]
        return found


def choice_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """How one of the peers of a set is chosen. `share_of`: of what each has a share; None where that depends
    on what is under way."""
    algorithm = BalancingAlgorithm(found["algorithm"])
    inputs = ((found["hash_on"], found["hash_name"]), (found["hash_fallback"], found["hash_fallback_name"]))
    return {
        "algorithm": ALGORITHM_NAMES[algorithm],
        "hash_on": [
            f"{INPUT_NAMES[HashInput(kind)]} {name}".rstrip()
            for kind, name in inputs
            if kind != HashInput.HASH_NONE
        ],
        "share_of": SHARES_OF[algorithm],
    }


def shown_peers(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The peers of a set with the share that each of them gets; None where there is no telling."""
    algorithm = BalancingAlgorithm(found["algorithm"])
    hashes = algorithm == BalancingAlgorithm.BALANCE_CONSISTENT_HASHING
    places = found["hash_table" if hashes else "wheel"]
    turns = Counter(places)

    def share(number: int) -> float | None:
        if SHARES_OF[algorithm] is None and len(found["peers"]) > 1:
            return None
        return round(turns[number] / len(places), 4) if places else 0.0

    return [
        {
            "address": address_text(str(ip_address(peer["address"])), peer["port"]),
            "target": peer["name"],
            "weight": peer["weight"],
            "share": share(number),
        }
        for number, peer in enumerate(found["peers"])
    ]


def hash_table(peers: Sequence[Mapping[str, Any]], slots: int) -> list[int]:
    """Who of some peers has which slot, when there are no others."""
    if not peers or not slots:
        return []
    table = slot_table([(peer["identity"], peer["weight"]) for peer in peers], slots)
    return list(memoryview(table).cast("H"))

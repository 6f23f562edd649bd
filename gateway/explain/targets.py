"""Where a request goes: the addresses behind its service, from the snapshot that the workers balance by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from gateway.entities.services import Service
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.peers import service_peer_key, upstream_names
from gateway.snapshot.slots import upstream_group
from gateway.snapshot.target_health import is_checked, serves
from gateway.snapshot.upstream_health import AVAILABLE, UpstreamHealth
from gateway.store import Configuration
from native.snapshot import PeerSetState, find_peer_set

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
            return {**shown, "state": "not published yet", "peers": [], "picked": None}, NAME_FAILED
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
        return {
            **found,
            "peers": [found["peers"][number] for number in kept],
            "wheel": [kept.index(number) for number in found["wheel"] if number in healthy],
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


def shown_peers(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The peers of a set with the share of requests that each of them gets."""
    turns = Counter(found["wheel"])
    return [
        {
            "address": address_text(str(ip_address(peer["address"])), peer["port"]),
            "target": peer["name"],
            "weight": peer["weight"],
            "share": round(turns[number] / len(found["wheel"]), 4) if found["wheel"] else 0.0,
        }
        for number, peer in enumerate(found["peers"])
    ]


def address_text(ip: str, port: int) -> str:
    """`127.0.0.1:80`, `[::1]:80`."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"

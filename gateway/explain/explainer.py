"""Puts the parts of an explanation together."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.run_directory import RunDirectory, SnapshotKind
from gateway.snapshot.matchers import deciding_criterion
from native.dry_run import DryRun
from native.snapshot import ProtocolBit, RouteFlag
from native.uri import upstream_path

from .conditions import Query, Trials, near
from .plugins import (
    Scope,
    explain_plugins,
    find_by_credential,
    find_consumer,
    known_after,
    rewriting,
)
from .request import Client, ExplainedRequest, InvalidRequest
from .targets import Targets

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane
    from gateway.entities.consumers import Consumer
    from gateway.settings import Settings
    from gateway.store import Configuration

OTHERS = 5
"""routes whose conditions are told when the request does not say how many"""
MOST_OTHERS = 50
READ_AGAIN = 3
"""times that a snapshot file may go before it is read"""
NO_ROUTE = (404, "no Route matched with those values")
NO_SERVICE = (503, "no Service found with those values")
NO_PROTOCOL = (503, "the protocol of this Service is not available")
REFUSALS = {
    405: "TRACE is not served",
    414: "the request line is too long",
    431: "the head is too large",
    501: "a transfer coding that is not known",
    505: "a version of HTTP that is not served",
}
BAD_REQUEST = "the request is not valid HTTP, or its path leads above the root"


class NothingPublished(Exception):
    """There is no configuration yet that could be explained."""


@dataclass(frozen=True)
class Files:
    """Snapshot files, by which the workers serve."""

    numbers: tuple[int, int, int]
    dry_run: DryRun
    peers: bytes


class Explainer:
    """Explains requests. Any thread; one at a time."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._directory = RunDirectory(plane.settings.prefix)
        self._files: Files | None = None
        self._lock = threading.Lock()

    def explain(self, request: ExplainedRequest, client: Client, others: int = OTHERS) -> dict[str, Any]:
        """What would become of a request. Raises InvalidRequest (an unknown consumer), NothingPublished."""
        with self._lock:
            return Explanation(self._current(), self._plane, request, client, others).made()

    def _current(self) -> Files:
        """The newest snapshots; read again only when there are newer ones."""
        shared = self._plane.shared
        for attempt in range(READ_AGAIN):
            numbers = (shared.configuration_number, shared.peers_number, shared.identities_number)
            if not all(numbers):
                raise NothingPublished
            if self._files is not None and self._files.numbers == numbers:
                break
            try:
                data = [
                    self._read(kind, number)
                    for kind, number in zip(("configuration", "peers", "identities"), numbers, strict=True)
                ]
            except FileNotFoundError:
                if attempt == READ_AGAIN - 1:
                    raise NothingPublished from None
                continue
            self._files = Files(numbers, DryRun(data[0], data[2]), data[1])
        assert self._files is not None, "it was read above"
        return self._files

    def _read(self, kind: str, number: int) -> bytes:
        path: Path = self._directory.snapshot(cast("SnapshotKind", kind), number)
        return path.read_bytes()


class Explanation:
    """One request being explained."""

    def __init__(
        self, files: Files, plane: ControlPlane, request: ExplainedRequest, client: Client, others: int
    ) -> None:
        self._files = files
        self._plane = plane
        self._request = request
        self._client = client
        self._others = others
        self._configuration: Configuration = plane.configuration
        self._answer: tuple[int, str] | None = None
        """what the gateway answers itself, whatever plugins do"""

    def made(self) -> dict[str, Any]:
        """The whole of it."""
        request = self._request
        port = listener_port(self._plane.settings, tls=request.tls)
        found = self._files.dry_run.route(
            request.head(),
            family=request.peer.version,
            address=request.peer.packed,
            port=port,
            tls=request.tls,
        )
        if found["refusal"]:
            status = found["refusal"]
            return self._shown(None, answer=(status, REFUSALS.get(status, BAD_REQUEST)))
        query = Query(
            method=request.method.encode(),
            host=found["host"],
            port=found["port"],
            path=found["path"],
            query=found["query"],
            headers=tuple((name.encode(), value.encode()) for name, value in request.headers),
            https=found["https"],
        )
        if found["route"] is None:
            shown = self._shown(found, answer=NO_ROUTE) | self._plugins(None, {})
            shown["outcome"]["plugins_see"] = "response"
            return shown | {"other_routes": self._other_routes(query, None)}
        return self._routed(found, query)

    def _routed(self, found: dict[str, Any], query: Query) -> dict[str, Any]:
        taken = found["route"]
        route = self._configuration.get("routes", taken["id"])
        if not isinstance(route, Route):
            raise NothingPublished  # it was deleted a moment ago
        service = None if route.service is None else self._configuration.get("services", route.service.id)
        scope: Scope = {"route": route.id} | ({"service": service.id} if isinstance(service, Service) else {})
        answer = protocol_answer(taken, https=found["https"], grpc=found["grpc"])
        target = None
        if answer is None:
            if not isinstance(service, Service):
                answer = NO_SERVICE
            elif service.protocol != "http":
                answer = NO_PROTOCOL
            else:
                target, answer = self._targets().explain(service)
        trials = Trials(self._plane.settings, query)
        shown = self._shown(found, answer)
        shown["route"] = {
            "id": route.id,
            "name": route.name,
            "path": trials.matched_path(route),
            "captures": [
                None if one is None else one.decode("utf-8", "replace") for one in taken["captures"]
            ],
        }
        if isinstance(service, Service):
            shown["service"] = {"id": service.id, "name": service.name, "url": service_url(service)}
            shown["upstream_path"] = sent_path(service, found)
        if protocol_answer(taken, https=found["https"], grpc=found["grpc"]) is None:
            # such answers come before any plugin (proxying.md §1)
            shown |= self._plugins(taken["index"], scope)
        return {
            **shown,
            "target": target,
            "other_routes": self._other_routes(query, route),
        }

    def _shown(self, found: dict[str, Any] | None, answer: tuple[int, str] | None) -> dict[str, Any]:
        """What every explanation has. The query is left out: it may hold credentials."""
        request: dict[str, Any] = {"method": self._request.method}
        if found is not None:
            request |= {
                "scheme": "https" if found["https"] else "http",
                "host": found["host"].decode("utf-8", "replace"),
                "port": found["port"],
                "path": found["path"].decode("utf-8", "replace"),
                "client_ip": found["client_address"],
            }
        outcome: dict[str, Any] = {"answered_by": "upstream"}
        if answer is not None:
            outcome = {"answered_by": "gateway", "status": answer[0], "message": answer[1]}
        return {
            "request": request,
            "outcome": outcome,
            "route": None,
            "service": None,
            "upstream_path": None,
            "consumer": None,
            "plugins": [],
            "target": None,
            "other_routes": [],
            "rewritten_by": rewriting(self._files.dry_run.plan(None)),
            "configuration_number": self._files.numbers[0],
        }

    # --- plugins --------------------------------------------------------------------------------------

    def _plugins(self, route: int | None, scope: Scope) -> dict[str, Any]:
        places = self._files.dry_run.plan(route)
        consumer, step = self._consumer()
        known_from = known_after(places, step) if consumer is not None else None
        if consumer is not None and known_from is not None:
            places = self._files.dry_run.plan(route, consumer.id, known_from)
            scope = {**scope, "consumer": consumer.id}
        shown = {"plugins": explain_plugins(places, self._configuration, scope, known_from)}
        if consumer is None:
            return {**shown, "consumer": None}
        identified_by = None if known_from is None else places[known_from - 1]["step"].replace("_", "-")
        name = consumer.username or consumer.custom_id
        return {**shown, "consumer": {"id": consumer.id, "name": name, "identified_by": identified_by}}

    def _consumer(self) -> tuple[Consumer | None, str | None]:
        """The consumer that was asked for, and the step that knows the credential."""
        if self._client.credential is not None:
            found = find_by_credential(self._configuration, self._client.credential)
            if found is None:
                raise InvalidRequest("there is no credential with that key")
            return found
        if self._client.consumer is not None:
            consumer = find_consumer(self._configuration, self._client.consumer)
            if consumer is None:
                raise InvalidRequest("there is no such consumer")
            return consumer, None
        return None, None

    # --- target ---------------------------------------------------------------------------------------

    def _targets(self) -> Targets:
        plane = self._plane
        return Targets(self._files.peers, self._configuration, plane.health, plane.resolutions())

    # --- the routes that were not taken ---------------------------------------------------------------

    def _other_routes(self, query: Query, winner: Route | None) -> list[dict[str, Any]]:
        """The nearest other routes, those first that match as well."""
        routes = [
            route
            for route in cast("Any", self._configuration.of("routes")).values()
            if winner is None or route.id != winner.id
        ]
        nearest = sorted((near(route, query), at) for at, route in enumerate(routes))
        trials = Trials(self._plane.settings, query)
        found = []
        for (_, distance), at in nearest[: 2 * self._others]:
            route = routes[at]
            unusable = self._unusable(route)
            failed = trials.failed(route)
            reasons = [one.shown() for one in failed]
            if unusable is not None:
                reasons.append({"condition": unusable})
            shown: dict[str, Any] = {"id": route.id, "name": route.name, "failed": reasons}
            if not reasons and winner is not None:
                first, second = trials.best_order(winner), trials.best_order(route)
                shown["comes_after_because"] = f"the route taken has {deciding_criterion(first, second)}"
            found.append(((len(reasons), distance, at), shown))
        return [shown for _, shown in sorted(found, key=lambda one: one[0])][: self._others]

    def _unusable(self, route: Route) -> str | None:
        """Why no request can take a route, or None."""
        if route.service is not None:
            service = self._configuration.get("services", route.service.id)
            if isinstance(service, Service) and not service.enabled:
                return "its service is disabled"
        if not any(protocol in ("http", "https", "grpc", "grpcs") for protocol in route.protocols):
            return "it is for streams"
        return None


def protocol_answer(taken: dict[str, Any], *, https: bool, grpc: bool) -> tuple[int, str] | None:
    """What a route answers a request whose protocol it does not serve, before any plugin; None: it serves
    it."""
    protocols = taken["protocols"]
    if not protocols & (ProtocolBit.PROTOCOL_HTTP | ProtocolBit.PROTOCOL_HTTPS):
        return (426, "Please use HTTP2 protocol") if grpc else (415, "Non-gRPC request matched gRPC route")
    if protocols & ProtocolBit.PROTOCOL_HTTP or https:
        return None
    status = taken["https_redirect_status"]
    return (status, "Please use HTTPS protocol" if status == 426 else "redirected to https")


def listener_port(settings: Settings, *, tls: bool) -> int:
    """The port that a request without one in its Host came to."""
    ports = [one.port for one in settings.proxy_listen if one.port and one.ssl is tls]
    port = ports[0] if ports else 443 if tls else 80
    return settings.port_maps.get(port, port)


def service_url(service: Service) -> str:
    """Where a service is, as it is configured."""
    return f"{service.protocol}://{service.host}:{service.port}{service.path or '/'}"


def sent_path(service: Service, found: dict[str, Any]) -> str | None:
    """The path that goes upstream, unless a plugin changes it."""
    taken = found["route"]
    strip = taken["matched_length"] if taken["flags"] & RouteFlag.ROUTE_STRIP_PATH else 0
    path = upstream_path(
        (service.path or "/").encode(),
        found["path"],
        strip,
        bool(taken["flags"] & RouteFlag.ROUTE_PATH_HANDLING_V1),
    )
    return None if path is None else path.decode("utf-8", "replace")

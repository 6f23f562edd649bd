"""The metrics of requests: by route, and by consumer where somebody wants it, under Kong 3's and Kong 2's
names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from gateway.entities.consumers import Consumer
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.store import Configuration
from native.consumer_counts import any_consumer_counts, consumer_overflows, read_consumer_counts
from native.hashing import xxh64_digest
from native.identities import consumer_hash
from native.shm import BY_CONSUMER, RouteMetrics, SharedState

from . import metrics as m
from .exposition import Exposition, Metric
from .shown import Shown, ShownMetrics

if TYPE_CHECKING:
    from .collect import Scrape

WORKSPACE = "default"  # the only one in Kong OSS
NOBODY = ""
"""consumer of requests that are not counted by consumer"""
SOURCES = ("service", "kong")
# Routes that found no metric slot of their own are counted together under this route label.
OVERFLOW = "(routes without a slot of their own)"

ConsumerCounts = Mapping[tuple[str, int, int], tuple[int, int, int]]
"""what one route has counted by consumer: (name, status, source) -> (requests, bytes received, bytes sent)"""
NO_CONSUMERS: ConsumerCounts = {}


def add_requests(page: Exposition, scrape: Scrape, shown: ShownMetrics) -> None:
    """What every route has counted. Kong makes a series when it first counts: zero counters are left out."""
    services = scrape.configuration.of("services")
    consumers = consumer_counts(scrape.shared, scrape.configuration)
    for route_id, route in scrape.configuration.of("routes").items():
        assert isinstance(route, Route)
        if route.service is None:
            continue  # Kong counts only what belongs to a service
        service = services[route.service.id]
        assert isinstance(service, Service)
        counted = scrape.slots.metrics(route_id)
        if counted is not None:
            labels = (service.name or service.host, route.name or route_id)
            add_route(page, counted, labels, shown.of_route(route), consumers.get(route_id, NO_CONSUMERS))
    rest = scrape.slots.shared_metrics()
    if rest is not None:
        add_route(page, rest, ("", OVERFLOW), shown.of_the_rest(), NO_CONSUMERS)
    page.add(m.CONSUMER_OVERFLOWS, consumer_overflows(scrape.shared))


def consumer_counts(shared: SharedState, configuration: Configuration) -> Mapping[str, ConsumerCounts]:
    """What was counted by consumer, by route id. What belongs to consumers and routes that are gone expires:
    its memory may be used for others from now on."""
    if not any_consumer_counts(shared):
        return {}
    names = {
        consumer_hash(consumer.id): consumer.username or consumer.custom_id or consumer.id
        for consumer in cast("Mapping[str, Consumer]", configuration.of("consumers")).values()
    }
    routes = {xxh64_digest(route_id.encode()): route_id for route_id in configuration.of("routes")}
    found: dict[str, dict[tuple[str, int, int], tuple[int, int, int]]] = defaultdict(dict)
    for (route, consumer, code, source), counts in read_consumer_counts(shared, names, routes).items():
        # The username of one may be the custom id of another: two series of one name would be none.
        known = found[routes[route]]
        key = (names[consumer], code, source)
        requests, ingress, egress = known.get(key, (0, 0, 0))
        known[key] = (requests + counts[0], ingress + counts[1], egress + counts[2])
    return found


def add_route(
    page: Exposition,
    counted: RouteMetrics,
    labels: tuple[str, str],
    shown: Shown,
    consumers: ConsumerCounts,
) -> None:
    """The samples of one route; `labels` are service and route."""
    if shown.statuses:
        add_statuses(page, counted, labels, consumers)
    if shown.bandwidth:
        add_bandwidth(page, counted, labels, consumers)
    if shown.latencies:
        for metric, _, counts, total in histograms(counted):
            page.add_histogram(metric, counts, total, *labels, WORKSPACE)
    if shown.legacy:
        add_legacy(page, counted, labels, shown, consumers)


def add_statuses(
    page: Exposition, counted: RouteMetrics, labels: tuple[str, str], consumers: ConsumerCounts
) -> None:
    """Requests by status, source and consumer."""
    for (code, source), count in sorted(counted["codes"].items()):
        if source < BY_CONSUMER:
            page.add(m.HTTP_REQUESTS, count, *labels, status(code), SOURCES[source], WORKSPACE, NOBODY)
    for (consumer, code, source), counts in sorted(consumers.items()):
        page.add(m.HTTP_REQUESTS, counts[0], *labels, status(code), SOURCES[source], WORKSPACE, consumer)


def add_bandwidth(
    page: Exposition, counted: RouteMetrics, labels: tuple[str, str], consumers: ConsumerCounts
) -> None:
    """Bytes by direction and consumer."""
    received: Counter[str] = Counter({NOBODY: counted["ingress_bytes"]})
    sent: Counter[str] = Counter({NOBODY: counted["egress_bytes"]})
    for (consumer, _, _), (_, ingress, egress) in consumers.items():
        received[consumer] += ingress
        sent[consumer] += egress
    for direction, by_consumer in (("egress", sent), ("ingress", received)):
        for consumer, count in sorted(by_consumer.items()):
            if count:
                page.add(m.BANDWIDTH, count, *labels, direction, WORKSPACE, consumer)


def histograms(counted: RouteMetrics) -> Iterator[tuple[Metric, str, Sequence[int], int]]:
    """The latencies that a route has: metric, its `type` in Kong 2, counts, sum in ms."""
    for metric, kind, counts, total in (
        (m.KONG_LATENCY, "kong", counted["kong_latency"], counted["kong_latency_sum_ms"]),
        (m.UPSTREAM_LATENCY, "upstream", counted["upstream_latency"], counted["upstream_latency_sum_ms"]),
        (m.REQUEST_LATENCY, "request", counted["request_latency"], counted["request_latency_sum_ms"]),
    ):
        if any(counts):
            yield metric, kind, counts, total


def add_legacy(
    page: Exposition,
    counted: RouteMetrics,
    labels: tuple[str, str],
    shown: Shown,
    consumers: ConsumerCounts,
) -> None:
    """The same under Kong 2's names, which tell consumers in a metric of their own."""
    if shown.statuses:
        requests: Counter[int] = Counter()
        for (code, _), count in counted["codes"].items():
            requests[code] += count
        for code, count in sorted(requests.items()):
            page.add(m.LEGACY_STATUS, count, *labels, status(code))
        by_consumer: Counter[tuple[str, int]] = Counter()
        for (consumer, code, _), (count, _, _) in consumers.items():
            by_consumer[consumer, code] += count
        for (consumer, code), count in sorted(by_consumer.items()):
            page.add(m.LEGACY_CONSUMER_STATUS, count, *labels, status(code), consumer)
    if shown.bandwidth:
        for direction, count in (
            ("egress", counted["egress_bytes"] + counted["consumer_egress_bytes"]),
            ("ingress", counted["ingress_bytes"] + counted["consumer_ingress_bytes"]),
        ):
            if count:
                page.add(m.LEGACY_BANDWIDTH, count, *labels, direction)
    if shown.latencies:
        for metric, kind, counts, total in histograms(counted):
            page.add_histogram(m.LEGACY_LATENCY, counts, total, *labels, kind, bounds=metric.buckets)


def status(code: int) -> str:
    """The label of a status; 0 stands for what found no place in the table of its route."""
    return str(code) if code else "other"

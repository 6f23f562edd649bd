"""How long it takes to compile snapshots, for the first time and after a change of one entity."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from bench.admin_report import Compile
from gateway.entities.record import Entity
from gateway.settings import load_settings
from gateway.snapshot import ConfigurationCompiler, IdentitiesCompiler, PeersCompiler
from gateway.store import Configuration, load_declarative_document

REPEATS = 7


def measure_compiles(document: dict[str, Any]) -> list[Compile]:
    """Each kind of snapshot of a declarative document, in this process."""
    configuration = load_declarative_document(document)
    settings = load_settings(None, {}, {"database": "off"})
    routing, peers, identities = ConfigurationCompiler(), PeersCompiler(), IdentitiesCompiler()

    def compile_routing(wanted: Configuration) -> bytes:
        slots: dict[str, int] = {}
        return routing.compile(wanted, settings, number=1, metric_slots=slots)

    def compile_peers(wanted: Configuration) -> bytes:
        return peers.compile(wanted, {}, number=1)

    def compile_identities(wanted: Configuration) -> bytes:
        return identities.compile(wanted, number=1)

    return [
        _measure("configuration", compile_routing, configuration, "routes", {"tags": ["changed"]}),
        _measure("peers", compile_peers, configuration, "services", {"retries": 4}),
        _measure("identities", compile_identities, configuration, "consumers", {"tags": ["changed"]}),
    ]


def _measure(
    kind: Literal["configuration", "peers", "identities"],
    compile_one: Callable[[Configuration], bytes],
    configuration: Configuration,
    type_name: str,
    change: dict[str, Any],
) -> Compile:
    data, first = _timed(lambda: compile_one(configuration))
    entities = list(configuration.of(type_name).values())
    after = []
    for entity in entities[:: max(1, len(entities) // REPEATS)][:REPEATS]:
        changed: Entity = msgspec.structs.replace(entity, **change)
        configuration = configuration.changed({(type_name, changed.id): changed}, configuration.hash)
        after.append(_timed(lambda wanted=configuration: compile_one(wanted))[1])  # type: ignore[misc]
    return Compile(
        kind=kind,
        first_ms=round(first, 1),
        changed_ms=round(statistics.median(after or [first]), 1),
        bytes=len(data),
    )


def _timed(work: Callable[[], bytes]) -> tuple[bytes, float]:
    started = time.perf_counter()
    found = work()
    return found, (time.perf_counter() - started) * 1000

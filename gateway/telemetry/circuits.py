"""The circuits of circuit breakers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.snapshot.circuits import Circuits

from . import metrics as m
from .exposition import Exposition

if TYPE_CHECKING:
    from .collect import Scrape


def add_circuits(page: Exposition, scrape: Scrape) -> None:
    """The state of each, and how often it has opened. Of several breakers for the same service and route the
    most specific one is shown: it is the one that is asked."""
    shown = set()
    for circuit in Circuits(scrape.shared, scrape.configuration, scrape.resolutions).all():
        service = circuit.service.name or circuit.service.host
        route = (circuit.route.name or circuit.route.id) if circuit.route is not None else ""
        labels = (service, route, circuit.target, circuit.address)
        if labels not in shown:
            shown.add(labels)
            page.add(m.CIRCUIT_STATE, int(circuit.view["state"]), *labels)
            page.add(m.CIRCUIT_OPENED, circuit.view["opened"], *labels)

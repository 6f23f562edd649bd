"""The targets: their health, and what the workers count of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gateway.entities.hosts import address_text
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.upstream_health import UpstreamHealth
from native.target_state import TargetFacts

from . import metrics as m
from .exposition import Exposition

if TYPE_CHECKING:
    from .collect import Scrape

SUBSYSTEM = "http"
STATES = ("dns_error", "healthchecks_off", "healthy", "unhealthy")


def add_upstreams(page: Exposition, scrape: Scrape) -> None:
    """Every address of every target in each of the four states: 1 for the one it is in."""
    for upstream in scrape.configuration.of("upstreams").values():
        assert isinstance(upstream, Upstream)
        health = UpstreamHealth(upstream, scrape.health, scrape.resolutions)
        targets = scrape.configuration.children("targets", "upstreams", upstream.id)
        for target in cast("list[Target]", targets):
            addresses = health.addresses(target)
            for address in addresses:
                text = address_text(address.ip, address.port)
                add_target(page, upstream, target, text, health.address_word(target, address).lower())
                add_counts(page, (upstream.name, target.target, text), health.facts(target, address))
            if not addresses:
                add_target(page, upstream, target, "", health.target_word(target).lower())


def add_target(page: Exposition, upstream: Upstream, target: Target, address: str, state: str) -> None:
    """The samples of one address; it is empty where none is known."""
    for one in STATES:
        labels = (upstream.name, target.target, address, one, SUBSYSTEM)
        page.add(m.TARGET_HEALTH, int(one == state), *labels)


def add_counts(page: Exposition, address: tuple[str, str, str], facts: TargetFacts | None) -> None:
    """What is counted of one address, if anything is."""
    if facts is not None:
        page.add(m.TARGET_OPEN, facts["open"], *address)
        page.add(m.TARGET_REQUESTS, facts["requests"], *address)
        page.add(m.TARGET_FAILURES, facts["failures"], *address)
        page.add(m.TARGET_CHANGES, facts["changes"], *address)

"""Which upstreams are checked, when one gives up, and where requests to a target go."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.peers import target_addresses
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress
from gateway.snapshot.target_health import is_checked, serves
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.operations import create

CHECKED = {"passive": {"unhealthy": {"http_failures": 1}}}


def upstream_of(targets: dict[str, int], **healthchecks: Any) -> tuple[Upstream, list[Target]]:
    draft = Draft(Configuration.EMPTY)
    upstream = create(draft, ENTITY_TYPES["upstreams"], {"name": "u", "healthchecks": healthchecks})
    made = [
        create(draft, Target, {"target": name, "weight": weight, "upstream": {"id": upstream.id}})
        for name, weight in targets.items()
    ]
    assert isinstance(upstream, Upstream)
    return upstream, [target for target in made if isinstance(target, Target)]


@pytest.mark.parametrize(
    ("healthchecks", "checked"),
    [
        ({}, False),
        ({"passive": {"healthy": {"successes": 3}}}, False),
        ({"active": {"healthy": {"interval": 1}}}, True),
        ({"active": {"unhealthy": {"interval": 1}}}, True),
        ({"passive": {"unhealthy": {"tcp_failures": 1}}}, True),
        ({"passive": {"unhealthy": {"timeouts": 1}}}, True),
        (CHECKED, True),
    ],
)
def test_which_upstreams_are_checked(healthchecks: dict[str, Any], checked: bool) -> None:
    assert is_checked(upstream_of({}, **healthchecks)[0]) is checked


@pytest.mark.parametrize(
    ("threshold", "available", "serving"),
    [(0, 1, True), (0, 0, False), (50, 50, False), (50, 51, True), (100, 100, False)],
)
def test_the_weight_that_must_be_left(threshold: int, available: int, serving: bool) -> None:
    upstream, _ = upstream_of({}, threshold=threshold)
    assert serves(upstream, available, 100) is serving
    assert not serves(upstream, 0, 0)


def test_the_addresses_of_a_name() -> None:
    _, (target,) = upstream_of({"svc.test:80": 10}, **CHECKED)
    addresses = (ResolvedAddress("192.0.2.2"), ResolvedAddress("192.0.2.1"), ResolvedAddress("::1", 81, 5))
    found = target_addresses(target, Resolution(ResolutionState.READY, addresses))
    assert found == [("192.0.2.1", 80, 10), ("192.0.2.2", 80, 10), ("::1", 81, 5)]


def test_nothing_has_a_weight_where_the_target_has_none() -> None:
    records = (ResolvedAddress("10.0.0.1", port=1, weight=7), ResolvedAddress("10.0.0.2", port=2, weight=0))
    resolution = Resolution(ResolutionState.READY, records)
    _, (with_weight, without) = upstream_of({"a.test:80": 5, "b.test:80": 0})
    assert [one.weight for one in target_addresses(with_weight, resolution)] == [7, 1]
    assert [one.weight for one in target_addresses(without, resolution)] == [0, 0]

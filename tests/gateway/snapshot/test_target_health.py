"""Marks of unhealthy addresses: who gets no turns, for how long, and when an upstream gives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.peers import target_addresses, target_resolution, upstream_set
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress
from gateway.snapshot.target_health import TargetHealth, is_checked, serves
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.operations import create
from native.snapshot import PeersBuilder, find_peer_set

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


def compiled(upstream: Upstream, targets: list[Target], health: TargetHealth) -> Any:
    answers = [target_resolution(target, {}) for target in targets]
    builder = PeersBuilder()
    builder.add_set(upstream_set("upstream:u", upstream, targets, answers, "http", health.marks))
    found = find_peer_set(builder.build(number=1), "upstream:u")
    assert found
    return found


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


def test_a_marked_address_gets_no_turns(tmp_path: Path) -> None:
    health = TargetHealth(tmp_path / "health.json")
    upstream, targets = upstream_of({"127.0.0.1:1": 100, "127.0.0.1:2": 100}, **CHECKED)
    both = compiled(upstream, targets, health)
    assert health.mark(targets[0].id, [("127.0.0.1", 1)], healthy=False)
    assert not health.mark(targets[0].id, [("127.0.0.1", 1)], healthy=False)
    one = compiled(upstream, targets, health)
    _, only = upstream_of({"127.0.0.1:2": 100}, **CHECKED)
    assert one == compiled(upstream, only, health) != both
    assert health.mark(targets[0].id, [("127.0.0.1", 1)], healthy=True)
    assert compiled(upstream, targets, health) == both
    assert not health.marks


def test_marks_mean_nothing_where_health_is_not_checked(tmp_path: Path) -> None:
    health = TargetHealth(tmp_path / "health.json")
    upstream, targets = upstream_of({"127.0.0.1:1": 100})
    before = compiled(upstream, targets, health)
    health.mark(targets[0].id, [("127.0.0.1", 1)], healthy=False)
    assert compiled(upstream, targets, health) == before


def test_an_upstream_with_too_little_left_gives_up(tmp_path: Path) -> None:
    health = TargetHealth(tmp_path / "health.json")
    upstream, targets = upstream_of({"127.0.0.1:1": 60, "127.0.0.1:2": 40}, **CHECKED, threshold=50)
    empty = compiled(upstream, [], health)
    health.mark(targets[1].id, [("127.0.0.1", 2)], healthy=False)
    assert compiled(upstream, targets, health) != empty
    health.mark(targets[1].id, [("127.0.0.1", 2)], healthy=True)
    health.mark(targets[0].id, [("127.0.0.1", 1)], healthy=False)
    assert compiled(upstream, targets, health) == empty


def test_one_address_of_a_name(tmp_path: Path) -> None:
    _, (target,) = upstream_of({"svc.test:80": 10}, **CHECKED)
    addresses = (ResolvedAddress("192.0.2.2"), ResolvedAddress("192.0.2.1"), ResolvedAddress("::1", 81, 5))
    found = target_addresses(target, Resolution(ResolutionState.READY, addresses))
    assert found == [("192.0.2.1", 80, 10), ("192.0.2.2", 80, 10), ("::1", 81, 5)]


def test_marks_survive_this_process_and_go_with_their_target(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    health = TargetHealth(path)
    health.mark("a", [("127.0.0.1", 1), ("::1", 2)], healthy=False)
    health.mark("b", [("127.0.0.1", 1)], healthy=False)
    health.keep_only({"a"})
    successor = TargetHealth(path)
    successor.restore()
    assert successor.marks == health.marks == {"a": frozenset({("127.0.0.1", 1), ("::1", 2)})}
    successor.forget()
    TargetHealth(path).restore()
    assert not path.exists()


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"a": 5}', '{"a": [["x", "y"]]}', '{"a": [[1]]}'])
def test_a_file_that_cannot_be_read_is_no_obstacle(tmp_path: Path, content: str) -> None:
    path = tmp_path / "health.json"
    path.write_text(content)
    health = TargetHealth(path)
    health.restore()
    assert not health.marks


def test_a_full_disk_is_no_obstacle(tmp_path: Path) -> None:
    health = TargetHealth(tmp_path / "missing" / "health.json")
    assert health.mark("a", [("127.0.0.1", 1)], healthy=False)
    assert health.marks

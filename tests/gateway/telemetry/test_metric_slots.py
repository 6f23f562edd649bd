"""Metric slots: stable, remembered, reused last, with a baseline."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.telemetry.metric_slots import MetricSlots
from tests.support.counted_routes import Workers, counted


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metric-slots.json"


def test_routes_keep_their_slots(path: Path, workers: Workers) -> None:
    slots = MetricSlots(path, 10, workers)
    assert slots.assign(["a", "b"]) == {"a": 1, "b": 2}
    assert slots.assign(["c", "b"]) == {"c": 3, "b": 2}
    assert slots.assign(["a"]) == {"a": 1}  # back again: goes on counting where it was


def test_a_restarted_control_process_keeps_the_mapping(path: Path, workers: Workers) -> None:
    before = MetricSlots(path, 3, workers)
    before.assign(["a", "b"])
    workers.by_slot[1] = counted(5)
    before.assign(["b", "c"])
    after = MetricSlots(path, 3, workers)
    after.restore()
    assert after.assign(["b", "c"]) == {"b": 2, "c": 1}
    workers.by_slot[1] = counted(7)
    assert after.metrics("c") == before.metrics("c") == counted(2)


def test_the_oldest_deleted_route_gives_its_slot_when_none_is_free(path: Path, workers: Workers) -> None:
    slots = MetricSlots(path, 4, workers)
    slots.assign(["a", "b", "c"])
    slots.assign(["b", "c"])
    slots.assign(["c"])
    assert slots.assign(["c", "d"]) == {"c": 3, "d": 1}
    assert slots.assign(["c", "d", "e"]) == {"c": 3, "d": 1, "e": 2}
    assert slots.assign(["c", "d", "e", "f"])["f"] == 0


def test_a_reused_slot_shows_only_what_its_new_route_counted(path: Path, workers: Workers) -> None:
    slots = MetricSlots(path, 2, workers)
    slots.assign(["a"])
    workers.by_slot[1] = counted(5)
    assert slots.metrics("a") == counted(5)
    slots.assign(["b"])
    workers.by_slot[1] = counted(8)
    assert slots.metrics("b") == counted(3)
    assert slots.metrics("a") is None
    slots.assign(["c"])
    assert slots.metrics("c") == {**counted(0), "codes": {}}


def test_routes_without_a_slot_share_the_first(path: Path, workers: Workers) -> None:
    slots = MetricSlots(path, 2, workers)
    assert slots.assign(["a", "b"]) == {"a": 1, "b": 0}
    workers.by_slot[0] = counted(4)
    assert slots.metrics("b") is None
    assert slots.shared_metrics() == counted(4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"slots":{"a":99},"gone":[],"baselines":{}}',
        b'{"slots":{"a":1},"gone":[],"baselines":{"1":{}}}',
        b'{"slots":[],"gone":[],"baselines":{}}',
    ],
)
def test_a_damaged_file_is_no_file(path: Path, workers: Workers, content: bytes) -> None:
    path.write_bytes(content)
    slots = MetricSlots(path, 10, workers)
    slots.restore()
    assert slots.assign(["a"]) == {"a": 1}


def test_nothing_is_written_when_nothing_changed(path: Path, workers: Workers) -> None:
    slots = MetricSlots(path, 10, workers)
    slots.assign(["a"])
    path.unlink()
    slots.assign(["a"])
    assert not path.exists()
    slots.forget()

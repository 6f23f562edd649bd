"""The floor that proxies are measured against: a program that only moves bytes."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.backend import BODY_SIZES, start_backend
from bench.hits import requests_at, requests_between
from bench.processes import Fleet
from bench.proxies import Floor, Place

pytestmark = pytest.mark.skipif(Floor.missing() is not None, reason="no gcc")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as running:
        yield running


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[str | None, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.getheader("X-Cache-Status"), answer.read()


@pytest.mark.parametrize(("setup", "said"), [("", None), ("cache", "Hit")])
def test_answers_are_those_of_the_backend(fleet: Fleet, tmp_path: Path, setup: str, said: str | None) -> None:
    """All of each, on connections that are kept; remembered answers reach the backend once."""
    cpus = sorted(os.sched_getaffinity(0))
    backend = start_backend(fleet, tmp_path / "backend", cpus)
    floor = Floor(Place(fleet, tmp_path / "floor", backend.port, 1, cpus, [], routes=1, setup=setup))
    connections = [http.client.HTTPConnection("127.0.0.1", floor.port, timeout=10) for _ in range(2)]
    before = requests_at(backend)
    for path, size in BODY_SIZES.items():
        for connection in connections:
            status, body = ask(connection, path)
            assert status == said
            assert len(body) == size
    for connection in connections:
        connection.close()
    reached = requests_between(before, requests_at(backend))
    # "/small" was asked for when it was waited for
    assert reached in (None, len(BODY_SIZES) - 1 if setup else 2 * len(BODY_SIZES))
    assert floor.child.running()

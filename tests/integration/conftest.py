"""Gateways that integration tests share (one takes more than a second to start), and their upstreams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Handler, Upstream


@pytest.fixture(scope="session")
def shared_gateway() -> Iterator[Gateway]:
    """A gateway without configuration; tests POST theirs with `configure`. One worker, short timeouts."""
    with Gateway(client_header_timeout="10s", client_body_timeout="2s", keepalive_timeout="20s") as gateway:
        yield gateway


class StartUpstream(Protocol):
    def __call__(self, handler: Handler | None = None, /, **service: Any) -> Upstream: ...


@pytest.fixture
def upstream(shared_gateway: Gateway) -> Iterator[StartUpstream]:
    """Start an upstream and make it the shared gateway's only service, with one route for everything."""
    started: list[Upstream] = []

    def start(handler: Handler | None = None, /, **service: Any) -> Upstream:
        new = Upstream(handler)
        started.append(new)
        shared_gateway.configure(one_service(new.port, **service))
        return new

    yield start
    for one in started:
        one.close()

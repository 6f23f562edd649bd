"""A service behind plugins, on the gateway that tests share; a Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.plugged import Plugged
from tests.support.upstreams import Upstream
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def plugged(shared_gateway: Gateway) -> Iterator[Plugged]:
    with Upstream() as upstream:
        yield Plugged(shared_gateway, upstream)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running

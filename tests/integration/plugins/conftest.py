"""A service behind plugins, on the gateway that tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.plugged import Plugged
from tests.support.upstreams import Upstream


@pytest.fixture(scope="module")
def plugged(shared_gateway: Gateway) -> Iterator[Plugged]:
    with Upstream() as upstream:
        yield Plugged(shared_gateway, upstream)

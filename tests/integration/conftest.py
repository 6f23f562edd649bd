"""Gateways that integration tests share: starting one takes about a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway


@pytest.fixture(scope="session")
def shared_gateway() -> Iterator[Gateway]:
    """A gateway without configuration; tests POST theirs with `configure`. One worker, short timeouts."""
    with Gateway(client_header_timeout="2s", client_body_timeout="2s", keepalive_timeout="5s") as gateway:
        yield gateway

"""What the tests of issue 2 §7 ("it stays up") share: an event loop for load, and an upstream on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.load import Backend, EventLoopThread


@pytest.fixture(scope="session")
def thread() -> Iterator[EventLoopThread]:
    """The event loop that load and its upstream run on."""
    with EventLoopThread() as running:
        yield running


@pytest.fixture(scope="session")
def backend(thread: EventLoopThread) -> Backend:
    """An upstream that is quick enough for load."""
    return Backend(thread)

"""Plugins to try the loading of plugins with; a draft to write to."""

from __future__ import annotations

import pytest

from gateway import plugins
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from tests.support.example_plugins import EXAMPLES


@pytest.fixture
def some_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of Kong's plugins in a small form."""
    for definition in EXAMPLES:
        monkeypatch.setitem(plugins.AVAILABLE, definition.name, definition)


@pytest.fixture
def draft() -> Draft:
    """A draft on top of nothing."""
    return Draft(Configuration.EMPTY)

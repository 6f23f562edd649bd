"""Plugins to try the loading of plugins with."""

from __future__ import annotations

import pytest

from gateway import plugins
from tests.support.example_plugins import EXAMPLES


@pytest.fixture
def some_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of Kong's plugins in a small form."""
    for definition in EXAMPLES:
        monkeypatch.setitem(plugins.AVAILABLE, definition.name, definition)

"""Fixtures for pytest: `pytest_plugins = ["gateway.testing.fixtures"]` in a test module or conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.testing.plugin_gateway import PluginGateway


@pytest.fixture(scope="module")
def gateway_plugin_path(request: pytest.FixtureRequest) -> Path:
    """Where the plugins are: the directory of the test module. Override it where they lie elsewhere."""
    return request.path.parent


@pytest.fixture(scope="module")
def plugin_gateway(gateway_plugin_path: Path) -> Iterator[PluginGateway]:
    """A running gateway that knows the plugins, one for all tests of the module. It serves nothing special
    before `use()`."""
    with PluginGateway(gateway_plugin_path) as gateway:
        yield gateway

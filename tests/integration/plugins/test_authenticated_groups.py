"""acl and groups that another plugin has found: a Python plugin tells them in X-Authenticated-Groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import PluginGateway, Reply

PLUGINS = Path(__file__).parents[2] / "support" / "python_plugins" / "behaviours.py"
BOB = {"username": "bob", "keyauth_credentials": [{"key": "k"}], "acls": [{"group": "silver"}]}


@pytest.fixture(scope="module")
def gateway() -> Iterator[PluginGateway]:
    with PluginGateway(PLUGINS) as gateway:
        yield gateway


def ask(gateway: PluginGateway, groups: str | None, acl: dict[str, Any], *, key: str | None = None) -> Reply:
    """A request for which a plugin has found `groups`."""
    plugins: list[dict[str, Any]] = [{"name": "acl", "config": acl}]
    if key:
        plugins.append({"name": "key-auth"})
    found = {"X-Authenticated-Groups": groups} if groups is not None else {"X-Nothing": "x"}
    gateway.use("change", {"set": found}, plugins=plugins, consumers=[BOB])
    return gateway.get("/", headers={"X-Authenticated-Groups": "forged", **({"apikey": key} if key else {})})


def test_without_a_consumer(gateway: PluginGateway) -> None:
    reply = ask(gateway, "gold, silver", {"allow": ["silver"]})
    assert reply.status == 200
    assert reply.upstream is not None
    assert reply.upstream.headers["X-Authenticated-Groups"] == "gold, silver"
    assert "X-Consumer-Groups" not in reply.upstream.headers
    assert ask(gateway, "gold,silver", {"allow": ["silver"]}).status == 200
    assert ask(gateway, "gold", {"allow": ["silver", "forged"]}).status == 403
    assert ask(gateway, "gold, silver", {"deny": ["silver"]}).status == 403
    assert ask(gateway, "gold", {"deny": ["silver"]}).status == 200
    assert ask(gateway, None, {"deny": ["silver"]}).status == 401


def test_hidden(gateway: PluginGateway) -> None:
    reply = ask(gateway, "gold", {"allow": ["gold"], "hide_groups_header": True})
    assert reply.upstream is not None
    assert "X-Authenticated-Groups" not in reply.upstream.headers


def test_groups_of_the_consumer_come_first_unless_told_otherwise(gateway: PluginGateway) -> None:
    assert ask(gateway, "gold", {"allow": ["silver"]}, key="k").status == 200
    assert ask(gateway, "gold", {"allow": ["gold"]}, key="k").status == 403
    always = {"always_use_authenticated_groups": True}
    assert ask(gateway, "gold", {"allow": ["gold"], **always}, key="k").status == 200
    assert ask(gateway, "gold", {"allow": ["silver"], **always}, key="k").status == 403
    # without any, those of the consumer
    assert ask(gateway, None, {"allow": ["silver"], **always}, key="k").status == 200

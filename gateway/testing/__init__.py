"""For authors of plugins: a real gateway with the plugin, and an upstream that tells what reaches it.

With pytest::

    pytest_plugins = ["gateway.testing.fixtures"]

    def test_greeting(plugin_gateway):
        plugin_gateway.use("hello", {"greeting": "salve"})
        reply = plugin_gateway.get("/anything")
        assert reply.status == 200
        assert reply.upstream.headers["X-Greeting"] == "salve"

Without it, `PluginGateway` is a context manager.
"""

from gateway.testing.plugin_gateway import PluginGateway, Reply
from gateway.testing.upstream import TestUpstream, UpstreamRequest

__all__ = ["PluginGateway", "Reply", "TestUpstream", "UpstreamRequest"]

"""The class that plugins are made of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from gateway.pdk.cache import Cache

if TYPE_CHECKING:
    import httpx

CACHE_ENTRIES = 10_000


class LineWriter(Protocol):
    """The error log, as far as plugins need it."""

    def write(self, level: str, text: str) -> None: ...


class Logger:
    """Writes to the gateway's error log (LOG_LEVEL says what is written), in the name of a plugin."""

    def __init__(self, log: LineWriter, plugin: str) -> None:
        self._log = log
        self._plugin = plugin

    def debug(self, text: str) -> None:
        """What only somebody who looks for a mistake wants to see."""
        self._log.write("debug", f"[{self._plugin}] {text}")

    def info(self, text: str) -> None:
        """Something of little interest."""
        self._log.write("info", f"[{self._plugin}] {text}")

    def notice(self, text: str) -> None:
        """Something of normal operation that an operator wants to see."""
        self._log.write("notice", f"[{self._plugin}] {text}")

    def warn(self, text: str) -> None:
        """Something that works but should not stay so."""
        self._log.write("warn", f"[{self._plugin}] {text}")

    def error(self, text: str) -> None:
        """A failure."""
        self._log.write("error", f"[{self._plugin}] {text}")


class Plugin:
    """A plugin: a class with any of these functions, each of them `def` or `async def`::

        rewrite(self, request)              before a route is chosen; plugins without a scope only
        access(self, request)               the route is known, the upstream has not been asked
        response(self, request, response)   the head of the response is there, its body too where it is asked
        for log(self, request, outcome)         the response has been sent

    The first three answer the request themselves with `return respond(…)`; else they return None. An
    exception is logged, and the request is answered with 500.

    In each worker there is one object for each configuration of the plugin, made when its first request
    comes. All of them run on one thread: what takes time is to be awaited, never waited for.
    """

    name: ClassVar[str] = ""
    """What the plugin is called in configurations; empty: after the class, `QuotaHeaders` is
    quota-headers."""
    priority: ClassVar[int] = 500
    """Plugins with a higher one run first. Authentication is around 1000 to 1250, acl 950, rate-limiting 910,
    transformers 800."""
    version: ClassVar[str] = "0.1.0"
    scopes: ClassVar[frozenset[str]] = frozenset(("route", "service", "consumer"))
    """What a configuration of it may be restricted to; without "consumer" it runs before the client is
    known."""
    protocols: ClassVar[tuple[str, ...]] = ("grpc", "grpcs", "http", "https")
    deadline: ClassVar[float | None] = None
    """Seconds that a request waits for one function of the plugin before it ends with 500; None: the setting
    PLUGIN_DEADLINE. Work for `log` is given up after that time, too."""
    buffer_request: ClassVar[bool] = False
    """`access` sees the request's body: it comes when the whole of it is there."""
    buffer_response: ClassVar[bool] = False
    """`response` sees the response's body: nothing of it is sent before."""
    cache_entries: ClassVar[int] = CACHE_ENTRIES
    """How many things `cache` holds at most."""

    class Config(msgspec.Struct):
        """What the plugin can be configured with: give your own a class of this name."""

    config: Any
    """The configuration, an object of your `Config`."""
    cache: Cache
    logger: Logger
    worker: int
    """The number of this worker."""

    def setup(self) -> None:
        """Called once, before the first function. `self.config` and the rest are there."""

    async def close(self) -> None:
        """Called when the worker ends or the configuration is gone."""

    @property
    def http(self) -> httpx.AsyncClient:
        """An HTTP client (httpx) whose connections all plugins of this worker share; 5 seconds for
        connecting, reading and writing each unless a call says otherwise. It keeps no cookies and looks at no
        environment."""
        from gateway.pdk.http import shared_client

        return shared_client()


def name_of(plugin: type[Plugin]) -> str:
    """The name of a plugin in configurations."""
    return (
        plugin.name
        or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", plugin.__name__).lower()
    )

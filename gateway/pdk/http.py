"""The HTTP client of plugins: one per worker, made when somebody needs it (httpx takes some megabytes)."""

from __future__ import annotations

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

TIMEOUT = 5.0
"""seconds for connecting, for each read and for each write"""
POOL_TIMEOUT = 5.0
"""seconds that a request waits for a connection when all are in use"""
CONNECTIONS = 100
IDLE_CONNECTIONS = 20

_client: httpx.AsyncClient | None = None


def shared_client() -> httpx.AsyncClient:
    """The client of this worker. Only on the plugin thread."""
    global _client
    if _client is None or _client.is_closed:
        _client = httpx.AsyncClient(
            timeout=httpx.Timeout(TIMEOUT, pool=POOL_TIMEOUT),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=IDLE_CONNECTIONS),
            # What one client's request brought back must not go out with another one's.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
        )
    return _client


async def close_client() -> None:
    """At the end of the worker."""
    if _client is not None:
        await _client.aclose()

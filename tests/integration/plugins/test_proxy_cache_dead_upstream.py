"""proxy-cache with cache_control before an upstream that is away, or hangs, and comes back: what may be stale
then, and what must not (RFC 9111 §4.2.4, RFC 5861)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway, free_port, one_service, wait_for
from tests.support.plugged import Sent
from tests.support.scripted_cache import Cached, Script, answer

QUICK_MS = 150
"""that an upstream that hangs has for its answer"""
CONTROLS = {
    "/must": "must-revalidate, stale-if-error=100",
    "/proxies-must": "proxy-revalidate, stale-if-error=100",
    "/plain": "public",
    "/if-error": "stale-if-error=100",
    "/while-revalidate": "stale-while-revalidate=100",
}
"""Cache-Control of paths, besides max-age"""
BIDDEN = "Cache-Control: max-stale, stale-if-error=100"


class Failing(Cached):
    """All of CONTROLS is stored and stale; then the upstream is away."""

    def store_until_stale(self) -> None:
        self.cache(cache_control=True)
        self.point_at(self.upstream.port)
        self.script = self.version("old", 1)
        assert self.outcomes(*CONTROLS) == ["Miss"] * len(CONTROLS)
        fresh = "Cache-Control: only-if-cached, min-fresh=0"
        for path in CONTROLS:
            wait_for(lambda path=path: self.ask(path, fresh).status == 504, what=f"{path} is stale")

    def version(self, body: str, max_age: int) -> Script:
        def script(sent: Sent) -> bytes:
            control = CONTROLS.get(sent.target, "public")
            fields = (f"Cache-Control: max-age={max_age}, {control}", f'ETag: "{body}"')
            return answer(*fields, body=body.encode())

        return script

    def point_at(self, port: int, **service: int) -> None:
        plugins = [self.plugin(cache_control=True)]
        self.gateway.configure(one_service(port, retries=0, plugins=plugins, **service))

    def fail(self, how: str) -> None:
        if how == "refuses":
            self.point_at(free_port())
        else:
            self.script = lambda _: b"HTTP/1.1 200 OK\r\n"  # the gateway waits for more
            self.point_at(self.upstream.port, read_timeout=QUICK_MS)

    def come_back(self) -> None:
        self.script = self.version("new", 60)
        self.point_at(self.upstream.port)


@pytest.fixture(scope="module")
def cached(shared_gateway: Gateway) -> Iterator[Failing]:
    cached = Failing(shared_gateway)
    yield cached
    cached.close()


@pytest.mark.parametrize(("how", "error"), [("refuses", 502), ("hangs", 504)])
def test_an_upstream_that_is_away(cached: Failing, how: str, error: int) -> None:
    cached.store_until_stale()
    cached.fail(how)
    for path in ("/must", "/proxies-must", "/plain"):
        told = cached.ask(path)
        assert (told.status, told.cache) == (error, "Bypass"), path
    # what must be revalidated is not used whatever the client says; the rest is
    for path in ("/must", "/proxies-must"):
        assert cached.ask(path, BIDDEN).status == error, path
    for path, *fields in (
        ("/plain", BIDDEN),
        ("/plain", "Cache-Control: stale-if-error=100"),
        ("/if-error",),
    ):
        told = cached.ask(path, *fields)
        assert (told.status, told.cache, told.body) == (200, "Hit", b"old"), path
        assert int(told.age or 0) >= 1
    assert cached.ask("/if-error-of-which-nothing-is-stored", BIDDEN).status == error
    # fetching it behind the clients' backs fails: they go on with what there is
    for _ in range(20):
        told = cached.ask("/while-revalidate")
        assert (told.status, told.cache, told.body) == (200, "Hit", b"old")

    cached.come_back()
    for path in ("/must", "/proxies-must", "/plain", "/if-error"):
        assert cached.ask(path).body == b"new"
    wait_for(lambda: cached.ask("/while-revalidate").body == b"new", what="the new response")

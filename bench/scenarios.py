"""The scenarios: which lanes run in turn, what load each gets, what is compared with what.

A *lane* is one thing under load: a proxy with one configuration. Lanes of a scenario that name the same proxy
and configuration share one running instance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.load import Load
from bench.plugin_setups import FEW_CONSUMERS, KEY, MANY_CONSUMERS, SETUPS, token

MANY_ROUTES = 10_000
FEW_ROUTES = 10
IDLE_CONNECTIONS = 1_000
# With so few connections the proxy rests part of the time: wrk waits for an answer before it asks again.
HALF_LOAD_CONNECTIONS = 2
RELOAD_EVERY_MS = 1_000


@dataclass(frozen=True)
class LaneSpec:
    """What one lane is."""

    name: str
    proxy: str  # gateway, a peer, or "direct" for the backend alone
    load: Load
    routes: int = 1
    idle_connections: int = 0  # open beside the load, for as long as the scenario runs
    reload: Literal["admin", "signal"] | None = None  # every RELOAD_EVERY_MS during the run
    setup: str = ""  # of plugin_setups; empty: no plugins (and a peer without its cache)
    keys: int = 0  # requests go round the API keys of so many consumers
    popular: int = 0  # requests go to so many addresses, some much more often than others (Zipf's law)
    settings: tuple[tuple[str, str], ...] = ()  # of the gateway, beside those that the bench sets

    @property
    def instance(self) -> Hashable:
        """Lanes with the same instance share one running proxy."""
        return (self.proxy, self.routes, self.idle_connections, self.reload, self.setup, self.settings)

    @property
    def cached(self) -> bool:
        """Whether all answers of the measured runs must come from the proxy's cache."""
        return bool(self.setup) and SETUPS[self.setup].cached

    @property
    def targets(self) -> tuple[int, int, int] | None:
        """(routes, keys, popular addresses) that requests are spread over; None: all are the same."""
        spread = self.routes > 1 or self.keys or self.popular
        return (self.routes, self.keys, self.popular) if spread else None


@dataclass(frozen=True)
class RatioSpec:
    """Numerator over (or minus) denominator, round by round; left out when a lane did not run."""

    metric: str
    numerator: str
    denominator: str
    kind: Literal["ratio", "difference"] = "ratio"


@dataclass(frozen=True)
class ScenarioSpec:
    """A scenario; `lanes` gets the proxies that are there, the gateway first."""

    name: str
    title: str
    lanes: Callable[[list[str]], list[LaneSpec]]
    ratios: list[RatioSpec] = field(default_factory=list)


PER_CPU = "requests_per_cpu_second"


# A cache first of all: plain proxying is not what it is for.
ONLY_CACHES = ("varnish",)


def _side_by_side(load: Load) -> Callable[[list[str]], list[LaneSpec]]:
    return lambda proxies: [LaneSpec(proxy, proxy, load) for proxy in proxies if proxy not in ONLY_CACHES]


AGAINST_PEERS = [
    RatioSpec(PER_CPU, "gateway", "nginx"),
    RatioSpec("requests_per_second", "gateway", "nginx"),
    RatioSpec(PER_CPU, "gateway", "haproxy"),
    RatioSpec(PER_CPU, "gateway", "envoy"),
    RatioSpec(PER_CPU, "haproxy", "nginx"),
    RatioSpec(PER_CPU, "envoy", "nginx"),
    RatioSpec(PER_CPU, "floor", "nginx"),
    RatioSpec(PER_CPU, "gateway", "floor"),
]


def _plain(name: str, title: str, load: Load) -> ScenarioSpec:
    return ScenarioSpec(name, title, _side_by_side(load), AGAINST_PEERS)


def _routes(proxies: list[str]) -> list[LaneSpec]:
    if "gateway" not in proxies:
        return []
    return [LaneSpec(f"gateway-{n}", "gateway", Load(), routes=n) for n in (FEW_ROUTES, MANY_ROUTES)]


def _idle(proxies: list[str]) -> list[LaneSpec]:
    kinds = [proxy for proxy in proxies if proxy in ("gateway", "nginx")]
    lanes = [LaneSpec(kind, kind, Load()) for kind in kinds]
    lanes += [LaneSpec(f"{kind}-idle", kind, Load(), idle_connections=IDLE_CONNECTIONS) for kind in kinds]
    return lanes


def _half_load(proxies: list[str]) -> list[LaneSpec]:
    load = Load(connections=HALF_LOAD_CONNECTIONS)
    kinds = [proxy for proxy in proxies if proxy in ("gateway", "nginx")]
    return [LaneSpec(kind, kind, load) for kind in ("direct", *kinds)]


def _reload(proxies: list[str]) -> list[LaneSpec]:
    if "gateway" not in proxies:
        return []
    load = Load(connections=HALF_LOAD_CONNECTIONS)
    return [
        LaneSpec("gateway", "gateway", load, routes=MANY_ROUTES),
        LaneSpec("gateway-reloading", "gateway", load, routes=MANY_ROUTES, reload="admin"),
    ]


def _reload_signal(proxies: list[str]) -> list[LaneSpec]:
    kinds = [proxy for proxy in proxies if proxy in ("gateway", "nginx")]
    lanes = []
    for kind in kinds:
        lanes.append(LaneSpec(kind, kind, Load()))
        lanes.append(LaneSpec(f"{kind}-reloading", kind, Load(), reload="signal"))
    return lanes


def _credentials(setup: str) -> Load:
    """The load with what the setup's plugins ask for."""
    if SETUPS[setup].with_token:
        return Load(headers=(("Authorization", f"Bearer {token()}"),))
    if SETUPS[setup].consumers:
        return Load(headers=(("apikey", KEY),))
    return Load()


ALONE = (
    *("key-auth", "acl", "ip-restriction", "cors", "correlation-id", "rate-limiting", "rate-limiting-redis"),
    *("jwt", "request-transformer", "python"),
)
"""The setups of single plugins; acl comes with key-auth."""


def _plugins(proxies: list[str]) -> list[LaneSpec]:
    if "gateway" not in proxies:
        return []
    lanes = [LaneSpec("plain", "gateway", Load())]
    return lanes + [LaneSpec(setup, "gateway", _credentials(setup), setup=setup) for setup in ALONE]


def _beside_nginx(setup: str) -> Callable[[list[str]], list[LaneSpec]]:
    def lanes(proxies: list[str]) -> list[LaneSpec]:
        found = [LaneSpec("nginx", "nginx", Load())] if "nginx" in proxies else []
        if "gateway" in proxies:
            found.insert(0, LaneSpec("gateway", "gateway", _credentials(setup), setup=setup))
        return found

    return lanes


def _consumers(proxies: list[str]) -> list[LaneSpec]:
    if "gateway" not in proxies:
        return []
    return [
        LaneSpec(f"consumers-{count}", "gateway", Load(), setup=setup, keys=count)
        for setup, count in (("few-consumers", FEW_CONSUMERS), ("many-consumers", MANY_CONSUMERS))
    ]


def _cache_hits(path: str) -> Callable[[list[str]], list[LaneSpec]]:
    def lanes(proxies: list[str]) -> list[LaneSpec]:
        found = []
        for proxy in proxies:
            if proxy == "gateway":
                for name, setup in (("gateway", "cache"), ("gateway-limited", "cache-limited")):
                    load = replace(_credentials(setup), path=path)
                    found.append(LaneSpec(name, proxy, load, setup=setup))
            elif proxy in ("nginx", "floor", *ONLY_CACHES):
                found.append(LaneSpec(proxy, proxy, Load(path), setup="cache"))
        return found

    return lanes


def _cached(name: str, title: str, path: str) -> ScenarioSpec:
    return ScenarioSpec(
        name,
        f"Cache hits of {title}; the gateway without other plugins, and with key-auth and rate-limiting",
        _cache_hits(path),
        [
            *(
                RatioSpec(metric, gateway, peer)
                for gateway in ("gateway-limited", "gateway")
                for peer in ("nginx", *ONLY_CACHES)
                for metric in (PER_CPU, "requests_per_second")
            ),
            RatioSpec(PER_CPU, "gateway-limited", "gateway"),
            RatioSpec(PER_CPU, "varnish", "nginx"),
            RatioSpec(PER_CPU, "floor", "nginx"),
            RatioSpec(PER_CPU, "gateway-limited", "floor"),
        ],
    )


_POST = "/post"
SCENARIOS: dict[str, ScenarioSpec] = {
    scenario.name: scenario
    for scenario in (
        _plain("proxy-small", "Plain proxying, 0.2 KiB bodies", Load("/small")),
        _plain("proxy-4k", "Plain proxying, 4 KiB bodies", Load("/4k")),
        _plain("proxy-64k", "Plain proxying, 64 KiB bodies", Load("/64k")),
        _plain("post-1k", "POST with a 1 KiB body", Load(_POST, "POST", 1024)),
        _plain("post-64k", "POST with a 64 KiB body", Load(_POST, "POST", 65536)),
        ScenarioSpec(
            "routes",
            f"{MANY_ROUTES:,} routes instead of {FEW_ROUTES}, requests spread over all",
            _routes,
            [
                RatioSpec(PER_CPU, f"gateway-{MANY_ROUTES}", f"gateway-{FEW_ROUTES}"),
                RatioSpec("p99_ms", f"gateway-{MANY_ROUTES}", f"gateway-{FEW_ROUTES}", "difference"),
            ],
        ),
        ScenarioSpec(
            "idle",
            f"{IDLE_CONNECTIONS:,} idle keep-alive connections beside the load",
            _idle,
            [
                RatioSpec(PER_CPU, "gateway-idle", "nginx-idle"),
                RatioSpec(PER_CPU, "gateway-idle", "gateway"),
                RatioSpec(PER_CPU, "nginx-idle", "nginx"),
            ],
        ),
        ScenarioSpec(
            "half-load",
            f"Added latency at about half load ({HALF_LOAD_CONNECTIONS} connections)",
            _half_load,
            [
                RatioSpec(f"{quantile}_ms", kind, "direct", "difference")
                for kind in ("gateway", "nginx")
                for quantile in ("p50", "p99")
            ],
        ),
        ScenarioSpec(
            "reload",
            f"A new configuration of {MANY_ROUTES:,} routes every {RELOAD_EVERY_MS:,} ms at about half load",
            _reload,
            [RatioSpec("p99_ms", "gateway-reloading", "gateway", "difference")],
        ),
        ScenarioSpec(
            "reload-signal",
            f"SIGHUP every {RELOAD_EVERY_MS:,} ms at full load",
            _reload_signal,
            [RatioSpec("p99_ms", f"{kind}-reloading", kind, "difference") for kind in ("gateway", "nginx")],
        ),
        ScenarioSpec(
            "plugins",
            "Each plugin alone, beside plain proxying",
            _plugins,
            [
                *(RatioSpec(PER_CPU, setup, "plain") for setup in ALONE),
                RatioSpec(PER_CPU, "acl", "key-auth"),
                RatioSpec(PER_CPU, "rate-limiting-redis", "rate-limiting"),
                RatioSpec("requests_per_second", "rate-limiting-redis", "rate-limiting"),
            ],
        ),
        ScenarioSpec(
            "key-auth-limited",
            "key-auth, rate-limiting and metrics, beside nginx without any of it",
            _beside_nginx("key-auth-limited"),
            [RatioSpec(PER_CPU, "gateway", "nginx"), RatioSpec("requests_per_second", "gateway", "nginx")],
        ),
        ScenarioSpec(
            "jwt-limited",
            "jwt (token seen before) and rate-limiting, beside nginx without any of it",
            _beside_nginx("jwt-limited"),
            [RatioSpec(PER_CPU, "gateway", "nginx"), RatioSpec("requests_per_second", "gateway", "nginx")],
        ),
        _cached("cache-hit-1k", "1 KiB", "/1k"),
        _cached("cache-hit-16k", "16 KiB", "/16k"),
        _cached("cache-hit-1m", "1 MiB", "/1m"),
        ScenarioSpec(
            "consumers",
            f"key-auth with {MANY_CONSUMERS:,} consumers instead of {FEW_CONSUMERS}, all of them asking",
            _consumers,
            [RatioSpec(PER_CPU, f"consumers-{MANY_CONSUMERS}", f"consumers-{FEW_CONSUMERS}")],
        ),
    )
}

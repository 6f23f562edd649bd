"""What the clients of the story ask for: fifteen services, two kinds of consumers, Zipf-distributed keys.

Everything is made from fixed seeds: two runs send the same requests in the same order. Only tokens differ,
because they hold the time until which they are good.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from bench.plugin_setups import signed_token
from bench.story import zipf

HOST = "api.story.test"
WANTED_HIT_RATE = 0.73
"""of all requests; what is to be reached is 0.70"""
PLANNED_RATE = 50_000
"""requests a second at which the cache is to have the wanted hit rate"""
EXPONENT = 1.0
CACHE_SECONDS = 2
UNCACHEABLE_SHARE = 0.12
UNCACHEABLE_REQUESTS = 1_200
"""different ones"""
CONSUMERS_OF_A_KIND = 50
TAPE_LENGTH = 1 << 20
"""20 seconds at 50,000 requests a second: long before it comes round, everything has expired"""
SEED = 5
ORDER = '{"article":4711,"amount":2,"note":"please ring twice"}'


@dataclass(frozen=True)
class Service:
    """One of the fifteen; what clients may do with it is in `bench.story.configuration`."""

    name: str
    auth: Literal["key-auth", "jwt"]
    method: Literal["GET", "POST"] = "GET"
    cached: bool = True

    @property
    def path(self) -> str:
        return f"/{self.name}/v1"


CACHED_NAMES = (
    *("catalogue", "search", "prices", "stock", "reviews", "recommendations"),
    *("pictures", "shops", "manuals", "translations", "weather", "news"),
)
SERVICES = (
    *(Service(name, "jwt" if number % 2 else "key-auth") for number, name in enumerate(CACHED_NAMES)),
    Service("orders", "jwt", "POST", cached=False),
    Service("payments", "key-auth", "POST", cached=False),
    Service("sessions", "jwt", cached=False),
)
CACHED = tuple(service for service in SERVICES if service.cached)
UNCACHED = tuple(service for service in SERVICES if not service.cached)


@dataclass(frozen=True)
class Request:
    """One request as every client can send it."""

    service: Service
    path: str
    consumer: int  # of those of the service's kind

    @property
    def body(self) -> str:
        return ORDER if self.service.method == "POST" else ""

    def headers(self) -> dict[str, str]:
        """Its headers but for those that say where it goes and how long it is."""
        found = {"Accept": "application/json", "X-Debug": "1"}
        if self.service.auth == "jwt":
            found["Authorization"] = f"Bearer {token_of(self.consumer)}"
        else:
            found["apikey"] = key_of(self.consumer)
        if self.body:
            found["Content-Type"] = "application/json"
        return found

    def text(self) -> str:
        """The whole request as it goes over the wire."""
        headers = {"Host": HOST, **self.headers()}
        if self.body:
            headers["Content-Length"] = str(len(self.body))
        lines = [f"{self.service.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines) + "\r\n\r\n" + self.body


def key_of(consumer: int) -> str:
    """The API key of a consumer with a key."""
    return f"story-key-{consumer:04d}-{consumer * 2654435761 % 2**32:08x}"


def issuer_of(consumer: int) -> str:
    """What the tokens of a consumer with tokens say in `iss`."""
    return f"story-issuer-{consumer:04d}"


def secret_of(consumer: int) -> str:
    """What the tokens of a consumer are signed with."""
    return f"story secret of consumer {consumer:04d}, long enough"


@cache
def token_of(consumer: int) -> str:
    """A token (HS256) that lives for a day."""
    return signed_token(issuer_of(consumer), secret_of(consumer))


@dataclass(frozen=True)
class Traffic:
    """All different requests, and the order in which they are sent."""

    requests: list[Request]
    tape: array[int]  # indices of `requests`
    popularity: list[float] = field(repr=False)  # of the cacheable ones, which come first
    uncacheable_share: float
    ttl_seconds: float

    @property
    def keys(self) -> int:
        """How many different cacheable requests there are."""
        return len(self.popularity)

    def expected_hit_rate(self, rate: float) -> float:
        """Share of hits among all requests at so many a second."""
        cacheable = 1 - self.uncacheable_share
        return cacheable * zipf.hit_rate(self.popularity, cacheable * rate, self.ttl_seconds)

    def write(self, directory: Path) -> None:
        """For story.lua: `requests`, each ended by a zero byte; `tape`, 32-bit numbers of this machine."""
        text = "".join(f"{request.text()}\0" for request in self.requests)
        (directory / "requests").write_text(text, encoding="ascii", newline="")
        (directory / "tape").write_bytes(self.tape.tobytes())


def plan(tape_length: int = TAPE_LENGTH) -> Traffic:
    """The traffic of the story. The number of keys follows from the hit rate wanted (see zipf.py)."""
    cacheable = 1 - UNCACHEABLE_SHARE
    keys = zipf.keys_for(
        WANTED_HIT_RATE / cacheable,
        exponent=EXPONENT,
        rate=PLANNED_RATE * cacheable,
        ttl_seconds=CACHE_SECONDS,
    )
    popularity = zipf.shares(keys, EXPONENT)
    source = random.Random(SEED)
    tape = zipf.draw(popularity, tape_length, source)
    for place in range(tape_length):
        if source.random() < UNCACHEABLE_SHARE:
            tape[place] = keys + source.randrange(UNCACHEABLE_REQUESTS)
    requests = [_request(CACHED, number) for number in range(keys)]
    requests += [_request(UNCACHED, number) for number in range(UNCACHEABLE_REQUESTS)]
    return Traffic(requests, tape, popularity, UNCACHEABLE_SHARE, CACHE_SECONDS)


def _request(services: tuple[Service, ...], number: int) -> Request:
    service = services[number % len(services)]
    # Another prime step, so that neither a service's popular keys nor a consumer's belong together.
    consumer = number * 7919 // len(services) % CONSUMERS_OF_A_KIND
    return Request(service, f"{service.path}/items/{number}", consumer)

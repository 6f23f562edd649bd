"""Key sets of issuers (RFC 7517), fetched when a token needs them.

    fetched   on the first need, after their time (`jwks_cache_ttl`), and when a token names a key that is not
              there: for that reason at most once in UNKNOWN_KEY_INTERVAL seconds, whatever tokens come
    failing   after a failure nothing is fetched for RETRY_INTERVAL seconds; keys that are there are used for
              up to KEPT_WHEN_UNREACHABLE seconds beyond their time: tokens outlive a restart of their issuer
    waiting   requests that need the same set wait for the same fetch, REQUEST_TIME seconds at most; with keys
              that are merely past their time, PATIENCE seconds

What is fetched is bounded in time, size and number, and is redirected within the same origin only. Keys for
encryption, of kinds that are no public keys, and too short ones are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import httpx
import jwt
import msgspec
from jwt.exceptions import PyJWTError

from gateway import __version__
from gateway.entities.jwt_secrets import ALGORITHMS

from ._jwt_keys import is_symmetric
from ._jwt_tokens import Token

REQUEST_TIME = 5.0
PATIENCE = 0.5
RETRY_INTERVAL = 10.0
UNKNOWN_KEY_INTERVAL = 30.0
KEPT_WHEN_UNREACHABLE = 3600.0
UNUSED_SET_TIME = 7200.0
"""seconds after which a set that no token has needed is forgotten"""
MOST_BYTES = 512 * 1024
MOST_KEYS = 256
MOST_SETS = 256
MOST_REDIRECTS = 3
KEYS_TRIED = 8
"""Keys that are tried for a token which names none."""

PUBLIC_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The type of key by the first letters of an algorithm."""


class KeySetUnavailable(Exception):
    """There are no keys to be had just now."""


@dataclass(frozen=True, slots=True)
class KeySetKey:
    """A public key of a set, as PyJWT wants it, for one algorithm."""

    kid: str | None
    algorithm: str
    key: Any


@dataclass(slots=True)
class KeySet:
    """What is known of an address. Times are those of time.monotonic()."""

    url: str
    keys: Sequence[KeySetKey] = ()
    fetched: float | None = None
    failed: float | None = None
    asked_for_unknown: float | None = None
    needed: float = 0.0
    fetching: asyncio.Task[None] | None = field(default=None, repr=False)


class KeySets:
    """The key sets that a worker needs. `on_problem` is told why a set could not be fetched."""

    def __init__(
        self,
        on_problem: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._on_problem = on_problem
        self._clock = clock
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._sets: dict[str, KeySet] = {}

    async def verify(self, url: str, ttl: float, token: Token) -> float | None:
        """Whether a key of this set signed the token.

        Returns for how many seconds the answer may be kept; None: no key did. Raises KeySetUnavailable.
        """
        if is_symmetric(token.algorithm):
            return None  # public keys are no secrets
        found = self._set(url)
        is_new = await self._keep_current(found, ttl)
        keys = _fitting(found, token)
        names_key = token.header.get("kid") is not None
        if not keys and names_key and not is_new and self._may_ask_for_unknown(found):
            found.asked_for_unknown = self._clock()
            await self._wait_for_fetch(found, REQUEST_TIME)
            keys = _fitting(found, token)
        algorithm = jwt.get_algorithm_by_name(token.algorithm)
        if not any(algorithm.verify(token.signed, key.key, token.signature) for key in keys):
            return None
        return max(1.0, ttl - self._age(found))

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = [found.fetching for found in self._sets.values() if found.fetching]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client:
            await self._client.aclose()

    # --- what is there ------------------------------------------------------------------------------

    def _set(self, url: str) -> KeySet:
        now = self._clock()
        found = self._sets.pop(url, None)
        if found is None:
            self._forget(now)
            found = KeySet(url)
        self._sets[url] = found  # needed last
        found.needed = now
        return found

    def _forget(self, now: float) -> None:
        idle = [s for s in self._sets.values() if s.fetching is None]
        for known in idle:
            if now - known.needed > UNUSED_SET_TIME or len(self._sets) >= MOST_SETS:
                del self._sets[known.url]

    def _age(self, found: KeySet) -> float:
        return float("inf") if found.fetched is None else self._clock() - found.fetched

    def _may_ask_for_unknown(self, found: KeySet) -> bool:
        last = found.asked_for_unknown
        if last is not None and self._clock() - last < UNKNOWN_KEY_INTERVAL:
            return found.fetching is not None  # somebody has asked: wait for the same answer
        return not self._failed_lately(found)

    def _failed_lately(self, found: KeySet) -> bool:
        return found.failed is not None and self._clock() - found.failed < RETRY_INTERVAL

    async def _keep_current(self, found: KeySet, ttl: float) -> bool:
        """Fetch what is missing or past its time. Whether that was done.

        Raises KeySetUnavailable when there is nothing to go on with.
        """
        age = self._age(found)
        if age < ttl:
            return False
        usable = age < ttl + KEPT_WHEN_UNREACHABLE
        if found.fetching or not self._failed_lately(found):
            await self._wait_for_fetch(found, PATIENCE if usable else REQUEST_TIME)
        if self._age(found) >= ttl + KEPT_WHEN_UNREACHABLE:
            raise KeySetUnavailable(found.url)
        return self._age(found) < age

    # --- fetching -----------------------------------------------------------------------------------

    async def _wait_for_fetch(self, found: KeySet, seconds: float) -> None:
        """Wait for the fetch that is going on, or a new one."""
        if found.fetching is None:
            found.fetching = asyncio.get_running_loop().create_task(self._fetch(found))
        # not cancelled with the request that waits: others may wait, too
        await asyncio.wait({found.fetching}, timeout=seconds)

    async def _fetch(self, found: KeySet) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIME):
                document = await self._read(found.url)
            found.keys = read_key_set(document)
            found.fetched = self._clock()
            found.failed = None
        except (httpx.HTTPError, httpx.InvalidURL, KeySetProblem, TimeoutError, OSError) as problem:
            found.failed = self._clock()
            reason = str(problem) or type(problem).__name__
            self._on_problem(f"no key set from {found.url}: {reason}")
        finally:
            found.fetching = None

    async def _read(self, url: str) -> bytes:
        """The document behind an address."""
        for _ in range(MOST_REDIRECTS + 1):
            async with self._http().stream("GET", url) as response:
                if response.has_redirect_location:
                    url = _redirected(url, response)
                    continue
                if response.status_code != 200:
                    raise KeySetProblem(f"status {response.status_code}")
                document = bytearray()
                async for piece in response.aiter_bytes():
                    document += piece
                    if len(document) > MOST_BYTES:
                        raise KeySetProblem(f"it is longer than {MOST_BYTES} bytes")
                return bytes(document)
        raise KeySetProblem("too many redirects")

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                timeout=REQUEST_TIME,
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
                headers={"Accept": "application/json", "User-Agent": f"sluicegate/{__version__}"},
            )
        return self._client


class KeySetProblem(Exception):
    """Why an answer is no key set."""


def _redirected(url: str, response: httpx.Response) -> str:
    """Where a redirect leads, which must be the same scheme, host and port."""
    target = httpx.URL(urljoin(url, response.headers.get("location", "")))
    origin = httpx.URL(url)
    if (target.scheme, target.host, target.port) != (origin.scheme, origin.host, origin.port):
        raise KeySetProblem("a redirect to another host")
    return str(target)


def read_key_set(document: bytes) -> list[KeySetKey]:
    """The keys of a set that signatures can be verified with. Raises KeySetProblem for what is none."""
    try:
        content = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise KeySetProblem(f"no JSON: {problem}") from None
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list):
        raise KeySetProblem("it has no keys")
    if len(members) > MOST_KEYS:
        raise KeySetProblem(f"it has more than {MOST_KEYS} keys")
    return [key for member in members if isinstance(member, dict) for key in _keys_of(member)]


def _keys_of(member: dict[str, Any]) -> list[KeySetKey]:
    """A key of a set, for each algorithm that it may be used with."""
    kind, kid = member.get("kty"), member.get("kid")
    operations = member.get("key_ops")
    if not isinstance(kind, str) or kind not in PUBLIC_MEMBERS or not isinstance(kid, str | None):
        return []
    if member.get("use", "sig") != "sig":
        return []
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return []
    public = {"kty": kind, **{name: member[name] for name in PUBLIC_MEMBERS[kind] if name in member}}
    only = member.get("alg")
    found = []
    for algorithm in ALGORITHMS:
        if KEY_TYPES.get(algorithm[:2]) == kind and only in (None, algorithm):
            key = _ready_key(algorithm, public)
            if key is not None:
                found.append(KeySetKey(kid, algorithm, key))
    return found


def _ready_key(algorithm: str, public: dict[str, Any]) -> Any:
    """As PyJWT wants it; None: it is not a key for this algorithm, or too short."""
    implementation = jwt.get_algorithm_by_name(algorithm)
    try:
        key = implementation.prepare_key(implementation.from_jwk(public))
        return None if implementation.check_key_length(key) else key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None


def _fitting(found: KeySet, token: Token) -> list[KeySetKey]:
    """The keys that a token may have been signed with."""
    kid = token.header.get("kid")
    keys = [key for key in found.keys if key.algorithm == token.algorithm]
    if kid is not None:
        keys = [key for key in keys if key.kid == kid]
    return keys[:KEYS_TRIED]

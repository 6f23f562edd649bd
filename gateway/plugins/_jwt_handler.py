"""jwt on the plugin thread: reads tokens and verifies them; steps/jwt.pyx asks.

It never sees who the consumers are. A token takes two jobs: READ tells the step what the token names its
credential by, the step looks that up among the identities that its request is pinned to, and VERIFY brings
the token with the keys of the credentials found. So it is the step alone that decides which keys may count,
and no job depends on a snapshot that could be gone.

A result begins with a byte that says what it is, see Outcome; numbers are little endian:

    READ        the name of the credential
    VERIFIED    begins, expires, known until (int64 Unix seconds), place of the key (uint32), the name of the
                credential
    REFUSED     the body of the 401
    UNAVAILABLE nothing

The job VERIFY has the number of keys (uint32), for each its algorithm (uint8) and length (uint32) and its
bytes, then the token. No keys: those of the issuer's key set.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Coroutine
from enum import IntEnum
from typing import Any

import orjson

from gateway.plugin_thread.context import Job, WorkerContext

from ._jwt_key_sets import KeySets, KeySetUnavailable
from ._jwt_keys import ALGORITHM_NAMES, UnusableKey, signed_by
from ._jwt_rules import ClaimsError, Period, Rules, rules_of
from ._jwt_tokens import Token, TokenError, read_token

ALWAYS = -(1 << 63)
FOR_EVER = (1 << 63) - 1
MOST_RULES = 1024


class Verb(IntEnum):
    """What a job wants; JwtVerb of steps/jwt.pyx."""

    READ = 1
    VERIFY = 2


class Outcome(IntEnum):
    """What a result is; JwtOutcome of steps/jwt.pyx."""

    REFUSED = 0
    READ = 1
    VERIFIED = 2
    UNAVAILABLE = 3


Key = tuple[str, bytes]
"""Algorithm and material of a credential."""


class JwtHandler:
    """The handler of the plugin jwt."""

    def __init__(self, context: WorkerContext) -> None:
        self._key_sets = KeySets(context.log.warn)
        self._rules: dict[int, Rules] = {}

    def handle(self, job: Job) -> bytes | Coroutine[Any, Any, bytes]:
        """Do a job; one that needs a key set takes its time."""
        rules = self._rules_of(job)
        if job.verb == Verb.READ:
            return answered(lambda: read(rules, job.payload))
        keys, text = unpack_keys(job.payload)
        if keys or not rules.jwks_uri:
            return answered(lambda: verify(rules, keys, text, int(time.time())))
        return self._verify_by_key_set(rules, text)

    async def close(self) -> None:
        """The worker ends."""
        await self._key_sets.close()

    def _rules_of(self, job: Job) -> Rules:
        """Of a job's configuration, which is the same object from job to job."""
        found = self._rules.get(job.plugin.config_hash)
        if found is None:
            if len(self._rules) >= MOST_RULES:
                self._rules.clear()
            found = self._rules[job.plugin.config_hash] = rules_of(job.config)
        return found

    async def _verify_by_key_set(self, rules: Rules, text: bytes) -> bytes:
        try:
            token = read_token(text)
            kept = await self._key_sets.verify(rules.jwks_uri or "", rules.key_set_ttl, token)
        except TokenError as problem:
            return refused({"message": str(problem)})
        except KeySetUnavailable:
            return bytes((Outcome.UNAVAILABLE,))
        now = int(time.time())

        def conclude() -> bytes:
            if kept is None:
                raise TokenError("Invalid signature")
            rules.check_audience(token.claims)
            return verified(rules, token, rules.check(token.claims, now), 0, now + int(kept))

        return answered(conclude)


def answered(work: Callable[[], bytes]) -> bytes:
    """The result of some work, or what is wrong with the token."""
    try:
        return work()
    except TokenError as problem:
        return refused({"message": str(problem)})
    except ClaimsError as problem:
        return refused(dict(problem.problems))


def read(rules: Rules, text: bytes) -> bytes:
    """The result of READ. Raises TokenError."""
    return bytes((Outcome.READ,)) + rules.credential_name(read_token(text)).encode()


def verify(rules: Rules, keys: list[Key], text: bytes, now: int) -> bytes:
    """The result of VERIFY with these keys. Raises TokenError and ClaimsError."""
    token = read_token(text)
    usable = [(place, *key) for place, key in enumerate(keys) if key[0] == token.algorithm]
    if not usable:
        raise TokenError("Invalid algorithm")
    problem = TokenError("Invalid signature")
    for place, algorithm, material in usable:
        try:
            if signed_by(token, algorithm, material, is_base64=rules.secret_is_base64):
                return verified(rules, token, rules.check(token.claims, now), place, FOR_EVER)
        except UnusableKey:
            if len(usable) == 1:
                problem = TokenError("Invalid key/secret")
    raise problem


def verified(rules: Rules, token: Token, period: Period, place: int, known_until: int) -> bytes:
    """The result VERIFIED."""
    begins = ALWAYS if period.begins is None else period.begins
    expires = FOR_EVER if period.expires is None else period.expires
    facts = struct.pack("<BqqqI", Outcome.VERIFIED, begins, expires, known_until, place)
    return facts + rules.credential_name(token).encode()


def refused(body: dict[str, str]) -> bytes:
    """The result REFUSED."""
    return bytes((Outcome.REFUSED,)) + orjson.dumps(body)


def unpack_keys(payload: bytes) -> tuple[list[Key], bytes]:
    """The keys and the token of a job VERIFY."""
    (count,) = struct.unpack_from("<I", payload)
    at = 4
    keys = []
    for _ in range(count):
        algorithm, length = struct.unpack_from("<BI", payload, at)
        at += 5
        keys.append((ALGORITHM_NAMES[algorithm], payload[at : at + length]))
        at += length
    return keys, payload[at:]

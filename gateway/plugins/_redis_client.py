"""Connections to Redis from the plugin thread, and scripts that run there."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from gateway.settings import Settings

Client = Redis | RedisCluster

PAUSE_SECONDS = 0.5
"""After a server did not answer in time, it is not asked for so long: the requests that come meanwhile would
only wait as long in vain."""


class RedisProblem(Exception):
    """Redis is not there, does not answer, or refuses. The text tells no secret."""


@dataclass(frozen=True)
class Script:
    """A Lua script."""

    text: str
    is_joinable: bool = False
    """Several calls may be made one: keys behind keys, arguments behind arguments, as many for each key, and
    an answer for each."""

    @property
    def digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its keys and arguments."""

    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[int | float | bytes]


class NamedTls(SSLConnection):
    """TLS with a server name that is not the host."""

    server_name = ""

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self.server_name}


def describe(redis: Mapping[str, Any]) -> str:
    """The servers of a configuration's record, for messages."""
    if nodes := redis.get("cluster_nodes"):
        return "the Redis cluster of " + ", ".join(f"{node['host']}:{node['port']}" for node in nodes)
    if redis.get("sentinel_nodes"):
        return f"the Redis group {redis['sentinel_master']}"
    return f"Redis at {redis['host']}:{redis['port']}"


def timeout_of(redis: Mapping[str, Any]) -> float:
    """Seconds to connect, send and receive in."""
    return max(1, redis.get("timeout") or 2000) / 1000


def make_client(redis: Mapping[str, Any], settings: Settings) -> Client:
    """A client for a configuration's record; it connects when it is used."""
    options: dict[str, Any] = {
        "username": redis.get("username") or None,
        "password": redis.get("password") or None,
        "socket_timeout": timeout_of(redis),
        "socket_connect_timeout": timeout_of(redis),
        # A connection that the server has closed meanwhile is opened again; nothing else is tried twice.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "driver_info": None,
    }
    tls = _tls_options(redis, settings) if redis.get("ssl") else {}
    if nodes := redis.get("cluster_nodes"):
        return RedisCluster(
            startup_nodes=[ClusterNode(node["host"], node["port"]) for node in nodes],
            ssl=bool(tls),
            **options,
            **tls,
        )
    options["db"] = redis.get("database") or 0
    if nodes := redis.get("sentinel_nodes"):
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            [(node["host"], node["port"]) for node in nodes],
            sentinel_kwargs={
                "username": redis.get("sentinel_username") or None,
                "password": redis.get("sentinel_password") or None,
                "socket_timeout": timeout_of(redis),
                "socket_connect_timeout": timeout_of(redis),
            },
            ssl=bool(tls),
            **options,
            **tls,
        )
        master: Redis = sentinel.master_for(redis["sentinel_master"])
        return master
    kind: type[Connection] = SSLConnection if tls else Connection
    if tls and (name := redis.get("server_name")):
        kind = type("NamedTls", (NamedTls,), {"server_name": name})
    pool: ConnectionPool = ConnectionPool(
        connection_class=kind, host=redis["host"], port=redis["port"], **options, **tls
    )
    return Redis.from_pool(pool)


def _tls_options(redis: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    verify = bool(redis.get("ssl_verify"))
    options: dict[str, Any] = {
        "ssl_cert_reqs": "required" if verify else "none",
        "ssl_check_hostname": verify,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }
    authorities = settings.pg_ssl_ca_file[0]
    if verify and authorities != "system":
        options["ssl_ca_certs"] = authorities
    return options


async def run_calls(client: Client, calls: Sequence[Call]) -> list[Any]:
    """The answers to calls, in their order. Raises the first error."""
    answers = await _send(client, calls, "EVALSHA")
    unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:
        # The server has been started anew, or never seen the script.
        again = await _send(client, [calls[index] for index in unknown], "EVAL")
        for index, answer in zip(unknown, again, strict=True):
            answers[index] = answer
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def _send(client: Client, calls: Sequence[Call], command: str) -> list[Any]:
    texts = [call.script.digest if command == "EVALSHA" else call.script.text for call in calls]
    commands = [
        (command, text, len(call.keys), *call.keys, *call.arguments)
        for text, call in zip(texts, calls, strict=True)
    ]
    if len(commands) == 1 or isinstance(client, RedisCluster):
        return await asyncio.gather(
            *(client.execute_command(*one) for one in commands), return_exceptions=True
        )
    pipeline = client.pipeline(transaction=False)
    for one in commands:
        pipeline.execute_command(*one)
    found: list[Any] = await pipeline.execute(raise_on_error=False)
    return found


class RedisLink:
    """What a worker asks one Redis."""

    def __init__(self, redis: Mapping[str, Any], settings: Settings) -> None:
        self.client = make_client(redis, settings)
        self.is_cluster = isinstance(self.client, RedisCluster)
        self.name = describe(redis)
        self._timeout = timeout_of(redis)
        self._paused_until = 0.0

    async def call(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, in one batch. Raises RedisProblem."""
        if time.monotonic() < self._paused_until:
            raise RedisProblem(f"{self.name} did not answer in time just now")
        try:
            async with asyncio.timeout(2 * self._timeout):
                return await self._call(calls)
        except (TimeoutError, RedisTimeout) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise RedisProblem(f"{self.name} did not answer in time") from error
        except (OSError, RedisError) as error:
            raise RedisProblem(f"{self.name}: {error or type(error).__name__}") from error

    async def _call(self, calls: Sequence[Call]) -> list[Any]:
        if self.is_cluster:
            return await self._call_cluster(calls)
        joined = _join([call for call in calls if call.script.is_joinable])
        others = [call for call in calls if not call.script.is_joinable]
        answers = await run_calls(self.client, [*joined, *others])
        together = iter(answers[0] if joined else ())
        alone = iter(answers[len(joined) :])
        return [
            [next(together) for _ in call.keys] if call.script.is_joinable else next(alone) for call in calls
        ]

    async def _call_cluster(self, calls: Sequence[Call]) -> list[Any]:
        """Keys of one call lie on different servers, unless the script needs them together."""
        split = [one for call in calls for one in (_split(call) if call.script.is_joinable else [call])]
        answers = iter(await run_calls(self.client, split))
        return [
            [next(answers)[0] for _ in call.keys] if call.script.is_joinable else next(answers)
            for call in calls
        ]

    async def close(self) -> None:
        await self.client.aclose()


def _join(calls: Sequence[Call]) -> list[Call]:
    if not calls:
        return []
    keys = [key for call in calls for key in call.keys]
    return [Call(calls[0].script, keys, [argument for call in calls for argument in call.arguments])]


def _split(call: Call) -> list[Call]:
    each = len(call.arguments) // len(call.keys)
    return [
        Call(call.script, [key], call.arguments[index * each : (index + 1) * each])
        for index, key in enumerate(call.keys)
    ]

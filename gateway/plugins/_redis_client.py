"""Connections to Redis from the plugin thread, and scripts that run there."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from gateway.settings import Settings

Client = Redis | RedisCluster
Command = tuple[str | bytes | int, ...]

PAUSE_SECONDS = 0.5
"""After a server did not answer in time, it is not asked for so long: the requests that come meanwhile would
only wait as long in vain."""


class RedisProblem(Exception):
    """Redis is not there, does not answer, or refuses. The text tells no secret."""


class Script:
    """A Lua script."""

    def __init__(self, text: str, *, is_joinable: bool = False) -> None:
        """`is_joinable`: several calls may be made one: keys behind keys, arguments behind arguments, as many
        for each key, and an answer for each."""
        self.text = text
        self.is_joinable = is_joinable
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Call(NamedTuple):
    """A script with its keys and arguments."""

    script: Script
    keys: Sequence[bytes]
    arguments: Sequence[int]

    def command(self, name: str, script: str) -> Command:
        return (name, script, len(self.keys), *self.keys, *self.arguments)


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


class Line:
    """One connection, which is kept: to take one from the client's pool for each batch costs too much."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._connection: Any = None
        self._in_use = asyncio.Lock()
        """several batches use one link; the answers to one must not be read by another"""

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once; their answers, of which some may be exceptions."""
        pack: Any = hiredis.pack_command
        data = b"".join([pack(command) for command in commands])
        async with self._in_use:
            try:
                return await self._exchange(data, len(commands))
            except RedisConnectionError:
                # The server has closed the connection meanwhile, or has been started again.
                return await self._exchange(data, len(commands))

    async def _exchange(self, data: bytes, count: int) -> list[Any]:
        if self._connection is None:
            pool: Any = self._client.connection_pool
            self._connection = await pool.get_connection()
        connection = self._connection
        await connection.send_packed_command(data, check_health=False)
        answers = []
        for _ in range(count):
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers


class RedisLink:
    """What a worker asks one Redis."""

    def __init__(self, redis: Mapping[str, Any], settings: Settings) -> None:
        self._client = make_client(redis, settings)
        self._line = None if isinstance(self._client, RedisCluster) else Line(self._client)
        self.name = describe(redis)
        self._timeout = timeout_of(redis)
        self._paused_until = 0.0

    async def call(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls, in one batch. Raises RedisProblem."""
        return await self._bounded(self._call(calls))

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands, in one batch; what the server refuses has an exception for an answer.
        Raises RedisProblem."""
        return await self._bounded(self._send(commands))

    async def _bounded(self, work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
        if time.monotonic() < self._paused_until:
            work.close()
            raise RedisProblem(f"{self.name} did not answer in time just now")
        try:
            async with asyncio.timeout(2 * self._timeout):
                return await work
        except (TimeoutError, RedisTimeout) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise RedisProblem(f"{self.name} did not answer in time") from error
        except (OSError, RedisError) as error:
            raise RedisProblem(f"{self.name}: {error or type(error).__name__}") from error

    async def _call(self, calls: Sequence[Call]) -> list[Any]:
        # A cluster has the keys of a call on different servers, unless the script needs them together.
        arrange = _join if self._line else _split
        arranged = arrange([call for call in calls if call.script.is_joinable])
        others = [call for call in calls if not call.script.is_joinable]
        answers = await self._run([*arranged, *others])
        of_keys = iter([number for some in answers[: len(arranged)] for number in some])
        alone = iter(answers[len(arranged) :])
        return [
            [next(of_keys) for _ in call.keys] if call.script.is_joinable else next(alone) for call in calls
        ]

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls as they are. Raises the first error."""
        answers = await self._send([call.command("EVALSHA", call.script.digest) for call in calls])
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # The server has been started anew, or never seen the script.
            again = [calls[index].command("EVAL", calls[index].script.text) for index in unknown]
            for index, answer in zip(unknown, await self._send(again), strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        if self._line:
            return await self._line.exchange(commands)
        found = [self._client.execute_command(*command) for command in commands]
        return await asyncio.gather(*found, return_exceptions=True)

    async def close(self) -> None:
        await self._client.aclose()


def _join(calls: Sequence[Call]) -> list[Call]:
    if not calls:
        return []
    keys = [key for call in calls for key in call.keys]
    return [Call(calls[0].script, keys, [argument for call in calls for argument in call.arguments])]


def _split(calls: Sequence[Call]) -> list[Call]:
    found = []
    for call in calls:
        each = len(call.arguments) // len(call.keys)
        for index, key in enumerate(call.keys):
            found.append(Call(call.script, [key], call.arguments[index * each : (index + 1) * each]))
    return found

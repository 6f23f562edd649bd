"""Connections to PostgreSQL that never wait for ever."""

from __future__ import annotations

import ssl
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from gateway.settings import Settings

Answer = TypeVar("Answer")

HELD_TRANSACTION_SECONDS = 180
"""After so long without a word the server ends a transaction: a node that was stopped, or cut off, must not
keep the lock from the others. Long enough for the rules to look at a large import meanwhile."""


class ServerSilent(psycopg.OperationalError):
    """The server did not say or take anything for too long."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server is silent for `patience` seconds within a step."""

    patience = 5.0

    def wait(
        self, gen: Generator[Any, Any, Answer], interval: float = 0.1, timeout: float | None = None
    ) -> Answer:
        """Do a step of psycopg's."""
        return super().wait(self._bounded(gen), interval, timeout)

    def _bounded(self, steps: Generator[Any, Any, Answer]) -> Generator[Any, Any, Answer]:
        # psycopg asks in short intervals, with 0 when there is nothing to read or room to write.
        try:
            wanted = next(steps)
            last_sign = time.monotonic()
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready:
                    last_sign = now
                elif now - last_sign > self.patience:
                    self.pgconn.finish()
                    raise ServerSilent(f"no answer within {self.patience:g} s")
                wanted = steps.send(ready)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


@dataclass(frozen=True)
class Address:
    """Which database, and how it is reached."""

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    timeout: float = 5.0
    """seconds that a step may take: to connect, to get a part of an answer"""
    tls: bool = False
    verify: bool = False
    """certificate and host name"""
    authorities: str = "system"
    """whose certificates are trusted: a PEM file, or those of the machine"""

    @classmethod
    def from_settings(cls, settings: Settings) -> Address:
        """What the settings PG_* say."""
        return cls(
            host=settings.pg_host,
            port=settings.pg_port,
            user=settings.pg_user,
            database=settings.pg_database,
            password=settings.pg_password,
            schema=settings.pg_schema,
            timeout=settings.pg_timeout,
            tls=settings.pg_ssl,
            verify=settings.pg_ssl_verify,
            authorities=settings.pg_ssl_ca_file[0],
        )

    def __str__(self) -> str:
        schema = f", schema '{self.schema}'" if self.schema else ""
        place = f"{self.host}:{self.port}"
        return f"the PostgreSQL database '{self.database}' at {place} (user '{self.user}'{schema})"

    def connect(self) -> BoundedConnection:
        """A new connection, its session set up. Raises psycopg.Error."""
        connection = BoundedConnection.connect(autocommit=True, prepare_threshold=None, **self._options())
        connection.patience = self.timeout
        try:
            connection.execute(self._session())
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    async def connect_async(self) -> psycopg.AsyncConnection[Any]:
        """The same for asyncio, in autocommit mode. Whoever uses it limits the time of each step."""
        connection = await psycopg.AsyncConnection.connect(
            autocommit=True, prepare_threshold=None, **self._options()
        )
        try:
            await connection.execute(self._session())
        except BaseException:
            await connection.close()
            raise
        return connection

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "dbname": self.database,
            "password": self.password or "",
            "connect_timeout": max(1, round(self.timeout)),
            "application_name": "sluicegate",
            "client_encoding": "utf8",
            "gssencmode": "disable",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": round(self.timeout * 1000),
            "sslmode": "disable",
        }
        if self.tls:
            options["sslmode"] = "verify-full" if self.verify else "require"
            # Without a name libpq would look for one in the home directory.
            options["sslrootcert"] = self._authorities() if self.verify else "/dev/null/none"
            options["sslcert"] = options["sslkey"] = "/dev/null/none"
        return options

    def _authorities(self) -> str:
        if self.authorities != "system":
            return self.authorities
        return ssl.get_default_verify_paths().cafile or "system"

    def _session(self) -> sql.Composed:
        milliseconds = round(self.timeout * 1000)
        settings: dict[str, Any] = {
            # A bit before the connection is given up, so that a reason is told and the connection stays.
            "lock_timeout": max(50, milliseconds * 8 // 10),
            "statement_timeout": max(60, milliseconds * 9 // 10),
            "idle_in_transaction_session_timeout": HELD_TRANSACTION_SECONDS * 1000,
        }
        if self.schema:
            settings["search_path"] = self.schema
        texts = []
        for name, value in settings.items():
            shown = sql.Identifier(value) if name == "search_path" else sql.Literal(value)
            texts.append(sql.SQL("SET {} = {}").format(sql.Identifier(name), shown))
        return sql.SQL("; ").join(texts)

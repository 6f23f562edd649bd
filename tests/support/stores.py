"""Gateways on each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.databases import fresh_database, settings_of
from tests.support.gateway import Gateway

SQL_STORES = ("sqlite", "postgres")
WRITABLE_STORES = (*SQL_STORES, "file")
"""those with a writable Admin API; "file" is a declarative file that is written back"""
STORES = (*WRITABLE_STORES, "off")


@contextmanager
def gateway_on(store: str, **settings: object) -> Iterator[Gateway]:
    """A running gateway with nothing configured. `settings` as those of Gateway."""
    if store == "postgres":
        with fresh_database() as address:
            gateway = Gateway(**{**settings_of(address), **settings})  # type: ignore[arg-type]
            bootstrap = gateway.run_command("migrations", "bootstrap")
            assert bootstrap.returncode == 0, bootstrap.stderr
            with gateway:
                yield gateway
        return
    document = None
    if store == "file":
        document = {"_format_version": "3.0"}
        settings = {"declarative_writable": "on", **settings}
    database = "sqlite" if store == "sqlite" else "off"
    with Gateway(document, **{"database": database, **settings}) as gateway:  # type: ignore[arg-type]
        yield gateway

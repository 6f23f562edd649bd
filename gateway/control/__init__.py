"""The control process: Admin API, status and metrics, publication of snapshots, DNS.

`process` is its life (start, signals, reload, stop), `plane` what the Admin API sees of it. `transactions`
runs the store, `publication` says what workers get when, `publisher` brings it to them, `servers` are the
listeners.
"""

import importlib

from .process import CANNOT_START, run_control

__all__ = ["CANNOT_START", "load_early", "run_control"]

# Modules that libraries import only when they are first needed.
LATE_MODULES = (
    "anyio._backends._asyncio",
    "concurrent.futures.thread",
    "dns._asyncio_backend",
    *(f"dns.rdtypes.{name}" for name in ("IN.A", "IN.AAAA", "IN.SRV", "ANY.CNAME", "ANY.SOA")),
    *(f"encodings.{name}" for name in ("ascii", "idna", "latin_1", "unicode_escape", "utf_16", "utf_8_sig")),
)

_SQL_MODULES = (
    "alembic.ddl.sqlite",
    "alembic.migration",
    "alembic.operations",
    "alembic.script",
    "gateway.store.sql.sqlite",
    "sqlalchemy.dialects.sqlite.pysqlite",
)
LATE_MODULES_OF_DATABASES = {
    "sqlite": _SQL_MODULES,
    # SQLite holds what a node knows of a shared database.
    "postgres": (*_SQL_MODULES, "gateway.store.sql.postgres", "sqlalchemy.dialects.postgresql.psycopg"),
}


def load_early(database: str) -> None:
    """Import what would be imported later, when the process may not be allowed to read it any more;
    `database` as the setting DATABASE."""
    for name in (*LATE_MODULES, *LATE_MODULES_OF_DATABASES.get(database, ())):
        importlib.import_module(name)

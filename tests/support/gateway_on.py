"""A gateway on a database of its own, for tests that hold on every database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.databases import fresh_database, settings_of
from tests.support.gateway import Gateway

DATABASES = ("sqlite", "postgres")


@contextmanager
def gateway_on(database: str, **settings: object) -> Iterator[Gateway]:
    """A running gateway with an empty database of this kind."""
    with ExitStack() as stack:
        own: dict[str, object] = {"database": database}
        if database == "postgres":
            own = settings_of(stack.enter_context(fresh_database()))
        gateway = Gateway(**own, **settings)
        if database == "postgres":  # SQLite is made ready by the start itself
            done = gateway.run_command("migrations", "bootstrap")
            assert done.returncode == 0, done.stderr
        yield stack.enter_context(gateway)

"""A gateway on a database of its own, for tests that hold on every database."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.databases import fresh_database, settings_of
from tests.support.gateway import Gateway

DATABASES = ("sqlite", "postgres")
STORES = (*DATABASES, "file")
"""All that can be written: a declarative file, too."""


@contextmanager
def gateway_on(database: str, **settings: object) -> Iterator[Gateway]:
    """A running gateway with an empty database of this kind; "file": a declarative file that is written."""
    with ExitStack() as stack:
        own: dict[str, object] = {"database": database}
        if database == "file":
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-test-file-"))
            file = Path(directory) / "kong.yml"
            file.write_text('_format_version: "3.0"\n')
            own = {"database": "off", "declarative_config": file, "declarative_writable": "on"}
        if database == "postgres":
            own = settings_of(stack.enter_context(fresh_database()))
        gateway = Gateway(**own, **settings)
        if database == "postgres":  # SQLite is made ready by the start itself
            done = gateway.run_command("migrations", "bootstrap")
            assert done.returncode == 0, done.stderr
        yield stack.enter_context(gateway)

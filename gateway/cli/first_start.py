"""What the quick start serves: the example, put into the database at the first start and then left alone."""

from gateway.cli.config_files import merge, opened_store
from gateway.cli.lifecycle import prepared_directory
from gateway.cli.options import fail, warn
from gateway.settings import Settings
from gateway.store import parse_declarative

EXAMPLE_SERVICE = "demo"
"""of the example; the one with the demo backend"""


def fill_database(settings: Settings, example: str, backend_port: int, fresh: bool) -> bool:
    """Put the example (a declarative text) into the database, if this is the first start with it. Whether
    that was done.

    `fresh`: empty the database before; `backend_port`: of the demo backend, for which the example is.
    """
    database = settings.sqlite_path
    if fresh and settings.database != "sqlite":
        fail("--fresh empties an SQLite database only", f"DATABASE is {settings.database}.")
    prepared_directory(settings)
    if fresh:
        try:
            for suffix in ("", "-wal", "-shm"):
                database.with_name(database.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            fail(f"cannot remove {database}: {error.strerror}")
    is_known = settings.database == "sqlite" and database.exists()
    with opened_store(settings) as store:
        if not is_known and not len(store.configuration):
            merge(store, parse_declarative(example, source="the example"))
            return True
        demo = store.configuration.find("services", EXAMPLE_SERVICE)
    port = getattr(demo, "port", backend_port)
    if port != backend_port:
        warn(
            [
                f"the service {EXAMPLE_SERVICE} leads to port {port}, as it was made, and the demo backend "
                f"listens on {backend_port}: use --backend-port {port}, or start over with --fresh"
            ]
        )
    return False

"""The control process: Admin API, status and metrics, publication of snapshots, DNS.

`process` is its life (start, signals, reload, stop), `plane` its state, `publisher` the way of a
configuration to the workers, `servers` the listeners.
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


def load_early() -> None:
    """Import what would be imported later, when the process may not be allowed to read it any more."""
    for name in LATE_MODULES:
        importlib.import_module(name)

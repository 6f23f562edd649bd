"""The control process: Admin API, status and metrics, publication of snapshots, DNS.

`process` is its life (start, signals, reload, stop), `plane` its state, `publisher` the way of a
configuration to the workers, `servers` the listeners.
"""

from .process import CANNOT_START, run_control

__all__ = ["CANNOT_START", "run_control"]

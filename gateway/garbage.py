"""Python's search for garbage that refers to itself, kept out of the way of large steps."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_enabled = True
"""whether it was on before the first pause"""


@contextmanager
def collection_paused() -> Iterator[None]:
    """Do not search while a configuration is read or compiled.

    The search begins whenever some hundred more objects were made than freed. A configuration of 10,000
    routes is some hundred thousand objects, none of them garbage: they would be looked through dozens of
    times, which takes as long as the work itself. What is freed without the search (nearly everything)
    still is. May be nested, and used by several threads at a time.
    """
    global _enabled, _pauses
    with _lock:
        _pauses += 1
        if _pauses == 1:
            _enabled = gc.isenabled()
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if _pauses == 0 and _enabled:
                gc.enable()


def set_aside() -> None:
    """Leave all objects that there are now out of later searches, after one search through the new ones.

    A live configuration stays for long; looking through it takes tens of milliseconds, in which this process
    does nothing else. An object that was set aside is freed as always when nobody refers to it any more.
    """
    gc.collect()
    gc.freeze()

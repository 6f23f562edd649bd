"""Scenarios of caches: making sure that what is measured are hits, and counting what reaches the backend."""

from __future__ import annotations

import http.client
import re

from bench.backend import Backend
from bench.load import Load
from bench.processes import BenchError
from bench.web import call

ATTEMPTS = 3
"""the first answer fills the cache, the second must come from it"""
STATUS = "X-Cache-Status"


def ensure_hits(name: str, port: int, load: Load) -> None:
    """Fill a proxy's cache with what the load asks for; BenchError when it does not answer from there."""
    said = ""
    for _ in range(ATTEMPTS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(load.method, load.path, headers=dict(load.headers))
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{name}: no answer before the load: {error}") from None
        finally:
            connection.close()
        said = f"{answer.status}, {STATUS}: {answer.getheader(STATUS)}"
        if answer.status == 200 and (answer.getheader(STATUS) or "").lower() == "hit":
            return
    raise BenchError(f"{name}: answers do not come from its cache ({said})")


def requests_at(backend: Backend) -> int | None:
    """Requests the backend has had, this one too; None when it does not count."""
    if backend.kind != "nginx":
        return None
    return parse_requests(call(backend.port, "GET", "/requests")[1].decode(errors="replace"))


def parse_requests(text: str) -> int | None:
    """The third of the numbers nginx' stub_status prints below "server accepts handled requests".

    Asking is a request itself: of two numbers the later one is too large by exactly one.
    """
    found = re.search(r"^ *\d+ +\d+ +(\d+) *$", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def requests_between(before: int | None, after: int | None) -> int | None:
    """What reached the backend between two looks at its counter."""
    return None if before is None or after is None else after - before - 1

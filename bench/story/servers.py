"""What runs in the story: two backends, and the gateway in front of them."""

from __future__ import annotations

import http.client
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.backend import fill, user_line
from bench.hits import STATUS, parse_requests
from bench.processes import BenchError, Child, Fleet, free_ports, process_tree, tree_cpu_seconds, wait_until
from bench.proxies import Gateway, Place
from bench.story import configuration
from bench.story.traffic import HOST, Request
from bench.web import call

BACKENDS = 2
CACHE_BYTES = 256 * 1024 * 1024
"""so much that nothing has to make room: the hit rate follows from the time to live alone"""
PADDING_BYTES = 400
"""of each answer, so that it has about 0.5 KiB"""


@dataclass(frozen=True)
class StoryBackend:
    """A running backend: an nginx with one worker."""

    port: int
    child: Child

    def requests(self) -> int:
        """Requests so far, this one too. BenchError when it does not answer."""
        found = parse_requests(call(self.port, "GET", "/requests")[1].decode(errors="replace"))
        if found is None:
            raise BenchError(f"a backend does not answer:\n{self.child.last_output()}")
        return found


def start_backends(fleet: Fleet, directory: Path, count: int = BACKENDS) -> list[StoryBackend]:
    """Start them on free ports and wait until they answer. BenchError without nginx."""
    if shutil.which("nginx") is None:
        raise BenchError("nginx is not installed; it is the backend (apt-get install nginx-core)")
    found = []
    for number, port in enumerate(free_ports(count)):
        home = directory / f"backend-{number}"
        home.mkdir()
        file = home / "nginx.conf"
        text = fill(
            "story-backend.conf",
            port=port,
            user=user_line(),
            padding="x" * PADDING_BYTES,
            health_path=configuration.HEALTH_PATH,
        )
        file.write_text(text)
        command = ["nginx", "-p", f"{home}/", "-c", str(file), "-e", str(home / "error.log")]
        child = fleet.start(f"backend-{number}", command, directory=home)
        backend = StoryBackend(port, child)
        wait_until(lambda port=port: call(port, "GET", "/health")[0] == 200, child)  # type: ignore[misc]
        found.append(backend)
    return found


class StoryGateway(Gateway):
    """The gateway with everything on."""

    def __init__(self, place: Place, backends: list[StoryBackend], cache_seconds: int) -> None:
        self._cache_seconds = cache_seconds
        self._ports = [backend.port for backend in backends]
        super().__init__(place)

    def document(self) -> dict[str, Any]:
        return configuration.document(self._ports, self._cache_seconds)

    def environ(self) -> dict[str, str]:
        return {**super().environ(), "GATEWAY_MEM_CACHE_SIZE": f"{CACHE_BYTES >> 20}m"}

    def cpu_seconds(self) -> tuple[float, float]:
        """Processor time so far of the workers, and of master and control process."""
        workers = set(self.worker_pids())
        tree = process_tree(self.child.pid)
        of_workers = sum(stat.own_cpu_seconds for stat in tree if stat.pid in workers)
        return of_workers, tree_cpu_seconds(self.child.pid) - of_workers

    def cache_hits(self) -> int | None:
        """Answers from the cache so far, of all workers; None when the metrics do not tell."""
        return parse_hits(call(self.status_port, "GET", "/metrics")[1].decode(errors="replace"))


def parse_hits(metrics: str) -> int | None:
    """The sum of the gateway's counters of hits in its metrics; None when there is none."""
    found = re.findall(r"^sluicegate_cache_hits_total(?:\{[^}]*\})? (\S+)$", metrics, re.MULTILINE)
    return round(sum(float(value) for value in found)) if found else None


def examine(port: int, requests: Iterable[Request]) -> dict[str, int]:
    """Send requests one by one and look at each answer; how often which X-Cache-Status came.

    BenchError when an answer is not that of its own request, or was not changed as configured.
    """
    statuses: Counter[str] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        for request in requests:
            headers = {"Host": HOST, **request.headers()}
            connection.request(request.service.method, request.path, request.body or None, headers)
            answer = connection.getresponse()
            _check(request, answer, answer.read())
            statuses[answer.getheader(STATUS) or "none"] += 1
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"the gateway does not answer: {error}") from None
    finally:
        connection.close()
    return dict(sorted(statuses.items()))


def _check(request: Request, answer: http.client.HTTPResponse, body: bytes) -> None:
    what = f"{request.service.method} {request.path}"
    if answer.status != 200:
        raise BenchError(f"{what} was answered with {answer.status}: {body[:200]!r}")
    found = json.loads(body)
    if found["asked"] != request.path:
        raise BenchError(f"{what} got the answer for {found['asked']}")
    if found["debug"] or found["by"] != "story":
        raise BenchError(f"{what}: the request's headers were not transformed")
    if answer.getheader("X-Served-By") != "story" or answer.getheader("X-Internal") is not None:
        raise BenchError(f"{what}: the answer's headers were not transformed")
    if answer.getheader("X-RateLimit-Remaining-Minute") is None:
        raise BenchError(f"{what}: its rate is not limited")

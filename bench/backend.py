"""The server behind the proxies. It must cost as little as possible: it shares a core with wrk.

nginx serving from memory and from open files is the cheapest server at hand. Without nginx a small Granian
application stands in; it then limits the throughput, which the report says in its notes.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from bench.processes import Child, Fleet, free_ports, wait_until
from bench.web import call

# path -> length of the answer's body
BODY_SIZES = {"/small": 205, "/1k": 1024, "/4k": 4096, "/16k": 16384, "/64k": 65536, "/1m": 1048576}
POST_PATH = "/post"  # takes a whole body, then answers with the small body
MOST_DESCRIPTORS = 65536
OTHER_DESCRIPTORS = 256  # listeners, logs, event queues
TEMPLATES = Path(__file__).with_name("peers")


class Placeholders(Template):
    """`@{name}` stands for a value: nginx needs the dollar sign itself."""

    delimiter = "@"


def fill(template: str, **values: object) -> str:
    """A configuration from `bench/peers/`; KeyError when a value is missing.

    `@{descriptors}` and `@{connections}` are as large as the machine allows: a proxied connection takes two
    descriptors, and HAProxy does not start when it cannot have all it asks for.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    descriptors = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    values = {"descriptors": descriptors, "connections": (descriptors - OTHER_DESCRIPTORS) // 2, **values}
    return Placeholders((TEMPLATES / template).read_text()).substitute(values)


def small_body() -> str:
    """A JSON body of 0.2 KiB."""
    start, end = '{"message":"', '"}'
    return start + "a" * (BODY_SIZES["/small"] - len(start) - len(end)) + end


def user_line() -> str:
    """nginx started by root would give up its rights and then could not read the bench's directory."""
    return "user root;" if os.geteuid() == 0 else ""


@dataclass(frozen=True)
class Backend:
    """A running backend."""

    kind: str  # "nginx" or "granian"
    port: int
    child: Child


def start_backend(fleet: Fleet, directory: Path, cpus: list[int]) -> Backend:
    """Start it in a directory of its own and wait until it answers."""
    directory.mkdir()
    port = free_ports(1)[0]
    bodies = directory / "bodies"
    bodies.mkdir()
    for path, size in BODY_SIZES.items():
        (bodies / path.lstrip("/")).write_text(small_body() if path == "/small" else "b" * size)
    if shutil.which("nginx"):
        kind = "nginx"
        configuration = directory / "nginx.conf"
        configuration.write_text(
            fill("backend-nginx.conf", port=port, user=user_line(), small_body=small_body(), bodies=bodies)
        )
        command = [
            "nginx",
            "-p",
            f"{directory}/",
            "-c",
            str(configuration),
            "-e",
            str(directory / "error.log"),
        ]
    else:
        kind = "granian"
        command = [sys.executable, "-m", "granian", "--interface", "rsgi", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--workers", "1", "--no-ws", "--log-level", "warning"]
        command += ["bench.backend_app:app"]
    environ = {"BENCH_BODIES": str(bodies), "PYTHONPATH": str(TEMPLATES.parent.parent)}
    child = fleet.start("backend", command, directory=directory, cpus=cpus, environ=environ)
    wait_until(lambda: call(port, "GET", "/small")[0] == 200, child)
    return Backend(kind, port, child)

"""`bench admin`: how fast the Admin API writes, how soon a write is live, and what that costs requests.

A gateway with a database is filled with routes and consumers by `gateway config db_import`, then written to
over its Admin API while wrk, or nothing, uses its proxy port.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import declarative, machine
from bench.admin_compile import measure_compiles
from bench.admin_report import (
    FORMAT,
    AdminReport,
    Case,
    Live,
    Memory,
    UnderLoad,
    Writes,
    spread,
)
from bench.backend import start_backend
from bench.load import Load, drive, require_wrk
from bench.processes import BenchError, Child, Fleet, process_tree, read_memory
from bench.proxies import Gateway, Place
from bench.report import LoadResult, Pinning

IMPORT_SECONDS = 600
CONNECTIONS_PER_WORKER = 8
"""to the proxy port, so that some lead to each worker"""
LIVE_SECONDS = 30.0
"""a change that is not served after so long never will be"""
LOAD_CONNECTIONS = 2
PARALLEL_WRITERS = 16


@dataclass(frozen=True)
class AdminOptions:
    """What the command line asked for."""

    sizes: list[tuple[int, int]]  # routes, consumers
    rounds: int
    seconds: float
    workers: int
    write_every_ms: int
    pinning: Pinning
    quick: bool
    command_line: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class DatabaseGateway(Gateway):
    """The gateway on SQLite, filled before its start."""

    def __init__(self, place: Place, content: dict[str, Any]) -> None:
        self._content = content
        super().__init__(place)

    def document(self) -> dict[str, Any]:
        return self._content

    def environ(self) -> dict[str, str]:
        found = super().environ()
        del found["GATEWAY_DECLARATIVE_CONFIG"]
        return {**found, "GATEWAY_DATABASE": "sqlite"}

    def prepare(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "KONG_"))}
        command = [
            sys.executable,
            "-m",
            "gateway",
            "config",
            "db_import",
            str(self.file),
            "-p",
            str(self.prefix),
        ]
        done = subprocess.run(
            command,
            env={**environ, **self.environ()},
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"the database could not be filled:\n{done.stdout}{done.stderr}")

    def control_pid(self) -> int:
        """The control process."""
        return int(self._state()["control_pid"])


def content(backend_port: int, routes: int, consumers: int) -> dict[str, Any]:
    """Routes to the backend, consumers with a key each."""
    return {
        **declarative.many_routes(backend_port, routes),
        "consumers": [
            {
                "username": f"consumer-{number}",
                "custom_id": f"customer-{number}",
                "keyauth_credentials": [{"key": f"key-of-consumer-{number}-{number * 7919:08x}"}],
            }
            for number in range(consumers)
        ],
    }


class Client:
    """A connection to the Admin API."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(self, method: str, path: str, body: dict[str, Any]) -> int:
        """The status of the answer."""
        self._connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def write_route(client: Client, number: int, routes: int) -> int:
    """Change a tag: everything is compiled anew, and means the same."""
    return client.send("PATCH", f"/routes/route-{number % routes}", {"tags": [f"revision-{number}"]})


def write_credential(client: Client, number: int, routes: int) -> int:
    """Give a consumer another key."""
    return client.send(
        "PUT", f"/consumers/writer/key-auth/{number % 50:08x}-0000-4000-8000-{0:012x}", {"key": f"k{number}"}
    )


Write = Callable[[Client, int, int], int]


def measure_writes(port: int, write: Write, name: Any, routes: int, writers: int, seconds: float) -> Writes:
    """Write with so many clients for `seconds`."""
    took: list[float] = []
    failed: list[int] = []
    until = time.monotonic() + seconds
    numbers = itertools.count()

    def run() -> None:
        client = Client(port)
        while time.monotonic() < until:
            started = time.perf_counter()
            status = write(client, next(numbers), routes)
            took.append((time.perf_counter() - started) * 1000)
            if status >= 300:
                failed.append(status)

    started = time.monotonic()
    _together([run] * writers)
    elapsed = time.monotonic() - started
    return Writes(
        what=name,
        writers=writers,
        per_second=round(len(took) / elapsed, 1),
        failed=len(failed),
        answer_ms=spread(took),
    )


def _together(runs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Probe:
    """Connections to the proxy port that lead to all workers."""

    def __init__(self, port: int, workers: int) -> None:
        self._connections = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            for _ in range(CONNECTIONS_PER_WORKER * workers)
        ]

    def wait(self, path: str) -> None:
        """Until a route for this path is served on every connection. BenchError when it never is."""
        deadline = time.monotonic() + LIVE_SECONDS
        for connection in self._connections:
            while self._status(connection, path) == 404:
                if time.monotonic() > deadline:
                    raise BenchError(f"a change was not served within {LIVE_SECONDS:g} s")

    @staticmethod
    def _status(connection: http.client.HTTPConnection, path: str) -> int:
        connection.request("GET", path, headers={"Host": declarative.HOST})
        answer = connection.getresponse()
        answer.read()
        return answer.status


def measure_live(gateway: DatabaseGateway, routes: int, workers: int, count: int, stream: bool) -> Live:
    """Change a route `count` times and see when every worker serves it."""
    probe, client = Probe(gateway.port, workers), Client(gateway.admin_port)
    ended = threading.Event()
    took: list[float] = []

    def write_on() -> None:
        writer = Client(gateway.admin_port)
        for number in itertools.count():
            if ended.is_set():
                return
            write_route(writer, number, routes)
            write_credential(writer, number, routes)

    def change() -> None:
        try:
            for number in range(count):
                path = f"/live-{stream}-{number}"
                status = client.send("PATCH", "/routes/live", {"paths": [path]})
                started = time.perf_counter()
                if status != 200:
                    raise BenchError(f"a write was answered with {status}")
                probe.wait(path)
                took.append((time.perf_counter() - started) * 1000)
        finally:
            ended.set()

    _together([change, write_on] if stream else [change])
    if len(took) < count:
        raise BenchError("a change of a route was not served")
    return Live(during="stream" if stream else "quiet", live_ms=spread(took))


def measure_memory(gateway: DatabaseGateway) -> Memory:
    """Memory of the gateway's processes now."""
    control = read_memory(gateway.control_pid())
    workers = [found for found in map(read_memory, gateway.worker_pids()) if found is not None]
    if control is None or not workers:
        raise BenchError("the gateway's processes cannot be looked at")
    return Memory(
        control_rss=control.rss,
        control_pss=control.pss,
        worker_rss=sum(one.rss for one in workers) // len(workers),
        worker_pss=sum(one.pss for one in workers) // len(workers),
    )


class AdminBench:
    """One `bench admin`; `run()` returns the report."""

    def __init__(self, options: AdminOptions, progress: Callable[[str], None]) -> None:
        self.options = options
        self.progress = progress

    def run(self) -> AdminReport:
        """Measure all sizes. Whatever happens, no process is left."""
        require_wrk()
        options = self.options
        started_at = datetime.now(UTC)
        described = machine.describe_machine()
        affinity = os.sched_getaffinity(0)
        try:
            if options.pinning.load:
                os.sched_setaffinity(0, options.pinning.load)
            cases = [self._case(routes, consumers) for routes, consumers in options.sizes]
        finally:
            os.sched_setaffinity(0, affinity)
        return AdminReport(
            format=FORMAT,
            started_at=started_at.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command_line=options.command_line,
            machine=described,
            versions={**machine.library_versions(), "gateway": Gateway.version()},
            git=machine.describe_git(),
            database="sqlite",
            workers=options.workers,
            seconds=options.seconds,
            rounds=options.rounds,
            write_every_ms=options.write_every_ms,
            pinning=options.pinning,
            quick=options.quick,
            notes=options.notes,
            cases=cases,
        )

    def _case(self, routes: int, consumers: int) -> Case:
        options = self.options
        name = f"{routes} routes, {consumers} consumers"
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            fleet = stack.enter_context(Fleet())
            backend = start_backend(fleet, directory / "backend", options.pinning.backend)
            self.progress(f"{name}: filling the database")
            document = content(backend.port, routes, consumers)
            gateway = self._start(fleet, directory, backend.port, document)
            memory = measure_memory(gateway)
            self._prepare(gateway)
            writes = []
            for what, write, writers in (
                ("route", write_route, 1),
                ("route", write_route, PARALLEL_WRITERS),
                ("credential", write_credential, 1),
                ("credential", write_credential, PARALLEL_WRITERS),
            ):
                self.progress(f"{name}: {what} writes, {writers} at a time")
                writes.append(
                    measure_writes(gateway.admin_port, write, what, routes, writers, options.seconds)
                )
            count = 3 if options.quick else 20
            live = []
            for stream in (False, True):
                self.progress(
                    f"{name}: until a write is live{' during a stream of writes' if stream else ''}"
                )
                live.append(measure_live(gateway, routes, options.workers, count, stream))
            under_load = self._under_load(name, gateway, fleet, directory, routes)
            if not process_tree(gateway.child.pid):
                raise BenchError(f"the gateway ended:\n{gateway.child.last_output()}")
        self.progress(f"{name}: compiling snapshots")
        return Case(
            routes=routes,
            consumers=consumers,
            writes=writes,
            live=live,
            compiles=measure_compiles(document),
            memory=memory,
            under_load=under_load,
            p99_rise_ms=p99_rise(under_load),
        )

    def _start(
        self, fleet: Fleet, directory: Path, backend_port: int, document: dict[str, Any]
    ) -> DatabaseGateway:
        place = Place(
            fleet=fleet,
            directory=directory / "gateway",
            backend_port=backend_port,
            workers=self.options.workers,
            cpus=self.options.pinning.proxy,
            control_cpus=self.options.pinning.control,
            routes=0,
        )
        return DatabaseGateway(place, document)

    def _prepare(self, gateway: DatabaseGateway) -> None:
        """What the writes refer to."""
        client = Client(gateway.admin_port)
        for method, path, body in (
            ("PUT", "/consumers/writer", {}),
            ("PUT", "/routes/live", {"paths": ["/live-not-yet"], "service": {"name": "service-0"}}),
        ):
            if (status := client.send(method, path, body)) >= 300:
                raise BenchError(f"{method} {path} was answered with {status}")

    def _under_load(
        self, name: str, gateway: DatabaseGateway, fleet: Fleet, directory: Path, routes: int
    ) -> list[UnderLoad]:
        options = self.options
        targets = directory / "targets"
        targets.write_text("\n".join(declarative.targets(routes)) + "\n")
        found = []
        for number in range(1, options.rounds + 1):
            for writes in (False, True) if number % 2 else (True, False):
                self.progress(f"{name}: load {'with' if writes else 'without'} writes, round {number}")
                done = [0]

                def write(wrk: Child, done: list[int] = done) -> None:
                    client = Client(gateway.admin_port)
                    while wrk.running():
                        time.sleep(options.write_every_ms / 1000)
                        made = write_route if done[0] % 2 else write_credential
                        made(client, done[0], routes)
                        done[0] += 1

                load = self._drive(gateway, fleet, directory, targets, write if writes else None)
                found.append(UnderLoad(round=number, writes=writes, writes_done=done[0], load=load))
        return found

    def _drive(
        self,
        gateway: DatabaseGateway,
        fleet: Fleet,
        directory: Path,
        targets: Path,
        meanwhile: Callable[[Child], None] | None,
    ) -> LoadResult:
        options = self.options
        return drive(
            fleet,
            Load(connections=LOAD_CONNECTIONS),
            port=gateway.port,
            seconds=options.seconds,
            threads=1,
            cpus=options.pinning.load,
            directory=directory,
            targets=targets,
            meanwhile=meanwhile,
        )


def p99_rise(runs: list[UnderLoad]) -> float | None:
    """How much higher p99 is with writes: the median over the rounds, each by itself."""
    by_round: dict[int, dict[bool, float]] = {}
    for run in runs:
        by_round.setdefault(run.round, {})[run.writes] = run.load.latency_ms.p99
    rises = [found[True] - found[False] for found in by_round.values() if len(found) == 2]
    return round(statistics.median(rises), 3) if rises else None

"""Runs scenarios: starts what they need, drives the lanes in turn round by round, measures, ends all."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import declarative, machine
from bench.backend import Backend, start_backend
from bench.budgets import judge
from bench.hits import ensure_hits, requests_at, requests_between
from bench.idle import IdleConnections
from bench.load import Load, drive, require_wrk
from bench.plugin_setups import keyed_targets
from bench.popular import popular_targets
from bench.processes import (
    BenchError,
    Child,
    Fleet,
    cpu_seconds,
    machine_cpu_seconds,
    read_memory,
    tree_cpu_seconds,
)
from bench.proxies import PROXIES, Place, Proxy
from bench.report import FORMAT, Lane, LoadResult, Pinning, Report, Run, Scenario, Settings
from bench.scenarios import RELOAD_EVERY_MS, LaneSpec, ScenarioSpec
from bench.spread import summarize
from bench.summaries import compare_lanes, summarize_runs

TargetFiles = dict[tuple[int, int, int] | None, Path]
"""what requests are spread over, by LaneSpec.targets"""

WARM_UP_SECONDS = 1
# Below this share of CPU time the proxy waited for wrk or the backend; its cost per request still holds.
BUSY_SHARE = 0.9
# From this share of the machine's CPU time on, what others use is worth a warning.
FOREIGN_SHARE = 0.03


@dataclass
class Options:
    """What the command line asked for."""

    scenarios: list[ScenarioSpec]
    proxies: list[str]  # in the order they run; the gateway first
    rounds: int
    seconds: float
    workers: int
    pinning: Pinning
    load_threads: int
    quick: bool
    reload_every_ms: int = RELOAD_EVERY_MS
    keep_rounds: bool = False  # of an interrupted scenario the rounds that were finished are kept
    command_line: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def warm_up_seconds(self) -> int:
        return 0 if self.quick else WARM_UP_SECONDS


# Told before each run: scenario, round (0: starting up), lane.
Progress = Callable[[ScenarioSpec, int, str], None]


def runs_planned(options: Options) -> int:
    """How often `Progress` will be called for a run (round > 0)."""
    return sum(len(scenario.lanes(options.proxies)) * options.rounds for scenario in options.scenarios)


@dataclass
class Instance:
    """A running proxy of one scenario, or the backend when it is loaded directly."""

    port: int
    proxy: Proxy | None
    backend: Backend
    start: dict[str, float] = field(default_factory=dict)
    pss_without_idle: float | None = None
    idle: IdleConnections | None = None
    revision: int = 0

    def worker_memory(self) -> tuple[float | None, float | None]:
        """Mean RSS and PSS of the workers in bytes."""
        pids = self.proxy.worker_pids() if self.proxy else []
        found = [memory for memory in map(read_memory, pids) if memory is not None]
        if not found:
            return None, None
        return sum(m.rss for m in found) / len(found), sum(m.pss for m in found) / len(found)

    def total_pss(self) -> float | None:
        """PSS of all workers together."""
        pss = self.worker_memory()[1]
        return None if pss is None or self.proxy is None else pss * len(self.proxy.worker_pids())


class Runner:
    """One bench run. `run()` returns the report; after an interruption `report()` has what was finished."""

    def __init__(self, options: Options, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.started_at = datetime.now(UTC)
        self.machine = machine.describe_machine()
        self.finished: list[Scenario] = []
        self.notes = list(options.notes)
        self.backend_kind = ""

    def run(self) -> Report:
        """Run all scenarios. Whatever happens, no process is left when it returns or raises."""
        require_wrk()
        affinity = os.sched_getaffinity(0)
        try:
            if self.options.pinning.load:  # the bench's own calls and idle connections are load too
                os.sched_setaffinity(0, self.options.pinning.load)
            for scenario in self.options.scenarios:
                lanes = scenario.lanes(self.options.proxies)
                if lanes:
                    self.finished.append(self._run_scenario(scenario, lanes))
                else:
                    self.notes.append(f"{scenario.name}: left out, none of its proxies is there")
        finally:
            os.sched_setaffinity(0, affinity)
        return self.report(complete=True)

    def report(self, *, complete: bool) -> Report:
        options = self.options
        return Report(
            format=FORMAT,
            started_at=self.started_at.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=complete,
            command_line=options.command_line,
            machine=self.machine,
            versions=self._versions(),
            git=machine.describe_git(),
            settings=Settings(
                rounds=options.rounds,
                seconds=options.seconds,
                warm_up_seconds=options.warm_up_seconds,
                workers=options.workers,
                load_threads=options.load_threads,
                pinning=options.pinning,
                quick=options.quick,
            ),
            backend=self.backend_kind,
            notes=self.notes,
            scenarios=self.finished,
            budgets=judge(self.finished),
        )

    def _versions(self) -> dict[str, str]:
        versions = machine.library_versions()
        versions["wrk"] = machine.program_version(["wrk", "-v"], r"wrk (?:debian/)?(\S+)")
        for kind in dict.fromkeys([*self.options.proxies, self.backend_kind]):
            if kind in PROXIES:
                versions[kind] = PROXIES[kind].version()
        return versions

    def _run_scenario(self, scenario: ScenarioSpec, lanes: list[LaneSpec]) -> Scenario:
        self.progress(scenario, 0, "starting")
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            fleet = stack.enter_context(Fleet())
            backend = start_backend(fleet, directory / "backend", self.options.pinning.backend)
            self._note_backend(backend)
            instances = self._start_instances(lanes, fleet, directory, backend)
            target_files = _write_targets(lanes, directory)
            # Idle connections come after a first load, so that their memory can be told apart from it.
            for lane in lanes:
                instance = instances[lane.instance]
                if lane.idle_connections and instance.idle is None:
                    self._drive(fleet, lane, instance, directory, target_files, seconds=1)
                    instance.pss_without_idle = instance.total_pss()
                    instance.idle = IdleConnections(instance.port, lane.idle_connections, lane.load.path)
                    stack.callback(instance.idle.close)
            runs: dict[str, list[Run]] = {lane.name: [] for lane in lanes}
            try:
                for number in range(1, self.options.rounds + 1):
                    # Every other round goes backwards, so that a steady drift favours nobody.
                    for lane in lanes if number % 2 else reversed(lanes):
                        self.progress(scenario, number, lane.name)
                        instance = instances[lane.instance]
                        runs[lane.name].append(
                            self._run_lane(number, lane, instance, fleet, directory, target_files)
                        )
            except KeyboardInterrupt:
                whole = min(map(len, runs.values()))
                if self.options.keep_rounds and whole:
                    kept = {name: found[:whole] for name, found in runs.items()}
                    self.finished.append(self._result(scenario, lanes, instances, kept))
                raise
            return self._result(scenario, lanes, instances, runs)

    def _result(
        self,
        scenario: ScenarioSpec,
        lanes: list[LaneSpec],
        instances: dict[Hashable, Instance],
        runs: dict[str, list[Run]],
    ) -> Scenario:
        self._check(scenario, lanes, runs)
        finished = [
            _lane_result(lane, instances[lane.instance], runs[lane.name], self.options) for lane in lanes
        ]
        return Scenario(
            name=scenario.name,
            title=scenario.title,
            lanes=finished,
            ratios=[
                ratio for spec in scenario.ratios if (ratio := compare_lanes(spec, finished)) is not None
            ],
        )

    def _start_instances(
        self, lanes: list[LaneSpec], fleet: Fleet, directory: Path, backend: Backend
    ) -> dict[Hashable, Instance]:
        instances: dict[Hashable, Instance] = {}
        for lane in lanes:
            if lane.instance in instances:
                continue
            if lane.proxy == "direct":
                instances[lane.instance] = Instance(backend.port, None, backend)
                continue
            pinning = self.options.pinning
            place = Place(
                fleet=fleet,
                directory=directory / f"{lane.proxy}-{len(instances)}",
                backend_port=backend.port,
                workers=self.options.workers,
                cpus=pinning.proxy,
                control_cpus=pinning.control,
                routes=lane.routes,
                setup=lane.setup,
                backend_cpus=pinning.backend,
                settings=lane.settings,
            )
            proxy = PROXIES[lane.proxy](place)
            instance = instances[lane.instance] = Instance(proxy.port, proxy, backend)
            rss, pss = instance.worker_memory()
            if rss is not None and pss is not None:
                instance.start = {"worker_rss_bytes": rss, "worker_pss_bytes": pss}
        return instances

    def _drive(
        self,
        fleet: Fleet,
        lane: LaneSpec,
        instance: Instance,
        directory: Path,
        target_files: TargetFiles,
        *,
        seconds: float,
        meanwhile: Callable[[Child], None] | None = None,
    ) -> LoadResult:
        return drive(
            fleet,
            lane.load,
            port=instance.port,
            seconds=seconds,
            threads=self.options.load_threads,
            cpus=self.options.pinning.load,
            directory=directory,
            targets=target_files.get(lane.targets),
            meanwhile=meanwhile,
        )

    def _run_lane(
        self,
        number: int,
        lane: LaneSpec,
        instance: Instance,
        fleet: Fleet,
        directory: Path,
        target_files: TargetFiles,
    ) -> Run:
        options = self.options
        if options.warm_up_seconds:
            self._drive(fleet, lane, instance, directory, target_files, seconds=options.warm_up_seconds)
        if lane.cached and not lane.popular:
            ensure_hits(lane.name, instance.port, lane.load)
        extra: dict[str, float] = {}
        reloads = Reloads(lane, instance, options.reload_every_ms)
        pid = instance.proxy.child.pid if instance.proxy else None
        workers = instance.proxy.worker_pids() if instance.proxy else []
        asked_before = requests_at(instance.backend) if lane.cached else None
        foreign = ForeignCpu()
        tree_before = tree_cpu_seconds(pid) if pid else None
        workers_before = cpu_seconds(workers)
        result = self._drive(
            fleet,
            lane,
            instance,
            directory,
            target_files,
            seconds=options.seconds,
            meanwhile=reloads.run if lane.reload else None,
        )
        tree_after = tree_cpu_seconds(pid) if pid else None
        workers_after = cpu_seconds(workers)
        elapsed = time.monotonic() - foreign.started[0]
        foreign_share = foreign.share()
        if instance.proxy is not None and not instance.proxy.child.running():
            raise BenchError(f"{lane.name} ended under load:\n{instance.proxy.child.last_output()}")
        if lane.idle_connections:
            extra.update(_idle_extra(instance, lane.idle_connections))
        if lane.reload:
            extra.update(reloads.extra())
        if lane.cached:
            asked = requests_between(asked_before, requests_at(instance.backend))
            extra.update({} if asked is None else _cache_extra(lane, asked, result))
        used = _difference(tree_before, tree_after)
        used_by_workers = _difference(workers_before, workers_after)
        rss, pss = instance.worker_memory()
        return Run(
            round=number,
            load=result,
            requests_per_second=result.requests_per_second,
            cpu_seconds=used,
            worker_cpu_seconds=used_by_workers,
            requests_per_cpu_second=result.requests / used if used else None,
            requests_per_worker_cpu_second=result.requests / used_by_workers if used_by_workers else None,
            cpu_share=used / elapsed / (len(workers) if lane.settings else options.workers)
            if used is not None
            else None,
            foreign_cpu_share=foreign_share,
            worker_rss_bytes=rss,
            worker_pss_bytes=pss,
            extra=extra,
        )

    def _note_backend(self, backend: Backend) -> None:
        if self.backend_kind:
            return
        self.backend_kind = backend.kind
        if backend.kind != "nginx":
            self.notes.append(
                "nginx is not installed: a Granian application is the backend, which limits the throughput"
            )

    def _check(self, scenario: ScenarioSpec, lanes: list[LaneSpec], runs: dict[str, list[Run]]) -> None:
        """Say in the notes what a reader of the numbers must know."""
        busy_elsewhere = []
        slow = []
        for lane in lanes:
            failed = sum(run.load.errors.total for run in runs[lane.name])
            if failed:
                self.notes.append(f"{scenario.name}, {lane.name}: {failed} failed requests")
            asked = sum(run.extra.get("backend_requests", 0.0) for run in runs[lane.name])
            if asked:
                self.notes.append(
                    f"{scenario.name}, {lane.name}: {asked:.0f} requests were no hits but reached the backend"
                )
            foreign = summarize([run.foreign_cpu_share for run in runs[lane.name]]).median
            shares = [run.cpu_share for run in runs[lane.name] if run.cpu_share is not None]
            if foreign > FOREIGN_SHARE:
                busy_elsewhere.append(f"{foreign:.0%} during {lane.name}")
            elif lane.load.connections >= Load().connections and shares:
                share = summarize(shares).median
                if share < BUSY_SHARE:
                    slow.append(f"{lane.name} {share:.0%}")
        if busy_elsewhere:
            self.notes.append(
                f"{scenario.name}: other programs used the machine: {', '.join(busy_elsewhere)}"
            )
        if slow:
            self.notes.append(f"{scenario.name}: waited for wrk or the backend: busy {', '.join(slow)}")


class ForeignCpu:
    """How much of the machine others use meanwhile: with it numbers are worth little."""

    def __init__(self) -> None:
        self.started = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.monotonic(), machine_cpu_seconds(), tree_cpu_seconds(os.getpid())

    def share(self) -> float:
        """Share of all CPUs' time since the start, 0 to 1."""
        elapsed, machine_used, ours = (
            now - before for now, before in zip(self._now(), self.started, strict=True)
        )
        available = elapsed * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (machine_used - ours) / available)) if available else 0.0


class Reloads:
    """Gives the gateway new configurations while wrk runs, and keeps how long each took."""

    def __init__(self, lane: LaneSpec, instance: Instance, every_ms: int) -> None:
        self.lane = lane
        self.instance = instance
        self.every_seconds = every_ms / 1000
        self.milliseconds: list[float] = []
        self.count = 0
        self.failed = 0

    def run(self, load: Child) -> None:
        """Reload at the given pace until wrk ends. The last one is cut off by nothing: it is waited for."""
        proxy = self.instance.proxy
        assert proxy is not None
        while load.running():
            started = time.monotonic()
            if self.lane.reload == "admin":
                self.instance.revision += 1
                took = proxy.push_configuration(self.instance.revision)
                self.failed += took is None
            else:
                took = proxy.signal_reload()
            self.count += 1
            if took is not None:
                self.milliseconds.append(took)
            rest = self.every_seconds - (time.monotonic() - started)
            try:
                load.process.wait(max(0.0, rest))
            except subprocess.TimeoutExpired:
                continue

    def extra(self) -> dict[str, float]:
        found = {"reloads": float(self.count), "reloads_failed": float(self.failed)}
        if self.milliseconds:
            found["reload_ms"] = summarize(self.milliseconds).median
            found["reload_ms_max"] = max(self.milliseconds)
        return found


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(after - before, 4)


def _write_targets(lanes: list[LaneSpec], directory: Path) -> TargetFiles:
    """A file with the addresses for every number of routes above one, and of keys."""
    files: TargetFiles = {}
    for lane in {lane.targets: lane for lane in lanes if lane.targets}.values():
        assert lane.targets is not None
        routes, keys, popular = lane.targets
        if popular:
            found = popular_targets(popular, lane.load.path)
        else:
            found = keyed_targets(keys, declarative.HOST) if keys else declarative.targets(routes)
        targets = lane.targets
        files[targets] = directory / f"targets-{routes}-{keys}-{popular}.txt"
        files[targets].write_text("\n".join(found) + "\n")
    return files


def _cache_extra(lane: LaneSpec, asked: int, result: LoadResult) -> dict[str, float]:
    """What reached the backend; where misses are meant to be, as a share of hits."""
    if not lane.popular:
        return {"backend_requests": float(asked)}
    return {"hit_rate": max(0.0, 1 - asked / result.requests) if result.requests else 0.0}


def _idle_extra(instance: Instance, count: int) -> dict[str, float]:
    assert instance.idle is not None
    found = {"idle_connections_open": float(instance.idle.still_open())}
    now = instance.total_pss()
    if now is not None and instance.pss_without_idle is not None:
        found["bytes_per_idle_connection"] = (now - instance.pss_without_idle) / count
    return found


def _lane_result(lane: LaneSpec, instance: Instance, runs: list[Run], options: Options) -> Lane:
    parameters: dict[str, str | int | float] = {
        "method": lane.load.method,
        "path": lane.load.path,
        "request_body_bytes": lane.load.body_bytes,
        "connections": lane.load.connections,
        "routes": lane.routes,
        "idle_connections": lane.idle_connections,
    }
    if lane.popular:
        parameters["addresses"] = lane.popular
    parameters |= {f"GATEWAY_{name.upper()}": value for name, value in lane.settings}
    if lane.reload:
        parameters |= {"reload": lane.reload, "reload_every_ms": options.reload_every_ms}
    return Lane(
        name=lane.name,
        proxy=lane.proxy,
        parameters=parameters,
        start=instance.start,
        runs=runs,
        summary=summarize_runs(runs),
    )

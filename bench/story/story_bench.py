"""`bench story`: the gateway with everything on, and its backends called directly, at full and half load."""

from __future__ import annotations

import itertools
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import machine
from bench.load import parse_result, require_wrk, run_wrk
from bench.processes import BenchError, Fleet, tree_cpu_seconds
from bench.proxies import Place
from bench.runner import FOREIGN_SHARE, ForeignCpu
from bench.spread import summarize
from bench.story import traffic
from bench.story.servers import CACHE_BYTES, StoryBackend, StoryGateway, examine, start_backends
from bench.story.story_report import (
    FORMAT,
    LANES,
    CpuSeconds,
    LaneName,
    StoryLoad,
    StoryReport,
    StoryRun,
    StorySettings,
    TrafficFacts,
    judge_story,
    summarize_story,
)

SCRIPT = Path(__file__).with_name("story.lua")
WARM_UP_SECONDS = traffic.CACHE_SECONDS + 1
"""what was stored is then as old as it will be at any other time"""
PACING_SECONDS = 1
EXAMINED = 600
STRIDE = 0.381966
"""of the tape, from one run's start to the next one's: no two begin at the same place"""


@dataclass(frozen=True)
class StoryOptions:
    """What the command line asked for."""

    rounds: int
    seconds: float
    workers: int
    connections: int
    load_threads: int
    half_rate: int
    quick: bool
    command_line: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def warm_up_seconds(self) -> float:
        return 0 if self.quick else WARM_UP_SECONDS


class StoryBench:
    """One `bench story`; `run()` returns the report."""

    def __init__(self, options: StoryOptions, progress: Callable[[str], None]) -> None:
        self.options = options
        self.progress = progress
        self.starts = itertools.count()
        self.pauses: dict[LaneName, float] = {}
        self.traffic = traffic.plan()

    def run(self) -> StoryReport:
        """Measure all lanes in turn. Whatever happens, no process is left."""
        require_wrk()
        started_at = datetime.now(UTC)
        described = machine.describe_machine()
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-story-")))
            self.fleet = stack.enter_context(Fleet())
            self.progress("starting")
            self.traffic.write(self.directory)
            self.backends = start_backends(self.fleet, self.directory)
            self.gateway = start_gateway(self.fleet, self.directory, self.backends, self.options.workers)
            statuses = self._examine()
            runs = [self._run(number, lane) for number, lane in self._order()]
            versions = {
                **machine.library_versions(),
                "gateway": StoryGateway.version(),
                "nginx": machine.program_version(["nginx", "-v"], r"nginx/(\S+)"),
                "wrk": machine.program_version(["wrk", "-v"], r"wrk (\S+)"),
            }
        summary = summarize_story(runs)
        return StoryReport(
            format=FORMAT,
            kind="story",
            started_at=started_at.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command_line=self.options.command_line,
            machine=described,
            versions=versions,
            git=machine.describe_git(),
            settings=self._settings(),
            traffic=traffic_facts(self.traffic),
            cache_statuses=statuses,
            notes=[*self.options.notes, *_notes(runs)],
            runs=runs,
            summary=summary,
            budgets=judge_story(summary),
        )

    def _settings(self) -> StorySettings:
        options = self.options
        return StorySettings(
            rounds=options.rounds,
            seconds=options.seconds,
            warm_up_seconds=options.warm_up_seconds,
            workers=options.workers,
            connections=options.connections,
            load_threads=options.load_threads,
            half_rate=options.half_rate,
            backends=len(self.backends),
            cache_bytes=CACHE_BYTES,
            quick=options.quick,
        )

    def _order(self) -> list[tuple[int, LaneName]]:
        """Every other round goes backwards, so that a steady drift favours nobody."""
        return [
            (number, lane)
            for number in range(1, self.options.rounds + 1)
            for lane in (LANES if number % 2 else reversed(LANES))
        ]

    def _examine(self) -> dict[str, int]:
        """A part of the tape, and the same again: answers are looked at before their number counts."""
        self.progress("looking at answers")
        asked = [self.traffic.requests[number] for number in self.traffic.tape[:EXAMINED]]
        found = examine(self.gateway.port, asked)
        again = [request for request in asked if request.service.cached][:50]
        if (hits := examine(self.gateway.port, [*again[:1], *again[:1]]).get("Hit", 0)) < 1:
            raise BenchError(f"the gateway does not answer from its cache ({hits} hits; first {found})")
        return found

    def _run(self, number: int, lane: LaneName) -> StoryRun:
        options = self.options
        self.progress(f"{lane} {number}/{options.rounds}")
        through = lane.startswith("gateway")
        pause_ms = self._warm_up(lane)
        asked = [backend.requests() for backend in self.backends]
        hits = self.gateway.cache_hits() if through else None
        foreign = ForeignCpu()
        before = self._cpu()
        load, load_cpu = self._drive(lane, options.seconds, pause_ms)
        after = self._cpu()
        foreign_share = foreign.share()
        hits_after = self.gateway.cache_hits() if through else None
        reached = sum(
            backend.requests() - before - 1 for backend, before in zip(self.backends, asked, strict=True)
        )
        if not self.gateway.child.running():
            raise BenchError(f"the gateway ended under load:\n{self.gateway.child.last_output()}")
        counted = None if hits is None or hits_after is None else hits_after - hits
        rate = load.requests / load.seconds if load.seconds else 0.0
        return StoryRun(
            round=number,
            lane=lane,
            load=load,
            requests_per_second=rate,
            cpu_seconds=CpuSeconds(load_cpu, *(b - a for a, b in zip(before, after, strict=True))),
            foreign_cpu_share=foreign_share,
            backend_requests=reached,
            cache_hits=counted,
            hit_rate=hit_rate(load.requests, reached, counted) if through else None,
            expected_hit_rate=self.traffic.expected_hit_rate(rate) if through else None,
            pause_ms=pause_ms,
        )

    def _cpu(self) -> tuple[float, float, float]:
        """Processor time so far of workers, control process and backends."""
        backends = sum(tree_cpu_seconds(backend.child.pid) for backend in self.backends)
        return (*self.gateway.cpu_seconds(), backends)

    def _warm_up(self, lane: LaneName) -> float:
        """The same load, not counted. Returns the pause (ms) with which wrk's connections make half the load.

        A connection pauses and waits for its answer in turn: the pause follows from the time of a turn, which
        each warm-up tells anew.
        """
        seconds = self.options.warm_up_seconds
        if not lane.endswith("-half"):
            if seconds:
                self._drive(lane, seconds, 0.0)
            return 0.0
        turn_ms = self.options.connections / self.options.half_rate * 1000
        if lane not in self.pauses:
            self._adjust_pause(lane, turn_ms, turn_ms * 0.8, PACING_SECONDS)
        if seconds:
            self._adjust_pause(lane, turn_ms, self.pauses[lane], seconds)
        return self.pauses[lane]

    def _adjust_pause(self, lane: LaneName, turn_ms: float, pause_ms: float, seconds: float) -> None:
        load, _ = self._drive(lane, seconds, pause_ms)
        turn_was_ms = self.options.connections * load.seconds / max(1, load.requests) * 1000
        self.pauses[lane] = max(0.1, pause_ms + turn_ms - turn_was_ms)

    def _drive(self, lane: LaneName, seconds: float, pause_ms: float) -> tuple[StoryLoad, float]:
        """One run of wrk: what it counted, and its own processor time."""
        options = self.options
        ports = [self.gateway.port] if lane.startswith("gateway") else [b.port for b in self.backends]
        environ = {
            "STORY_DIRECTORY": str(self.directory),
            "STORY_START": str(next(self.starts) * STRIDE % 1),
            "STORY_THREADS": str(options.load_threads),
            "STORY_ADDRESSES": " ".join(f"127.0.0.1:{port}" for port in ports),
            "STORY_PAUSE_MS": f"{pause_ms:.3f}",
        }
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = run_wrk(
            self.fleet,
            f"http://127.0.0.1:{ports[0]}/",
            script=SCRIPT,
            connections=options.connections,
            seconds=seconds,
            threads=options.load_threads,
            cpus=[],
            directory=self.directory,
            environ=environ,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return parse_result(output, StoryLoad), used


def start_gateway(
    fleet: Fleet,
    directory: Path,
    backends: list[StoryBackend],
    workers: int,
    cache_seconds: int = traffic.CACHE_SECONDS,
) -> StoryGateway:
    """The gateway in front of these backends, ready."""
    place = Place(
        fleet=fleet,
        directory=directory / "gateway",
        backend_port=backends[0].port,
        workers=workers,
        cpus=[],
        control_cpus=[],
        routes=1,
    )
    return StoryGateway(place, backends, cache_seconds)


def hit_rate(requests: int, reached_backends: int, counted_hits: int | None) -> float:
    """Hits over all requests; what did not reach the backends where the gateway has not counted them."""
    hits = requests - reached_backends if counted_hits is None else counted_hits
    return max(0.0, hits / requests) if requests else 0.0


def traffic_facts(planned: traffic.Traffic) -> TrafficFacts:
    """What was asked for, for the report."""
    return TrafficFacts(
        services=len(traffic.SERVICES),
        consumers=2 * traffic.CONSUMERS_OF_A_KIND,
        cacheable_keys=planned.keys,
        zipf_exponent=traffic.EXPONENT,
        cache_seconds=traffic.CACHE_SECONDS,
        uncacheable_share=planned.uncacheable_share,
        planned_rate=traffic.PLANNED_RATE,
        planned_hit_rate=traffic.WANTED_HIT_RATE,
    )


def _notes(runs: list[StoryRun]) -> list[str]:
    """What a reader of the numbers must know."""
    found = []
    for lane in LANES:
        of_lane = [run for run in runs if run.lane == lane]
        if failed := sum(run.load.errors.total for run in of_lane):
            found.append(f"{lane}: {failed} failed requests")
        foreign = summarize([run.foreign_cpu_share for run in of_lane]).median
        if foreign > FOREIGN_SHARE:
            found.append(f"{lane}: other programs used {foreign:.0%} of the machine")
    return found


def serve(workers: int, rate: int, told: Callable[[str], None]) -> None:
    """Start backends and gateway for another driver, such as locust, and keep them until interrupted.

    It will make about `rate` requests a second: responses are kept as long as the planned hit rate needs.
    """
    cache_seconds = max(1, round(traffic.CACHE_SECONDS * traffic.PLANNED_RATE / rate))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-story-")))
        fleet = stack.enter_context(Fleet())
        backends = start_backends(fleet, directory)
        gateway = start_gateway(fleet, directory, backends, workers, cache_seconds)
        told(f"proxy:    http://127.0.0.1:{gateway.port}")
        told(f"admin:    http://127.0.0.1:{gateway.admin_port}")
        told(f"metrics:  http://127.0.0.1:{gateway.status_port}/metrics")
        told(f"responses are kept for {cache_seconds} s")
        told(f"backends: {' '.join(f'http://127.0.0.1:{backend.port}' for backend in backends)}")
        told(f"locust -f bench/story/locustfile.py --host http://127.0.0.1:{gateway.port}")
        while gateway.child.running():
            time.sleep(0.5)
        raise BenchError(f"the gateway ended:\n{gateway.child.last_output()}")

"""Counting that is not done in the node's shared memory: what its ways have in common.

A *question* is what some requests ask at the same time that are counted together. It is asked once for all of
them; then the first ones are admitted, as many as there is room for.
"""

from __future__ import annotations

import asyncio
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.plugin_thread.context import Job
from native.limiter import LimitTable

from ._limits import PERIODS

Item = TypeVar("Item")
Complain = Callable[[str], None]
"""writes a problem to the error log, now and then"""

SECOND_NS = 1_000_000_000
NOMINAL_LENGTHS = (1, 60, 3600, 86400, 30 * 86400, 365 * 86400)
"""seconds of each period, as Kong tells and keeps them"""

_QUESTION = struct.Struct("=QII")


class CannotCount(Exception):
    """What counts is not there, or does not answer. Its text is for the log."""


class Batches(Generic[Item]):
    """Gathers items while `work` has others in hand."""

    def __init__(self, work: Callable[[list[Item]], Awaitable[None]]) -> None:
        self._work = work
        self._waiting: list[Item] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, item: Item) -> None:
        self._waiting.append(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                items, self._waiting = self._waiting, []
                await self._work(items)
        finally:
            self._task = None

    async def finish(self) -> None:
        """Wait for what was added."""
        if self._task is not None:
            await asyncio.wait([self._task])


class State(NamedTuple):
    """How a limit stands."""

    remaining: int
    reset: int
    """seconds"""


class Asked(NamedTuple):
    """The payload of a job (LimitQuestion of native/steps/limiting.pxd)."""

    time_ns: int
    costs: tuple[int, ...]
    identifier: bytes

    @classmethod
    def read(cls, payload: bytes) -> Asked:
        time_ns, cost_count, _ = _QUESTION.unpack_from(payload)
        if cost_count == 0:
            return cls(time_ns, (), payload[_QUESTION.size :])
        costs = struct.unpack_from(f"={cost_count}Q", payload, _QUESTION.size)
        return cls(time_ns, costs, payload[_QUESTION.size + 8 * cost_count :])


def packed_scope(packed: bytes) -> str:
    """What the counters of a configuration have in common: its packed form begins with that text."""
    offset, length = struct.unpack_from("=II", packed)
    return packed[offset : offset + length].decode()


def answer(states: Sequence[State], refused: int | None = None) -> bytes:
    """What the step reads (LimitAnswer and ToldState)."""
    form = _ANSWERS[len(states)] if len(states) < len(_ANSWERS) else _answer_form(len(states))
    return form.pack(-1 if refused is None else refused, *chain.from_iterable(states))


def _answer_form(count: int) -> struct.Struct:
    return struct.Struct(f"=q{2 * count}Q")


_ANSWERS = [_answer_form(count) for count in range(len(PERIODS) + 1)]


@dataclass(frozen=True, slots=True)
class Window:
    """A calendar window."""

    start: int
    """seconds since the epoch"""
    end: int

    def reset(self, period: int, seconds: int) -> int:
        """Kong's Reset: by the nominal length of the period."""
        return max(1, NOMINAL_LENGTHS[period] - (seconds - self.start))


class Calendar:
    """The calendar windows of a time; asked for the same second again and again."""

    def __init__(self, table: LimitTable) -> None:
        self._table = table
        self._seconds = -1
        self._windows: tuple[Window, ...] = ()

    def at(self, time_ns: int) -> tuple[Window, ...]:
        """By period."""
        seconds = time_ns // SECOND_NS
        if seconds != self._seconds:
            self._windows = tuple(Window(*window) for window in self._table.windows(time_ns))
            self._seconds = seconds
        return self._windows

    def before(self, window: Window, period: int) -> Window:
        """The window before that one."""
        return Window(*self._table.windows((window.start - 1) * SECOND_NS)[period])


@dataclass(frozen=True, slots=True)
class CountedLimit:
    """One of the limits of a configuration."""

    period: int
    amount: int
    """how many are admitted"""
    name: str = ""
    """response-ratelimiting: of what is counted"""

    @property
    def period_name(self) -> str:
        return PERIODS[self.period]


def limits_of(config: Mapping[str, Any], name: str = "") -> list[CountedLimit]:
    """Those of a configuration's document, the shortest period first, as its step has them."""
    return [
        CountedLimit(period, math.ceil(config[period_name]), name)
        for period, period_name in enumerate(PERIODS)
        if config.get(period_name) is not None
    ]


def named_limits_of(config: Mapping[str, Any]) -> list[CountedLimit]:
    """Those of response-ratelimiting, as its step has them."""
    return [limit for name in sorted(config["limits"]) for limit in limits_of(config["limits"][name], name)]


@dataclass(slots=True)
class Question:
    """What jobs ask at the same time that are counted together."""

    counting: Any
    keys: tuple[bytes, ...]
    time_ns: int
    jobs: list[Job] = field(default_factory=list)


class Counting:
    """Where and how one configuration is counted. Each kind does some of this."""

    def admit(self, job: Job, asked: Asked) -> None:
        """Count a request if it fits the limits: finish the job sometime with an answer, or fail it."""
        raise NotImplementedError

    def look(self, job: Job, asked: Asked) -> None:
        """The same; nothing is counted."""
        raise NotImplementedError

    def add(self, asked: Asked) -> None:
        """Count costs, whatever the limits."""
        raise NotImplementedError

    def tell(self, asked: Asked) -> None:
        """Take what was counted in shared memory elsewhere, soon."""
        raise NotImplementedError

    async def close(self) -> None:
        """Finish what was begun."""


class WindowCounting(Counting):
    """Counting in Kong's calendar windows, under keys that name the window."""

    def __init__(self, calendar: Calendar, scope: str, limits: Sequence[CountedLimit]) -> None:
        self.calendar = calendar
        self.scope = scope.encode()
        """what keys begin with, up to who is counted"""
        self.limits = limits
        self._names = [f"{limit.name}:{limit.period_name}".lstrip(":").encode() for limit in limits]
        self._seconds = 0
        self._keys: dict[bytes, tuple[bytes, ...]] = {}
        """of those who have asked in this second"""

    def keys(self, asked: Asked) -> tuple[bytes, ...]:
        """The keys that are needed for who is counted, in the windows of now."""
        seconds = asked.time_ns // SECOND_NS
        if seconds != self._seconds:
            self._seconds = seconds
            self._keys = {}
        known = self._keys.get(asked.identifier)
        if known is None:
            known = self._keys[asked.identifier] = self.make_keys(asked)
        return known

    def make_keys(self, asked: Asked) -> tuple[bytes, ...]:
        """The key of each limit, as Kong writes them to Redis."""
        windows = self.calendar.at(asked.time_ns)
        begin = b"%b:%b:" % (self.scope, asked.identifier)
        return tuple(
            [
                b"%b%d:%b" % (begin, windows[limit.period].start * 1000, name)
                for limit, name in zip(self.limits, self._names, strict=True)
            ]
        )

    def resets(self, time_ns: int) -> list[int]:
        """Seconds until the windows end."""
        windows = self.calendar.at(time_ns)
        seconds = time_ns // SECOND_NS
        return [windows[limit.period].reset(limit.period, seconds) for limit in self.limits]

    def standing(self, question: Question, counts: Sequence[int]) -> list[bytes]:
        """The same answer for all jobs: what remains."""
        states = [
            State(max(0, limit.amount - count), reset)
            for limit, count, reset in zip(self.limits, counts, self.resets(question.time_ns), strict=True)
        ]
        return [answer(states)] * len(question.jobs)


class Questions(ABC):
    """The questions of all configurations that are counted in one place, in batches."""

    def __init__(self, complain: Complain) -> None:
        self.complain = complain
        self._waiting: dict[tuple[int, tuple[bytes, ...]], Question] = {}
        """by id() of the counting, and keys: while a configuration changes, old and new limits may meet"""
        self._batches: Batches[Question] = Batches(self._answer)

    def ask(self, counting: object, keys: tuple[bytes, ...], time_ns: int, job: Job) -> None:
        """Ask for a job, together with others that have the same keys."""
        question = self._waiting.get((id(counting), keys))
        if question is None:
            question = self._waiting[id(counting), keys] = Question(counting, keys, time_ns)
            self._batches.add(question)
        question.jobs.append(job)

    @abstractmethod
    async def find(self, questions: Sequence[Question]) -> list[list[bytes]]:
        """The answers to the jobs of each question. Raises CannotCount."""

    @abstractmethod
    async def add(self, counting: Any, some: Sequence[Asked]) -> None:
        """Count costs of responses for one configuration. Raises CannotCount."""

    async def _answer(self, questions: list[Question]) -> None:
        self._waiting = {}
        answers: list[list[bytes]] = []
        try:
            answers = await self.find(questions)
        except CannotCount as error:
            self.complain(str(error))
        finally:
            for index, question in enumerate(questions):
                _settle(question, answers[index] if index < len(answers) else ())

    async def close(self) -> None:
        """Answer what was asked."""
        await self._batches.finish()


class AskedWindows(WindowCounting):
    """Windows whose counts are asked for, together with those of other configurations."""

    def __init__(
        self, questions: Questions, calendar: Calendar, scope: str, limits: Sequence[CountedLimit]
    ) -> None:
        super().__init__(calendar, scope, limits)
        self.questions = questions

    def admit(self, job: Job, asked: Asked) -> None:
        self.questions.ask(self, self.keys(asked), asked.time_ns, job)


class AskedCosts(AskedWindows):
    """What upstreams say that responses cost."""

    def __init__(
        self, questions: Questions, calendar: Calendar, scope: str, limits: Sequence[CountedLimit]
    ) -> None:
        super().__init__(questions, calendar, scope, limits)
        self._costs: Batches[Asked] = Batches(self._add)

    def look(self, job: Job, asked: Asked) -> None:
        self.questions.ask(self, self.keys(asked), asked.time_ns, job)

    def add(self, asked: Asked) -> None:
        self._costs.add(asked)

    async def _add(self, some: list[Asked]) -> None:
        try:
            await self.questions.add(self, some)
        except CannotCount as error:
            self.questions.complain(str(error))

    async def close(self) -> None:
        await self._costs.finish()


def _settle(question: Question, texts: Sequence[bytes]) -> None:
    if len(texts) != len(question.jobs):
        for job in question.jobs:
            job.fail()
        return
    for job, text in zip(question.jobs, texts, strict=True):
        job.finish(text)


def grant(limits: Sequence[CountedLimit], used: Sequence[int], wanted: int) -> int:
    """How many of those wanted fit all limits."""
    return max(0, min(wanted, *(limit.amount - one for limit, one in zip(limits, used, strict=True))))


def granted_answers(
    wanted: int, granted: int, remaining: Sequence[int], resets: Sequence[int], waits: Sequence[int]
) -> list[bytes]:
    """The answers to `wanted` requests of which the first ones are granted, with what remains after them;
    `waits`: seconds until a refused one may come again."""
    answers = []
    for position in range(granted):
        left = granted - 1 - position
        states = [State(one + left, reset) for one, reset in zip(remaining, resets, strict=True)]
        answers.append(answer(states))
    if granted < wanted:
        refused = max((index for index, one in enumerate(remaining) if one == 0), default=0)
        states = [
            State(one, waits[index] if index == refused else reset)
            for index, (one, reset) in enumerate(zip(remaining, resets, strict=True))
        ]
        answers += [answer(states, refused)] * (wanted - granted)
    return answers

"""Counting in Redis: the algorithms, each in one script (see `_limits_scripts`), and telling it now and then.

Fixed windows use Kong's keys and count as Kong does, so that nodes of both can share a Redis: also refused
requests count. Those of the other algorithms do not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from native.limiter import LimitAlgorithm, Limits, LimitTable

from ._limits_counting import (
    NOMINAL_LENGTHS,
    Asked,
    AskedCosts,
    AskedWindows,
    Calendar,
    CannotCount,
    Complain,
    CountedLimit,
    Counting,
    Question,
    Questions,
    State,
    answer,
    granted_answers,
)
from ._limits_scripts import COUNT, FILL, SLIDE
from ._redis_client import Call, RedisLink, RedisProblem


class RedisQuestions(Questions):
    """What is counted in one Redis."""

    def __init__(self, link: RedisLink, complain: Complain) -> None:
        super().__init__(complain)
        self.link = link

    async def find(self, questions: Sequence[Question]) -> list[list[bytes]]:
        """See Questions."""
        found = await self._call([question.counting.call(question) for question in questions])
        return [
            question.counting.settle(question, one) for question, one in zip(questions, found, strict=True)
        ]

    async def add(self, counting: RedisCosts, some: Sequence[Asked]) -> None:
        """See Questions."""
        await self._call([counting.counting_call(counting.keys(asked), asked.costs) for asked in some])

    async def _call(self, calls: Sequence[Call]) -> list[Any]:
        try:
            return await self.link.call(calls)
        except RedisProblem as problem:
            raise CannotCount(f"cannot count: {problem}") from problem

    async def close(self) -> None:
        """Also the connection."""
        await super().close()
        await self.link.close()


class FixedWindows(AskedWindows):
    """Kong's windows and keys."""

    questions: RedisQuestions

    def call(self, question: Question) -> Call:
        """The script for as many as there are jobs."""
        return self.counting_call(question.keys, [len(question.jobs)] * len(self.limits))

    def counting_call(self, keys: Sequence[bytes], numbers: Sequence[int]) -> Call:
        """Count these numbers."""
        arguments = []
        for limit, number in zip(self.limits, numbers, strict=True):
            arguments += [number, NOMINAL_LENGTHS[limit.period]]
        return Call(COUNT, keys, arguments)

    def settle(self, question: Question, found: list[int]) -> list[bytes]:
        """The answers, from the counts."""
        wanted = len(question.jobs)
        resets = self.resets(question.time_ns)
        left = [limit.amount - count + wanted for limit, count in zip(self.limits, found, strict=True)]
        admitted = max(0, min(wanted, *left))
        answers = [
            answer([State(one - position - 1, reset) for one, reset in zip(left, resets, strict=True)])
            for position in range(admitted)
        ]
        for position in range(admitted, wanted):
            now_left = [max(0, one - position) for one in left]
            refused = max(index for index, one in enumerate(now_left) if one == 0)
            states = [State(one, reset) for one, reset in zip(now_left, resets, strict=True)]
            answers.append(answer(states, refused))
        return answers


class RedisCosts(AskedCosts, FixedWindows):
    """Costs, in Kong's windows and keys."""

    def call(self, question: Question) -> Call:
        return self.counting_call(question.keys, [0] * len(self.limits))

    def settle(self, question: Question, found: list[int]) -> list[bytes]:
        return self.standing(question, found)


class SlidingWindows(FixedWindows):
    """A question's keys: of each limit the window's and that of the one before."""

    def make_keys(self, asked: Asked) -> tuple[bytes, ...]:
        windows = self.calendar.at(asked.time_ns)
        found = []
        for limit in self.limits:
            window = windows[limit.period]
            before = self.calendar.before(window, limit.period)
            name = limit.period_name.encode()
            # What stands in braces decides on which server of a cluster a key lies.
            found += [
                b"{%b:%b}:%d:%b:sliding" % (self.scope, asked.identifier, one.start * 1000, name)
                for one in (window, before)
            ]
        return tuple(found)

    def call(self, question: Question) -> Call:
        arguments = [len(question.jobs)]
        for limit, left, length in self._windows(question.time_ns):
            arguments += [limit.amount, left, length, 2 * length // 1000 + 1]
        return Call(SLIDE, question.keys, arguments)

    def _windows(self, time_ns: int) -> list[tuple[CountedLimit, int, int]]:
        """Each limit with what is left of its window, and its length; milliseconds."""
        windows = self.calendar.at(time_ns)
        return [
            (limit, window.end * 1000 - time_ns // 1_000_000, (window.end - window.start) * 1000)
            for limit in self.limits
            for window in (windows[limit.period],)
        ]

    def settle(self, question: Question, found: list[int]) -> list[bytes]:
        granted = found[0]
        remaining, resets, waits = [], [], []
        for index, (limit, left, length) in enumerate(self._windows(question.time_ns)):
            used, earlier = found[2 * index + 1] + granted, found[2 * index + 2]
            share = -(-earlier * left // length)
            remaining.append(max(0, limit.amount - used - share))
            resets.append(max(1, -(-left // 1000)))
            if used < limit.amount:
                wait = left - length * (limit.amount - used - 1) // max(1, earlier)
            else:
                wait = left + length - length * (limit.amount - 1) // used
            waits.append(max(1, -(-wait // 1000)))
        return granted_answers(len(question.jobs), granted, remaining, resets, waits)


class TokenBuckets(FixedWindows):
    """One key for each limit: when its bucket is full again."""

    def __init__(
        self,
        questions: RedisQuestions,
        calendar: Calendar,
        scope: str,
        limits: Sequence[CountedLimit],
        burst: int | None,
    ) -> None:
        super().__init__(questions, calendar, scope, limits)
        self._intervals = [-(-NOMINAL_LENGTHS[limit.period] * 1_000_000 // limit.amount) for limit in limits]
        """microseconds that bring a token"""
        self._depths = [
            interval * (burst if burst and index == 0 else limit.amount)
            for index, (limit, interval) in enumerate(zip(limits, self._intervals, strict=True))
        ]

    def make_keys(self, asked: Asked) -> tuple[bytes, ...]:
        return tuple(
            b"{%b:%b}:%b:tokens" % (self.scope, asked.identifier, limit.period_name.encode())
            for limit in self.limits
        )

    def call(self, question: Question) -> Call:
        arguments = [len(question.jobs)]
        for interval, depth in zip(self._intervals, self._depths, strict=True):
            arguments += [interval, depth]
        return Call(FILL, question.keys, arguments)

    def settle(self, question: Question, found: list[int]) -> list[bytes]:
        granted = found[0]
        remaining, resets, waits = [], [], []
        for before, interval, depth in zip(found[1:], self._intervals, self._depths, strict=True):
            missing = before + granted * interval
            remaining.append(max(0, (depth - missing) // interval))
            resets.append(max(1, math.ceil(missing / 1_000_000)))
            waits.append(max(1, math.ceil((missing + interval - depth) / 1_000_000)))
        return granted_answers(len(question.jobs), granted, remaining, resets, waits)


class ToldWindows(Counting):
    """Fixed windows that are counted in shared memory; every `interval` seconds Redis is told, and asked what
    others have counted."""

    def __init__(self, windows: FixedWindows, table: LimitTable, interval: float) -> None:
        self._windows = windows
        self._table = table
        self._interval = interval
        limits = [(LimitAlgorithm.FIXED_WINDOW, limit.period, limit.amount) for limit in windows.limits]
        self._counted = Limits(limits, seed=windows.scope)
        self._untold = Limits(limits, seed=b"untold " + windows.scope)
        self._identifiers: dict[bytes, int] = {}
        """those of whom something is to be told, with the time of their last request (ns)"""
        self._task: asyncio.Task[None] | None = None

    def tell(self, asked: Asked) -> None:
        """See Counting."""
        self._identifiers[asked.identifier] = asked.time_ns
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._tell_soon())

    async def _tell_soon(self) -> None:
        try:
            while self._identifiers:
                await asyncio.sleep(self._interval)
                await self._tell()
        finally:
            self._task = None

    async def _tell(self) -> None:
        identifiers, self._identifiers = self._identifiers, {}
        untold = {}
        calls = []
        for identifier, time_ns in identifiers.items():
            counts = self._table.take(self._untold, identifier, time_ns)
            untold[identifier] = counts
            keys = self._windows.keys(Asked(time_ns, (), identifier))
            calls.append(self._windows.counting_call(keys, counts))
        try:
            found = await self._windows.questions.link.call(calls)
        except RedisProblem as problem:
            self._windows.questions.complain(f"cannot tell what was counted: {problem}")
            for identifier, counts in untold.items():
                self._table.add_each(self._untold, identifier, identifiers[identifier], counts)
                self._identifiers.setdefault(identifier, identifiers[identifier])
            return
        for (identifier, time_ns), counts in zip(identifiers.items(), found, strict=True):
            since = self._table.add(self._untold, identifier, time_ns, 0)
            together = [count + one for count, one in zip(counts, since, strict=True)]
            self._table.raise_to(self._counted, identifier, time_ns, together)

    async def close(self) -> None:
        """Tell what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._identifiers:
            await self._tell()

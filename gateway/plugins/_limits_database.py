"""Counting in PostgreSQL, for all nodes that use the same database.

What the requests of a batch ask is one transaction: the counts are locked in the order of their keys, so that
two transactions cannot wait for each other; as many are admitted as there is room for, and only these are
counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from gateway.store.sql.connections import Address

from ._limits_counting import (
    Asked,
    AskedCosts,
    AskedWindows,
    CannotCount,
    Complain,
    Question,
    Questions,
    grant,
    granted_answers,
)

CLEANING_INTERVAL = 60.0
"""seconds"""
KEPT_SECONDS = 60
"""that a count is kept after its window, for nodes whose clocks are late"""

INSERT = """
    INSERT INTO limit_counts (key, count, ends_at)
    SELECT key, 0, ends_at FROM unnest(%s::text[], %s::bigint[]) AS new (key, ends_at)
    ON CONFLICT DO NOTHING
"""
SELECT = "SELECT key, count FROM limit_counts WHERE key = ANY(%s)"
LOCK = f"{SELECT} ORDER BY key FOR UPDATE"
COUNT = """
    UPDATE limit_counts AS counted SET count = counted.count + new.number
    FROM unnest(%s::text[], %s::bigint[]) AS new (key, number) WHERE counted.key = new.key
"""
CLEAN = "DELETE FROM limit_counts WHERE ends_at < %s"

Connection = psycopg.AsyncConnection[Any]


class DatabaseQuestions(Questions):
    """What is counted in the database."""

    def __init__(self, address: Address, complain: Complain, *, cleans: bool) -> None:
        """`cleans`: whether counts of windows that are over are deleted now and then."""
        super().__init__(complain)
        self._address = address
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._cleans = cleans
        self._cleaned = 0.0

    async def find(self, questions: Sequence[Question]) -> list[list[bytes]]:
        """See Questions."""
        asked = [question for question in questions if question.counting.counts]
        looked = [question for question in questions if not question.counting.counts]
        answers: dict[int, list[bytes]] = {}
        if asked:
            answers |= await self._run(self._admit, asked)
        if looked:
            answers |= await self._run(self._look, looked)
        return [answers[id(question)] for question in questions]

    async def add(self, counting: DatabaseCosts, some: Sequence[Asked]) -> None:
        """Count costs. Raises CannotCount."""
        numbers: dict[str, int] = {}
        ends: dict[str, int] = {}
        for asked in some:
            for key, end, cost in zip(
                counting.keys(asked), counting.ends(asked.time_ns), asked.costs, strict=True
            ):
                if cost:
                    numbers[text(key)] = numbers.get(text(key), 0) + cost
                    ends[text(key)] = end
        if numbers:
            await self._run(self._add, (numbers, ends))

    async def _admit(self, connection: Connection, questions: Sequence[Question]) -> dict[int, list[bytes]]:
        ends = {
            text(key): end
            for question in questions
            for key, end in zip(question.keys, question.counting.ends(question.time_ns), strict=True)
        }
        keys = sorted(ends)
        answers = {}
        numbers: dict[str, int] = {}
        async with connection.transaction():
            await connection.execute(INSERT, (keys, [ends[key] for key in keys]))
            counts = dict(await (await connection.execute(LOCK, (keys,))).fetchall())
            for question in questions:
                used = [counts[text(key)] for key in question.keys]
                granted = grant(question.counting.limits, used, len(question.jobs))
                if granted:
                    # Configurations may share counts: the next question begins with what this one has got.
                    for key in map(text, question.keys):
                        counts[key] += granted
                        numbers[key] = numbers.get(key, 0) + granted
                answers[id(question)] = question.counting.settle(question, used, granted)
            if numbers:
                await connection.execute(COUNT, (list(numbers), list(numbers.values())))
        return answers

    async def _look(self, connection: Connection, questions: Sequence[Question]) -> dict[int, list[bytes]]:
        keys = [text(key) for question in questions for key in question.keys]
        counts = dict(await (await connection.execute(SELECT, (keys,))).fetchall())
        return {
            id(question): question.counting.standing(
                question, [counts.get(text(key), 0) for key in question.keys]
            )
            for question in questions
        }

    async def _add(self, connection: Connection, costs: tuple[dict[str, int], dict[str, int]]) -> None:
        numbers, ends = costs
        keys = sorted(numbers)
        async with connection.transaction():
            await connection.execute(INSERT, (keys, [ends[key] for key in keys]))
            await connection.execute(LOCK, (keys,))
            await connection.execute(COUNT, (keys, [numbers[key] for key in keys]))

    async def _run(self, work: Any, subject: Any) -> Any:
        """Do something with the connection, which belongs to one at a time."""
        async with self._lock:
            task = asyncio.ensure_future(self._work(work, subject))
            try:
                await asyncio.wait([task], timeout=self._address.timeout)
                if task.done():
                    return task.result()
                raise TimeoutError("no answer in time")
            except (TimeoutError, psycopg.Error, OSError) as error:
                await self._drop_connection()
                shown = str(error).strip().partition("\n")[0] or type(error).__name__
                raise CannotCount(f"cannot count in {self._address}: {shown}") from error
            finally:
                # (With its connection gone: else the server would be asked to cancel what it does.)
                task.cancel()

    async def _work(self, work: Any, subject: Any) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = await self._address.connect_async()
        result = await work(self._connection, subject)
        await self._clean(self._connection)
        return result

    async def _clean(self, connection: Connection) -> None:
        now = time.monotonic()
        if self._cleans and now - self._cleaned > CLEANING_INTERVAL:
            self._cleaned = now
            await connection.execute(CLEAN, (int(time.time()) - KEPT_SECONDS,))

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()
            await connection.close()

    async def close(self) -> None:
        """Also the connection."""
        await super().close()
        await self._drop_connection()


class DatabaseWindows(AskedWindows):
    """Requests."""

    counts = True

    def ends(self, time_ns: int) -> list[int]:
        """When the windows end, seconds since the epoch."""
        windows = self.calendar.at(time_ns)
        return [windows[limit.period].end for limit in self.limits]

    def settle(self, question: Question, used: Sequence[int], granted: int) -> list[bytes]:
        """The answers when so many are granted."""
        remaining = [
            max(0, limit.amount - count - granted) for limit, count in zip(self.limits, used, strict=True)
        ]
        resets = self.resets(question.time_ns)
        return granted_answers(len(question.jobs), granted, remaining, resets, resets)


class DatabaseCosts(AskedCosts, DatabaseWindows):
    """Costs."""

    counts = False


def text(key: bytes) -> str:
    """A key as the database takes it: no NUL, and nothing that is not UTF-8."""
    return key.decode("utf-8", "backslashreplace").replace("\0", "\\0")

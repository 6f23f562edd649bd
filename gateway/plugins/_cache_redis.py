"""Stored responses in Redis, on the plugin thread: for proxy-cache and response-caching.

Requests wait for an answer, so it comes quickly or not at all: when Redis fails, those that wait go on
without it, and so do all others at once, until a look from time to time has found it well again. Each outage
is one line in the log. What is to be stored waits in a queue of limited size, over a connection of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from gateway.plugin_thread.context import Job, WorkerContext
from native.cache_image import (
    LONGEST_IMAGE,
    SharedCacheAnswer,
    SharedCacheVerb,
    read_image,
    split_question,
)

from ._cache_keys import LONGEST_LIFE_MS, PURGES, TAG_LIFE_MS, address_key, address_of, entry_key, tag_key
from ._redis_client import Command, RedisLink, RedisProblem

LONGEST_TIMEOUT = 500
"""Milliseconds for a step of looking something up, whatever the configuration allows: a request waits"""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between two looks for a Redis that has failed"""
MOST_TOGETHER = 32
"""entries that are asked for, or stored, in one batch"""
MOST_UNTOLD = 32 * 1024 * 1024
"""Bytes of entries that wait to be stored; what comes then is not stored in Redis"""
MOST_VOID = 1024
"""addresses that wait to be voided"""
SETTLING = 0.2
"""seconds in which what a node was about to store has arrived"""
COMPLAINT_INTERVAL = 60.0
"""seconds between two complaints that something cannot be stored"""
TAG_SLACK_MS = 60_000
"""that clocks of nodes may differ by"""

MISSING = bytes((SharedCacheAnswer.SHARED_MISSING,))
FOUND = bytes((SharedCacheAnswer.SHARED_FOUND,))
DOWN = bytes((SharedCacheAnswer.SHARED_DOWN,))


class Question(NamedTuple):
    """Who asks for which key of Redis."""

    key: bytes
    job: Job

    def answer(self, found: bytes) -> None:
        if not self.job.abandoned:
            self.job.finish(found)


class Entry(NamedTuple):
    """What is to be stored."""

    plugin_id: str
    image: bytes
    may_be_voided: bool
    """by unsafe requests for its address"""


class CacheHandler:
    """For both plugins."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._caches: dict[bytes, SharedCache] = {}
        """by the record `redis` of configurations"""

    def handle(self, job: Job) -> bytes | None:
        cache = self._cache(job.config["redis"])
        if job.verb == SharedCacheVerb.VERB_FIND:
            key, _ = split_question(job.payload)
            return cache.find(Question(entry_key(job.plugin_id, key), job))
        if job.verb == SharedCacheVerb.VERB_VOID:
            cache.void(job.plugin_id, job.payload)
        else:
            cache.store(Entry(job.plugin_id, job.payload, bool(job.config.get("cache_control"))))
        return b""

    def _cache(self, redis: Mapping[str, Any]) -> SharedCache:
        key = msgspec.json.encode(redis, order="sorted")
        if key not in self._caches:
            self._caches[key] = SharedCache(redis, self._context)
        return self._caches[key]

    async def close(self) -> None:
        """Store what is left."""
        for cache in self._caches.values():
            await cache.close()


class SharedCache:
    """One Redis, as a worker uses it."""

    def __init__(self, redis: Mapping[str, Any], context: WorkerContext) -> None:
        timeout = min(redis.get("timeout") or LONGEST_TIMEOUT, LONGEST_TIMEOUT)
        self._asking = RedisLink({**redis, "timeout": timeout}, context.settings)
        self._telling = RedisLink(redis, context.settings)
        self._context = context
        self._is_down = False
        self._questions: list[Question] = []
        self._untold: deque[Entry] = deque()
        self._untold_bytes = 0
        self._void: dict[tuple[str, bytes], None] = {}
        """plugins and addresses"""
        self._complained = -COMPLAINT_INTERVAL
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """what is going on: asking, telling, looking"""

    # --- asking ---------------------------------------------------------------------------------------

    def find(self, question: Question) -> bytes | None:
        """Ask together with others. The answer, when it is known at once."""
        if self._is_down:
            return DOWN
        self._questions.append(question)
        self._begin("ask", self._ask_all)
        return None

    async def _ask_all(self) -> None:
        while self._questions:
            batch, self._questions = self._questions[:MOST_TOGETHER], self._questions[MOST_TOGETHER:]
            await self._ask([question for question in batch if not question.job.abandoned])

    async def _ask(self, batch: Sequence[Question]) -> None:
        # What somebody else has put there may be of any size.
        commands: list[Command] = [("GETRANGE", question.key, 0, LONGEST_IMAGE - 1) for question in batch]
        try:
            answers = await self._asking.send(commands) if commands else []
        except RedisProblem as problem:
            answers = [problem] * len(batch)
        for question, found in zip(batch, answers, strict=True):
            if isinstance(found, bytes):
                question.answer(FOUND + found if found else MISSING)
            elif is_of_another_type(found):
                question.answer(MISSING)
            else:
                self._go_down(found)
                question.answer(DOWN)
        if self._is_down:
            waiting, self._questions = self._questions, []
            for question in waiting:
                question.answer(DOWN)

    # --- storing --------------------------------------------------------------------------------------

    def store(self, entry: Entry) -> None:
        """Store it soon, or not at all."""
        if self._is_down or self._untold_bytes + len(entry.image) > MOST_UNTOLD:
            return
        self._untold.append(entry)
        self._untold_bytes += len(entry.image)
        self._begin("tell", self._tell_all)

    async def _tell_all(self) -> None:
        while self._untold and not self._is_down:
            batch = [self._untold.popleft() for _ in range(min(MOST_TOGETHER, len(self._untold)))]
            self._untold_bytes -= sum(len(entry.image) for entry in batch)
            try:
                await self._tell(batch)
            except RedisProblem as problem:
                self._go_down(problem)
        if self._is_down:
            self._untold.clear()
            self._untold_bytes = 0

    async def _tell(self, batch: Sequence[Entry]) -> None:
        # A purge by tag must find what there is: first the tags.
        tagged: list[Command] = []
        owners: list[int] = []
        stored: dict[int, Command] = {}
        now = time.time_ns() // 1_000_000
        for index, entry in enumerate(batch):
            image = read_image(entry.image)
            life = 0 if image is None else min(image["keep_until_ms"] - now, LONGEST_LIFE_MS)
            if image is None or life <= 0:
                continue
            key = image["key"]
            stored[index] = ("SET", entry_key(entry.plugin_id, key), entry.image, "PX", life)
            sets = [tag_key(entry.plugin_id, tag) for tag in dict.fromkeys(image["tags"])]
            if entry.may_be_voided:
                sets.append(address_key(entry.plugin_id, address_of(image["full_key"])))
            for name in sets:
                commands = tag_commands(name, key, now, now + life)
                tagged += commands
                owners += [index] * len(commands)
        if tagged:
            for index, answer in zip(owners, await self._telling.send(tagged), strict=True):
                if isinstance(answer, Exception):
                    self._complain(answer)
                    stored.pop(index, None)
        if stored:
            for answer in await self._telling.send(list(stored.values())):
                if isinstance(answer, Exception):
                    self._complain(answer)

    def _complain(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._complained >= COMPLAINT_INTERVAL:
            self._complained = now
            self._context.log.error(f"cached responses: {self._telling.name} does not store them: {error}")

    # --- voiding --------------------------------------------------------------------------------------

    def void(self, plugin_id: str, address: bytes) -> None:
        """An unsafe request has changed what is at an address: no node has it any more, soon."""
        if self._is_down or len(self._void) >= MOST_VOID:
            return
        self._void[plugin_id, address] = None
        self._begin("void", self._void_all)

    async def _void_all(self) -> None:
        """As a purge (gateway.stored_responses): first, nobody stores any more what was fetched before; then
        it goes; then what was taken from here in between."""
        while self._void and not self._is_down:
            batch, self._void = list(self._void), {}
            try:
                await self._publish(batch)
                await asyncio.sleep(SETTLING)
                await self._remove(batch)
                await self._publish(batch)
            except RedisProblem as problem:
                self._go_down(problem)

    async def _publish(self, batch: Sequence[tuple[str, bytes]]) -> None:
        texts = [address.decode("latin-1") for _, address in batch]
        messages = [msgspec.json.encode({"address": text, "sender": ""}) for text in texts]
        await self._telling.send([("PUBLISH", PURGES, message) for message in messages])

    async def _remove(self, batch: Sequence[tuple[str, bytes]]) -> None:
        asked: list[Command] = [("ZRANGE", address_key(*one), 0, -1) for one in batch]
        found = await self._telling.send(asked)
        removed: list[Command] = [
            ("UNLINK", entry_key(plugin_id, key.decode("latin-1")))
            for (plugin_id, _), keys in zip(batch, found, strict=True)
            if isinstance(keys, list)
            for key in keys
        ]
        if removed:
            await self._telling.send(removed)

    # --- outages --------------------------------------------------------------------------------------

    def _go_down(self, problem: Exception) -> None:
        if self._is_down:
            return
        self._is_down = True
        name = self._asking.name
        text = str(problem) if isinstance(problem, RedisProblem) else f"{name}: {problem}"
        self._context.log.error(f"cached responses: {text}; going on without it")
        self._begin("look", self._look)

    async def _look(self) -> None:
        """Until it answers again."""
        pause = FIRST_PAUSE
        while self._is_down:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                (found,) = await self._asking.send([("GETRANGE", entry_key("none", "none"), 0, 0)])
            except RedisProblem:
                continue
            if not isinstance(found, Exception):
                self._is_down = False
                self._context.log.notice(f"cached responses: {self._asking.name} can be used again")

    # --- the rest -------------------------------------------------------------------------------------

    def _begin(self, name: str, work: Any) -> None:
        """Let something run unless it runs already."""
        if name not in self._tasks:
            self._tasks[name] = self._context.loop.create_task(self._run(name, work()))

    async def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            del self._tasks[name]

    async def close(self) -> None:
        """Store what waits, and close the connections."""
        if look := self._tasks.get("look"):
            look.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._asking.close()
        await self._telling.close()


def tag_commands(tag: bytes, key: str, now_ms: int, until_ms: int) -> list[Command]:
    """Note in the set of a tag that an entry has it, and forget those that are over."""
    return [
        ("ZREMRANGEBYSCORE", tag, "-inf", now_ms - TAG_SLACK_MS),
        ("ZADD", tag, until_ms, key),
        ("PEXPIRE", tag, TAG_LIFE_MS),
    ]


def is_of_another_type(error: Any) -> bool:
    """Whether somebody else has put something of another type there."""
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")

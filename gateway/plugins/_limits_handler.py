"""What counts for rate-limiting and response-ratelimiting on the plugin thread.

Redis and PostgreSQL are asked in batches: what requests of this worker ask at the same time goes together
and the next batch is gathered while the answer to one is on its way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.plugin_thread.context import Job, WorkerContext
from native.limiter import LimitTable
from native.steps.limiting import LimitVerb

from ._limits_counting import (
    Asked,
    Calendar,
    CountedLimit,
    Counting,
    limits_of,
    named_limits_of,
    packed_scope,
)
from ._limits_redis import (
    FixedWindows,
    RedisCosts,
    RedisQuestions,
    SlidingWindows,
    TokenBuckets,
    ToldWindows,
)
from ._redis_client import RedisLink

if TYPE_CHECKING:
    from ._limits_database import DatabaseQuestions

MOST_CONFIGURATIONS = 1024
"""that are kept; when there are more, the oldest go"""
COMPLAINT_INTERVAL = 1.0
"""seconds between two complaints about the same"""


class LimitsHandler:
    """For both plugins."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._table = LimitTable(context.shared)
        self._calendar = Calendar(self._table)
        self._redis: dict[bytes, RedisQuestions] = {}
        """by the record `redis` of configurations"""
        self._database: DatabaseQuestions | None = None
        self._countings: dict[int, tuple[Any, Counting]] = {}
        """by id() of decoded configurations, which are kept so that it stays theirs"""
        self._complaints: dict[str, float] = {}

    def handle(self, job: Job) -> bytes | None:
        """Answered at once is what nobody waits for; the rest later, together with others."""
        known = self._countings.get(id(job.config))
        counting = known[1] if known else self._make_counting(job)
        asked = Asked.read(job.payload)
        if job.verb == LimitVerb.VERB_ADMIT:
            counting.admit(job, asked)
            return None
        if job.verb == LimitVerb.VERB_LOOK:
            counting.look(job, asked)
            return None
        if job.verb == LimitVerb.VERB_ADD:
            counting.add(asked)
        else:
            counting.tell(asked)
        return b""

    def _make_counting(self, job: Job) -> Counting:
        if len(self._countings) >= MOST_CONFIGURATIONS:
            _, old = self._countings.pop(next(iter(self._countings)))
            self._context.loop.create_task(old.close())
        counting = self._counting(job.config, packed_scope(job.plugin.packed))
        self._countings[id(job.config)] = (job.config, counting)
        return counting

    def _counting(self, config: Mapping[str, Any], scope: str) -> Counting:
        limits = named_limits_of(config) if "limits" in config else limits_of(config)
        if config["policy"] == "cluster":
            return self._database_counting(scope, limits, has_costs="limits" in config)
        redis = self._redis_questions(config["redis"])
        if "limits" in config:
            return RedisCosts(redis, self._calendar, scope, limits)
        if config.get("algorithm") == "sliding-window":
            return SlidingWindows(redis, self._calendar, scope, limits)
        if config.get("algorithm") == "token-bucket":
            return TokenBuckets(redis, self._calendar, scope, limits, config.get("burst"))
        windows = FixedWindows(redis, self._calendar, scope, limits)
        if config["sync_rate"] == -1:
            return windows
        return ToldWindows(windows, self._table, config["sync_rate"])

    def _redis_questions(self, redis: Mapping[str, Any]) -> RedisQuestions:
        key = msgspec.json.encode(redis, order="sorted")
        if key not in self._redis:
            link = RedisLink(redis, self._context.settings)
            self._redis[key] = RedisQuestions(link, self._complain)
        return self._redis[key]

    def _database_counting(self, scope: str, limits: list[CountedLimit], *, has_costs: bool) -> Counting:
        # What speaks with databases takes a while to import.
        from gateway.store.sql.connections import Address

        from ._limits_database import DatabaseCosts, DatabaseQuestions, DatabaseWindows

        if self._database is None:
            address = Address.from_settings(self._context.settings)
            self._database = DatabaseQuestions(address, self._complain, cleans=self._context.worker == 0)
        kind = DatabaseCosts if has_costs else DatabaseWindows
        return kind(self._database, self._calendar, scope, limits)

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._complaints.get(text, -COMPLAINT_INTERVAL) >= COMPLAINT_INTERVAL:
            self._complaints = {text: now}
            self._context.log.error(f"rate limits: {text}")

    async def close(self) -> None:
        """Count and tell what is left."""
        for _, counting in self._countings.values():
            await counting.close()
        for questions in (*self._redis.values(), self._database):
            if questions is not None:
                await questions.close()

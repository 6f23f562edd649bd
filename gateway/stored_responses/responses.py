"""Stored responses, wherever they are, and purging them on every node.

A purge goes to the other nodes by cluster events (those with the same database) and through each Redis that
is used for responses (those that share that Redis alone), and is done here. Where responses are in Redis,
this happens twice: first, so that no node has anything under way that would bring back what is to go; then,
a moment later, it is removed from Redis; and then once more, for what was taken from there in between.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.cluster import ClusterEvents
from gateway.entities.plugins import Plugin
from gateway.settings import Settings
from gateway.store import Configuration
from gateway.store.errors import StoreUnavailable
from native.shm import SharedState

from .first_level import FirstLevel
from .purges import CacheUnavailable, InvalidPurge, Purge, purge_of

if TYPE_CHECKING:
    from native.cache_image import ReadImage
    from native.cache_store import StoredResponse

    from .redis_cache import RedisCache

log = logging.getLogger(__name__)

CHANNEL = "stored-responses"
PLUGINS = ("proxy-cache", "response-caching")
SETTLING = 0.2
"""Seconds in which what a node has handed to Redis before it heard of a purge arrives there"""


class PurgeProblem(Exception):
    """Not everything has gone everywhere; it can be tried again. The text says what is wrong."""


class StoredResponses:
    """Of one node. Belongs to the event loop of the control process."""

    def __init__(self, shared: SharedState, events: ClusterEvents, settings: Settings) -> None:
        self._events = events
        self._settings = settings
        self._first_level = FirstLevel(shared)
        self._sender = secrets.token_hex(8)
        self._configuration = Configuration.EMPTY
        self._redis: dict[bytes, RedisCache] = {}
        """by the record `redis` of plugins"""
        self._users: dict[bytes, list[str]] = {}
        """ids of the plugins that use it"""
        self._closing: set[asyncio.Task[None]] = set()
        events.subscribe(CHANNEL, self._apply_others, self._apply_unknown)

    def statistics(self) -> Mapping[str, int]:
        """Numbers of the store of this node (CacheView.statistics). Any thread."""
        return self._first_level.statistics()

    # --- which Redis ----------------------------------------------------------------------------------

    def follow(self, configuration: Configuration) -> None:
        """Use what the plugins of a configuration say."""
        if configuration is self._configuration:
            return
        self._configuration = configuration
        records: dict[bytes, Mapping[str, Any]] = {}
        users = defaultdict(list)
        for plugin in self.plugins():
            if plugin.enabled and plugin.config.get("strategy") == "redis":
                record = msgspec.to_builtins(plugin.config["redis"])
                place = msgspec.json.encode(record, order="sorted")
                records[place] = record
                users[place].append(plugin.id)
        self._users = dict(users)
        for place in self._redis.keys() - records.keys():
            task = asyncio.get_running_loop().create_task(self._redis.pop(place).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for place in records.keys() - self._redis.keys():
            self._use(place, records[place])

    def _use(self, place: bytes, record: Mapping[str, Any]) -> None:
        # (Its library takes a while to import.)
        from .redis_cache import RedisCache

        cache = RedisCache(record, self._settings)
        cache.listen(self._apply_others)
        self._redis[place] = cache

    def plugins(self) -> list[Plugin]:
        """Those that store responses."""
        every = self._configuration.of("plugins").values()
        return [plugin for plugin in every if isinstance(plugin, Plugin) and plugin.name in PLUGINS]

    # --- looking --------------------------------------------------------------------------------------

    async def find(self, key: str, plugin_id: str | None = None) -> StoredResponse | ReadImage | None:
        """The response with a key, of any plugin or one. Raises CacheUnavailable when a Redis that may have
        it does not answer."""
        found = await asyncio.to_thread(self._first_level.get, key)
        if found is not None and Purge(plugin=plugin_id).chooses(found["full_key"]):
            return found
        for place, users in self._users.items():
            for user in users if plugin_id is None else {plugin_id}.intersection(users):
                image = await self._redis[place].find(user, key)
                if image is not None:
                    return image
        return None

    # --- purging --------------------------------------------------------------------------------------

    async def purge(self, purge: Purge) -> None:
        """Remove what is to go, on every node and in every Redis. Raises PurgeProblem."""
        problems = await self._tell(purge)
        concerned = {
            place: [user for user in users if purge.plugin in (None, user)]
            for place, users in self._users.items()
        }
        concerned = {place: users for place, users in concerned.items() if users}
        if concerned:
            await asyncio.sleep(SETTLING)
            for place, users in concerned.items():
                if (cache := self._redis.get(place)) is not None:
                    try:
                        await cache.remove(users, purge)
                    except CacheUnavailable as problem:
                        problems.append(str(problem))
            problems += await self._tell(purge)
        if problems:
            raise PurgeProblem("; ".join(dict.fromkeys(problems)))

    async def _tell(self, purge: Purge) -> list[str]:
        """Have it done on every node, this one included. What went wrong."""
        problems = []
        message = {**purge.document(), "sender": self._sender}
        try:
            await self._events.publish(CHANNEL, message)
        except StoreUnavailable as error:
            log.error("a purge does not reach other nodes: %s", error)
            problems.append("the database is not available: other nodes were not told")
        for cache in list(self._redis.values()):
            try:
                await cache.publish(message)
            except CacheUnavailable as problem:
                problems.append(str(problem))
        await asyncio.to_thread(self._first_level.apply, purge)
        return problems

    async def _apply_others(self, message: Mapping[str, Any]) -> None:
        """What a node has published."""
        if message.get("sender") == self._sender:
            return
        try:
            purge = purge_of(message)
        except InvalidPurge as error:
            log.error("a purge of another node cannot be done: %s", error)
            return
        await asyncio.to_thread(self._first_level.apply, purge)

    async def _apply_unknown(self) -> None:
        """Other nodes have purged something, and this one has missed what."""
        await asyncio.to_thread(self._first_level.apply, Purge())

    async def close(self) -> None:
        """Close the connections."""
        self._users = {}
        caches, self._redis = self._redis, {}
        await asyncio.gather(*(cache.close() for cache in caches.values()), *self._closing)

"""The responses in a Redis that nodes share, and what they tell each other there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from gateway.plugins._cache_keys import PURGES, entry_key, entry_pattern, tag_key
from gateway.plugins._redis_client import describe, make_client
from gateway.settings import Settings
from native.cache_image import LONGEST_IMAGE, read_full_key, read_image

from .purges import VARIANT, CacheUnavailable, Purge, without_variants

if TYPE_CHECKING:
    from native.cache_image import ReadImage

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""seconds that a purge may take; many keys take some"""
LOOKUP_PATIENCE = 5.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""seconds between two attempts to listen"""
SILENCE = 10.0
"""seconds without a message after which the connection is tested"""
SCANNED = 500
"""keys that are looked at, or removed, together"""
KEY_ROOM = 8192
"""bytes of an image in which its full key nearly always ends"""


class RedisCache:
    """One Redis. Belongs to the event loop of the control process."""

    def __init__(self, redis: Mapping[str, Any], settings: Settings) -> None:
        self.name = describe(redis)
        self._redis = redis
        self._settings = settings
        self._client = make_client(redis, settings)
        self._listening: asyncio.Task[None] | None = None

    # --- what is stored -------------------------------------------------------------------------------

    async def find(self, plugin_id: str, key: str) -> ReadImage | None:
        """The response with a key. Raises CacheUnavailable."""
        async with self._bounded(LOOKUP_PATIENCE):
            found = await self._client.getrange(entry_key(plugin_id, key), 0, LONGEST_IMAGE - 1)
            image = read_image(as_bytes(found))
        return image if image is not None and image["key"] == key else None

    async def remove(self, plugin_ids: Iterable[str], purge: Purge) -> None:
        """Remove what is to go, of these plugins. Raises CacheUnavailable; some of it may have gone then."""
        async with self._bounded(PATIENCE):
            for plugin_id in plugin_ids:
                if purge.key is not None:
                    await self._remove_key(plugin_id, purge.key)
                elif purge.tags:
                    await self._remove_tagged(plugin_id, purge.octets)
                elif purge.is_of_addresses:
                    await self._remove_chosen(plugin_id, purge.chooses)
                else:
                    await self._remove_chosen(plugin_id, None)

    async def _remove_key(self, plugin_id: str, key: str) -> None:
        name = entry_key(plugin_id, key)
        image = read_image(as_bytes(await self._client.getrange(name, 0, LONGEST_IMAGE - 1)))
        await self._client.unlink(name)
        if image is not None and (image["vary_count"] or VARIANT in image["full_key"]):
            base = without_variants(image["full_key"])
            await self._remove_chosen(plugin_id, lambda full_key: without_variants(full_key) == base)

    async def _remove_tagged(self, plugin_id: str, tags: Iterable[bytes]) -> None:
        for tag in tags:
            keys = await self._client.zrange(tag_key(plugin_id, tag), 0, -1)
            names = [entry_key(plugin_id, as_bytes(key).decode("latin-1")) for key in keys]
            for begin in range(0, len(names), SCANNED):
                await self._unlink(names[begin : begin + SCANNED])

    async def _remove_chosen(self, plugin_id: str, chooses: Callable[[bytes], bool] | None) -> None:
        """Those whose full key is chosen; None: all."""
        names: list[bytes] = []
        async for name in self._client.scan_iter(match=entry_pattern(plugin_id), count=SCANNED):
            names.append(as_bytes(name))
            if len(names) >= SCANNED:
                await self._unlink(await self._chosen(names, chooses))
                names = []
        await self._unlink(await self._chosen(names, chooses))

    async def _chosen(self, names: list[bytes], chooses: Callable[[bytes], bool] | None) -> list[bytes]:
        if chooses is None:
            return names
        beginnings = await asyncio.gather(*(self._client.getrange(name, 0, KEY_ROOM - 1) for name in names))
        chosen = []
        for name, beginning in zip(names, beginnings, strict=True):
            full_key = read_full_key(as_bytes(beginning))
            if full_key is None:
                full_key = read_full_key(as_bytes(await self._client.getrange(name, 0, LONGEST_IMAGE - 1)))
            # What is no image is good for nothing.
            if full_key is None or chooses(full_key):
                chosen.append(name)
        return chosen

    async def _unlink(self, names: list[bytes]) -> None:
        if not names:
            return
        if isinstance(self._client, RedisCluster):  # they lie on different servers
            await asyncio.gather(*(self._client.unlink(name) for name in names))
        else:
            await self._client.unlink(*names)

    @asynccontextmanager
    async def _bounded(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise CacheUnavailable(f"{self.name} did not answer in time") from error
        except (OSError, RedisError) as error:
            raise CacheUnavailable(f"{self.name}: {error or type(error).__name__}") from error

    # --- what nodes tell each other -------------------------------------------------------------------

    async def publish(self, message: Mapping[str, Any]) -> None:
        """Tell all nodes that listen, this one too. Raises CacheUnavailable."""
        async with self._bounded(LOOKUP_PATIENCE):
            await self._client.execute_command("PUBLISH", PURGES, msgspec.json.encode(message))

    def listen(self, apply: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Begin to call `apply` with what nodes publish, until close()."""
        self._listening = asyncio.get_running_loop().create_task(
            self._listen(apply), name="purges through Redis"
        )

    async def _listen(self, apply: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._listener() as client, client.pubsub() as pubsub:
                    await pubsub.subscribe(PURGES)
                    while True:
                        message = await pubsub.get_message(timeout=SILENCE)
                        pause = FIRST_PAUSE
                        if message is None:
                            await pubsub.ping()
                        elif message["type"] == "message":
                            await self._deliver(message["data"], apply)
            except (OSError, RedisError) as error:
                log.debug("listening for purges at %s: %s", self.name, error)
            except Exception:
                log.exception("listening for purges at %s", self.name)
            # What was missed meanwhile is in the first level of this node, for a few seconds.
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    @asynccontextmanager
    async def _listener(self) -> AsyncIterator[Redis]:
        """A client for one server: in a cluster any of them, as they tell each other."""
        if not isinstance(self._client, RedisCluster):
            yield self._client
            return
        await self._client.initialize()
        node = self._client.get_random_node()
        alone = {**self._redis, "host": node.host, "port": int(node.port), "cluster_nodes": None}
        client = make_client(alone, self._settings)
        assert isinstance(client, Redis)
        try:
            yield client
        finally:
            await client.aclose()

    async def _deliver(self, data: Any, apply: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        try:
            message = msgspec.json.decode(data)
        except (msgspec.DecodeError, TypeError):
            message = None
        if isinstance(message, dict):
            await apply(message)
        else:
            log.warning("%s: a message on the channel %s cannot be read", self.name, PURGES)

    async def close(self) -> None:
        """Listen no longer, and close the connections."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._client.aclose()


def as_bytes(value: Any) -> bytes:
    """What the client gives for a string of Redis."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")

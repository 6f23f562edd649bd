"""What the plugins that store responses can be configured with, and how workers read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Array, Boolean, Integer, Number, Text
from gateway.entities.record import Group, Record, RecordCheck
from gateway.entities.value_checks import control_character_problem, header_name_problem
from native.cache_control import canonical_media_type
from native.steps.proxy_cache import pack_config

from ._fields import texts_field
from ._redis import Redis, host_check, redis_problem

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

STRATEGIES = ("memory", "redis")
STRATEGY = Text(
    "Where responses are stored: on this node, or in a Redis that nodes share.",
    required=True,
    one_of=STRATEGIES,
)
METHODS = ("HEAD", "GET", "POST", "PATCH", "PUT")
"""those whose responses may be stored"""
COALESCE_TIMEOUT = 5.0
"""seconds"""
HANDLER = "gateway.plugins._cache_redis:CacheHandler"
"""what looks into Redis, on the plugin thread"""
LOOKUP_DEADLINE = 3.0
"""seconds that a request waits for that; then it goes on without the cache"""


def media_type_problem(text: str) -> str | None:
    """What is wrong with a piece of a text in a form that would be one of several content types, or None."""
    return None if canonical_media_type(text.encode()) else "expected a content type"


class Memory(Record, frozen=True, kw_only=True):
    """Kong's name of the memory. Here, there is one for all (MEM_CACHE_SIZE), whatever the name."""

    dictionary_name: Annotated[
        str, Text("Kept for Kong's sake; all plugins share one memory.", required=True)
    ] = "kong_db_cache"


class ResponseHeaders(
    Record,
    frozen=True,
    kw_only=True,
    rename={"cache_status": "X-Cache-Status", "cache_key": "X-Cache-Key"},
):
    """What clients are told."""

    age: Annotated[bool | None, Boolean("How old a stored response is, in seconds.")] = True
    cache_status: Annotated[bool | None, Boolean("Whether it was stored: Hit, Miss, Refresh, Bypass.")] = True
    cache_key: Annotated[bool | None, Boolean("The key that it is stored under, for the Admin API.")] = True


class CachingConfig(Record, frozen=True, kw_only=True):
    """Which responses are stored, for how long, and what tells them apart."""

    response_code: Annotated[
        list[int],
        Array(
            "Statuses of responses that are stored.",
            required=True,
            len_min=1,
            elements=Integer("A status.", between=(100, 900)),
        ),
    ] = msgspec.field(default_factory=lambda: [200, 301, 404])
    request_method: Annotated[
        list[str],
        Array(
            "Methods of requests whose responses are stored.",
            required=True,
            elements=Text("A method.", one_of=METHODS),
        ),
    ] = msgspec.field(default_factory=lambda: ["GET", "HEAD"])
    content_type: Annotated[
        list[str],
        Array(
            "Content types of responses that are stored, with their parameters; `*` stands for any type.",
            required=True,
            elements=Text("A content type.", rule=control_character_problem),
            pieces=media_type_problem,
        ),
    ] = msgspec.field(default_factory=lambda: ["text/plain", "application/json"])
    cache_ttl: Annotated[int | None, Integer("Seconds for which a stored response is used.", gt=0)] = 300
    strategy: Annotated[str, STRATEGY]
    cache_control: Annotated[
        bool, Boolean("Whether what RFC 9111 says about Cache-Control is done.", required=True)
    ] = False
    ignore_uri_case: Annotated[
        bool | None, Boolean("Whether paths that differ in case only are the same.", required=False)
    ] = False
    storage_ttl: Annotated[
        int | None,
        Integer(
            "Seconds for which a response is kept, also when it may no longer be used; none, 0: as long as "
            "it may.",
            gt=-1,
        ),
    ] = None
    memory: Annotated[Memory, Group("The memory of the strategy `memory`.", required=True, record=Memory)] = (
        msgspec.field(default_factory=Memory)
    )
    vary_query_params: Annotated[
        list[str] | None,
        texts_field("Query arguments that tell responses apart; none: all.", "The name of an argument."),
    ] = None
    vary_headers: Annotated[
        list[str] | None,
        Array(
            "Header fields of requests that tell responses apart.",
            elements=Text("The name of a header.", rule=header_name_problem),
        ),
    ] = None
    response_headers: Annotated[
        ResponseHeaders, Group("What clients are told.", required=True, record=ResponseHeaders)
    ] = msgspec.field(default_factory=ResponseHeaders)
    redis: Annotated[
        Redis | None, Group("The Redis server of the strategy `redis`.", record=Redis, extension=True)
    ] = None
    cache_set_cookie: Annotated[
        bool | None,
        Boolean("Whether responses that set cookies are stored, cookies included.", extension=True),
    ] = None
    ignore_cookies: Annotated[
        bool | None,
        Boolean(
            "Whether requests with different cookies get the same stored response.",
            extension=True,
        ),
    ] = None
    coalesce_timeout: Annotated[
        float | None,
        Number(
            "Seconds that requests wait for the response to one that is fetched already; none: 5, 0: never.",
            between=(0, 300),
            extension=True,
        ),
    ] = None

    def problem(self) -> str | None:
        """The fields of `redis` fit each other."""
        if self.redis is None:
            return None
        if self.redis.port is None or self.redis.timeout is None:
            return "redis.port and redis.timeout are needed"
        return redis_problem(self.redis)


CHECKS: tuple[RecordCheck, ...] = (host_check("config.strategy"),)


def needs_handler(config: CachingConfig) -> bool:
    """Whether Redis is asked."""
    return config.strategy == "redis"


def pack(config: CachingConfig, plugin: Plugin) -> bytes:
    """What the step reads."""
    shown = config.response_headers
    coalesce = COALESCE_TIMEOUT if config.coalesce_timeout is None else config.coalesce_timeout
    return pack_config(
        scope=plugin.id,
        statuses=sorted(set(config.response_code)),
        methods=config.request_method,
        media_types=[canonical_media_type(text.encode()) for text in config.content_type],
        cache_ttl=config.cache_ttl or 300,
        storage_ttl=config.storage_ttl or 0,
        arguments=[name.encode() for name in config.vary_query_params or ()],
        headers=sorted({name.lower().encode() for name in config.vary_headers or ()}),
        cache_control=config.cache_control,
        ignore_case=bool(config.ignore_uri_case),
        shared=needs_handler(config),
        show_age=bool(shown.age),
        show_status=bool(shown.cache_status),
        show_key=bool(shown.cache_key),
        with_cookies=bool(config.cache_set_cookie),
        ignore_cookies=bool(config.ignore_cookies),
        coalesce_ms=round(1000 * coalesce),
    )

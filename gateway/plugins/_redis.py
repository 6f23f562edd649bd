"""Where a plugin's Redis is: the record `redis` of a configuration, and its old flat fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from gateway.entities import texts
from gateway.entities.fields import Array, Boolean, Errors, Field, Integer, Text
from gateway.entities.record import Group, Record, shape_of
from gateway.entities.record_checks import Conditional
from gateway.entities.value_checks import server_name_problem

from ._node import has_database

LONGEST_TIMEOUT = 2**31 - 2
PORT = Integer("Its port.", between=(0, 65535))


class Node(Record, frozen=True, kw_only=True):
    """One of several Redis servers, or sentinels."""

    host: Annotated[str, Text("The host.", required=True)]
    port: Annotated[int, PORT] = 6379


class Redis(Record, frozen=True, kw_only=True):
    """A Redis server, or a group of them."""

    host: Annotated[str | None, Text("The host.")] = None
    port: Annotated[int | None, PORT] = 6379
    timeout: Annotated[
        int | None, Integer("Milliseconds to connect, send and receive in.", between=(0, LONGEST_TIMEOUT))
    ] = 2000
    username: Annotated[str | None, Text("The user.", referenceable=True)] = None
    password: Annotated[
        str | None, Text("The password; empty: none.", len_min=0, referenceable=True, encrypted=True)
    ] = None
    database: Annotated[int | None, Integer("The number of the database.")] = 0
    ssl: Annotated[bool | None, Boolean("Whether to use TLS.", required=False)] = False
    ssl_verify: Annotated[
        bool | None, Boolean("Whether the server's certificate must be trusted.", required=False)
    ] = False
    server_name: Annotated[
        str | None,
        Text("The server name (SNI) to ask for.", required=False, rule=server_name_problem),
    ] = None
    sentinel_master: Annotated[
        str | None, Text("The name of the group that the sentinels watch.", extension=True)
    ] = None
    sentinel_nodes: Annotated[
        list[Node] | None,
        Array("The sentinels, instead of `host`.", elements=Group("One.", record=Node), extension=True),
    ] = None
    sentinel_username: Annotated[
        str | None, Text("The user of the sentinels.", referenceable=True, extension=True)
    ] = None
    sentinel_password: Annotated[
        str | None,
        Text("The password of the sentinels.", referenceable=True, encrypted=True, extension=True),
    ] = None
    cluster_nodes: Annotated[
        list[Node] | None,
        Array(
            "Some servers of a cluster, instead of `host`.",
            elements=Group("One.", record=Node),
            extension=True,
        ),
    ] = None


REDIS = Group("The Redis server of the policy `redis`.", required=True, record=Redis)
POLICIES = ("local", "cluster", "redis")
WITHOUT_DATABASE = ("local", "redis")


def _policy_problem(policy: str) -> str | None:
    if has_database() or policy in WITHOUT_DATABASE:
        return None
    return texts.one_of(WITHOUT_DATABASE)


POLICY = Text("Where is counted.", one_of=POLICIES, rule=_policy_problem)


def _flat(name: str, kind: type[Text] | type[Integer] | type[Boolean]) -> Field:
    field = shape_of(Redis).fields[name]
    shared: dict[str, Any] = {"encrypted": field.encrypted}
    if isinstance(field, Text):
        shared["len_min"] = field.len_min
    return kind(field.doc, stands_for=(f"redis.{name}",), removed_in="4.0", **shared)


FLAT_FIELDS: Mapping[str, Field] = {
    "redis_host": _flat("host", Text),
    "redis_port": _flat("port", Integer),
    "redis_password": _flat("password", Text),
    "redis_username": _flat("username", Text),
    "redis_ssl": _flat("ssl", Boolean),
    "redis_ssl_verify": _flat("ssl_verify", Boolean),
    "redis_server_name": _flat("server_name", Text),
    "redis_timeout": _flat("timeout", Integer),
    "redis_database": _flat("database", Integer),
}
"""`redis_host` for `redis.host` …: accepted and shown, as Kong does up to 4.0."""


class _ServerNeeded(Conditional):
    """A rule about the one server, where the configuration does not name several."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not (values.get("config.redis.sentinel_nodes") or values.get("config.redis.cluster_nodes")):
            super().run(values, errors)


def redis_checks() -> tuple[Conditional, ...]:
    """With the policy `redis` it must be known where that is."""
    return (
        host_check("config.policy"),
        _ServerNeeded("config.policy", if_equal="redis", then_field="config.redis.port", then_required=True),
        Conditional("config.policy", if_equal="redis", then_field="config.redis.timeout", then_required=True),
    )


def host_check(switch: str) -> Conditional:
    """When the field `switch` is `redis`, there must be a host."""
    return _ServerNeeded(switch, if_equal="redis", then_field="config.redis.host", then_required=True)


def redis_problem(redis: Redis) -> str | None:
    """What does not fit each other in the record."""
    if redis.sentinel_nodes and redis.cluster_nodes:
        return "redis.sentinel_nodes and redis.cluster_nodes cannot be used together"
    if redis.sentinel_nodes and not redis.sentinel_master:
        return "redis.sentinel_nodes needs redis.sentinel_master"
    if redis.cluster_nodes and redis.database:
        return "redis.database must be 0 with redis.cluster_nodes"
    return None

"""What the Admin API tells about its own shape in Kong's form, held against what Kong told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from asgi_client import Node, ask, with_node

from gateway.admin.kong_schemas import record_fields
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Array, Integer, Map, Number, Set, Text
from gateway.entities.record import Group, Record, RecordCheck
from gateway.entities.record_checks import AllOrNoneOf, AtLeastOneOf, Conditional, OnlyOneOrNoneOf
from gateway.plugins import AVAILABLE, PluginDefinition
from gateway.store.documents import read_yaml
from tests.support.conformance import MATERIAL, load_runner

RECORDED = (
    "schema-404",
    "schema-consumers",
    "schema-keyauth_credentials",
    "schema-plugin-jwt",
    "schema-plugin-key-auth",
    "schema-plugin-rate-limiting",
    "schema-plugin-request-transformer",
    "schema-services",
    "schema-upstreams",
)
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Redis(Record, frozen=True, kw_only=True):
    """A server to count in."""

    record_checks: ClassVar[tuple[RecordCheck, ...]] = (AllOrNoneOf(("user", "password")),)

    host: Annotated[str | None, Text("Where it is.")] = None
    user: Annotated[str | None, Text("A name.", referenceable=True)] = None
    password: Annotated[str | None, Text("A secret.", referenceable=True, encrypted=True)] = None


class LimitConfig(Record, frozen=True, kw_only=True):
    """A configuration with records, shorthands and rules of all kinds."""

    shorthands: ClassVar[dict[str, Any]] = {
        "redis_host": Text("The older name.", stands_for=("redis.host",), removed_in="4.0")
    }
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (OnlyOneOrNoneOf(("minute", "hour")),)

    minute: Annotated[float | None, Number("Requests a minute.", gt=0)] = None
    hour: Annotated[float | None, Number("Requests an hour.", gt=0)] = None
    policy: Annotated[str | None, Text("Where.", one_of=("local", "redis"))] = "local"
    redis: Annotated[Redis, Group("The server.", required=True, record=Redis)] = msgspec.field(
        default_factory=Redis
    )
    statuses: Annotated[
        dict[str, list[int]] | None,
        Map("By name.", keys=Text("A name."), values=Array("Some.", elements=Integer("A status."))),
    ] = None
    kinds: Annotated[list[str] | None, Set("Kinds.", elements=Text("A kind.", not_one_of=("none",)))] = None


LIMITS = PluginDefinition(
    "limits",
    LimitConfig,
    frozenset(),
    priority=7,
    version="1.2.3",
    protocols=("http", "https"),
    checks=(
        AtLeastOneOf(("config.minute", "config.hour")),
        Conditional("config.policy", if_equal="redis", then_field="config.redis.host", then_required=True),
    ),
)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more plugin is available."""
    monkeypatch.setitem(AVAILABLE, LIMITS.name, LIMITS)


def replay(node_prefix: Path, scenario: str, steps: slice = slice(None)) -> None:
    """Ask what Kong was asked in a recorded scenario; every answer must be Kong's."""
    if not MATERIAL.exists():
        pytest.skip(f"no conformance material in {MATERIAL}")
    runner = load_runner()
    recorded = read_yaml((MATERIAL / "scenarios" / f"{scenario}.yaml").read_text()).value["steps"][steps]

    async def test(node: Node) -> None:
        for step in recorded:
            body = json.dumps(step["json"]).encode() if "json" in step else b""
            answer = await ask(node.admin, step["method"], step["path"], body, JSON if body else None)
            response = {"status": answer.status, "headers": list(answer.headers.items()), "body": answer.body}
            # This header tells how long an answer took, and was not recorded.
            response["headers"] = [pair for pair in response["headers"] if pair[0] != "x-kong-admin-latency"]
            assert runner.compare_obs(step["expect"], runner.observe(step, response), step) == [], step[
                "path"
            ]

    with_node(node_prefix, test)


@pytest.mark.parametrize("scenario", RECORDED)
def test_schemas_are_those_of_kong(tmp_path: Path, scenario: str) -> None:
    replay(tmp_path, scenario)


def test_validation_is_that_of_kong(tmp_path: Path) -> None:
    replay(tmp_path, "validate")


@pytest.mark.usefixtures("limits")
def test_plugins_are_validated(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        async def validate(values: Any) -> tuple[int, Any]:
            body = json.dumps({"name": "limits", **values}).encode()
            answer = await ask(node.admin, "POST", "/schemas/plugins/validate", body, JSON)
            return answer.status, answer.json().get("fields")

        assert await validate({"config": {"minute": 5}}) == (200, None)
        status, fields = await validate({"config": {}})
        assert (status, list(fields)) == (400, ["@entity"])
        assert "'config.minute', 'config.hour'" in fields["@entity"][0]
        status, fields = await validate({"config": {"minute": 5, "policy": "redis"}})
        assert (status, fields["config"]) == (400, {"redis": {"host": "required field missing"}})
        status, fields = await validate({"config": {"minute": 0}})
        assert (status, fields) == (400, {"config": {"minute": "value must be greater than 0"}})
        status, fields = await validate({"config": {"minute": 1}, "protocols": ["http", "grpc"]})
        assert (status, fields) == (400, {"protocols": [None, "expected one of: http, https"]})
        status, fields = await validate(
            {"config": {"minute": 1}, "route": {"id": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}}
        )
        assert (status, fields) == (400, {"route": "value must be null"})

    with_node(tmp_path, test)


@pytest.mark.usefixtures("limits")
def test_everything_that_a_plugin_declares_is_shown(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        shown = (await ask(node.admin, "GET", "/schemas/plugins/limits")).json()
        fields = {name: attributes for field in shown["fields"] for name, attributes in field.items()}
        assert set(fields) == {"config", "route", "service", "consumer", "protocols"}
        assert fields["route"]["eq"] is None
        assert fields["protocols"]["default"] == ["http", "https"]
        assert shown["entity_checks"] == [
            {"at_least_one_of": ["config.minute", "config.hour"]},
            {
                "conditional": {
                    "if_field": "config.policy",
                    "if_match": {"eq": "redis"},
                    "then_field": "config.redis.host",
                    "then_match": {"required": True},
                }
            },
        ]
        config = fields["config"]
        assert config["entity_checks"] == [{"only_one_or_none_of": ["minute", "hour"]}]
        assert config["shorthand_fields"] == [
            {
                "redis_host": {
                    "type": "string",
                    "deprecation": {
                        "message": (
                            "limits: config.redis_host is deprecated, please use config.redis.host instead"
                        ),
                        "removal_in_version": "4.0",
                        "replaced_with": [{"path": ["redis", "host"]}],
                    },
                }
            }
        ]
        inner = {name: attributes for field in config["fields"] for name, attributes in field.items()}
        assert inner["minute"] == {"type": "number", "description": "Requests a minute.", "gt": 0}
        redis = inner["redis"]
        assert (redis["type"], redis["required"], "default" in redis) == ("record", True, False)
        assert redis["entity_checks"] == [{"mutually_required": ["user", "password"]}]
        password = {"type": "string", "description": "A secret.", "referenceable": True, "encrypted": True}
        assert redis["fields"][2] == {"password": password}
        assert inner["statuses"]["values"]["elements"]["type"] == "integer"
        assert inner["kinds"]["elements"]["not_one_of"] == ["none"]
        older = (await ask(node.admin, "GET", "/plugins/schema/limits")).json()
        assert [next(iter(field)) for field in older["fields"]] == list(inner)

    with_node(tmp_path, test)


@pytest.mark.usefixtures("limits")
def test_the_node_tells_its_plugins(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        enabled = (await ask(node.admin, "GET", "/plugins/enabled")).json()
        assert {"key-auth", "limits"} < set(enabled["enabled_plugins"])
        available = (await ask(node.admin, "GET", "/")).json()["plugins"]["available_on_server"]
        assert set(available) == set(enabled["enabled_plugins"])
        assert available["key-auth"] == {"version": AVAILABLE["key-auth"].version, "priority": 1250}
        assert available["limits"] == {"version": "1.2.3", "priority": 7}

    with_node(tmp_path, test)


def test_there_is_a_schema_for_every_type(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for name, kind in ENTITY_TYPES.items():
            answer = await ask(node.admin, "GET", f"/schemas/{name}")
            assert answer.status == 200
            names = [next(iter(field)) for field in answer.json()["fields"]]
            assert {"id", "tags"} <= set(names), name
            assert not set(kind.shorthands) & set(names)

    with_node(tmp_path, test)


def test_what_texts_of_a_route_must_look_like_is_shown() -> None:
    shown = {
        name: attributes for one in record_fields(ENTITY_TYPES["routes"]) for name, attributes in one.items()
    }
    paths, names = shown["paths"]["elements"], shown["headers"]["keys"]
    assert paths["match_none"] == [{"pattern": "//", "err": "must not have empty segments"}]
    assert paths["match_any"]["patterns"] == ["^/", "^~/"]
    assert names["match_none"][0]["pattern"] == "^[Hh][Oo][Ss][Tt]$"


def test_forms_are_validated_with_the_types_of_the_fields(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        path = "/schemas/services/validate"
        assert (await ask(node.admin, "POST", path, b"host=h&port=81&tags[]=a", FORM)).status == 200
        assert (await ask(node.admin, "POST", path, b"url=http://h:1/x", FORM)).status == 200
        answer = await ask(node.admin, "POST", path, b"host=h&port=x", FORM)
        assert answer.json()["fields"] == {"port": "expected an integer"}

    with_node(tmp_path, test)

"""Configurations of plugins in forms: keys that are repeated, commas, old names."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from gateway.admin.forms import form_values
from gateway.admin.kong_schemas import plugin_schema
from gateway.entities import shorthands
from gateway.entities.fields import Map, Text
from gateway.entities.masking import MASK, hide_secrets
from gateway.entities.plugins import Plugin
from gateway.entities.record import Record, check_entity
from gateway.plugins import AVAILABLE, PluginDefinition
from gateway.plugins._node import tell_database


def config_of(name: str, *pairs: tuple[str, str]) -> Any:
    """The configuration that a form makes."""
    fields = [("name", name), *((f"config.{field}", text) for field, text in pairs)]
    clean, errors = check_entity(Plugin, form_values(Plugin, fields))
    assert not errors
    Plugin.transform(clean)
    return clean["config"]


def test_repeated_keys_append() -> None:
    config = config_of("request-transformer", ("add.headers", "A:1"), ("add.headers", "B:2,3"))
    assert config["add"]["headers"] == ["A:1", "B:2,3"]


@pytest.mark.parametrize(
    ("plugin", "field", "text", "elements"),
    [
        ("cors", "headers", "Content-Type,Authorization", ["Content-Type", "Authorization"]),
        ("cors", "headers", "*", ["*"]),
        ("cors", "methods", "GET, POST, OPTIONS", ["GET", "POST", "OPTIONS"]),
        ("cors", "origins", "http://a.com, http://b.com", ["http://a.com", "http://b.com"]),
        ("cors", "origins", r"http://a\d{1,3}\.com", [r"http://a\d{1,3}\.com"]),
        ("acl", "allow", "admin, staff", ["admin", "staff"]),
        ("ip-restriction", "deny", "192.168.1.0/24, 10.0.0.1", ["192.168.1.0/24", "10.0.0.1"]),
        ("jwt", "header_names", "authorization,x-token", ["authorization", "x-token"]),
        ("key-auth", "key_names", "apikey,x-key", ["apikey", "x-key"]),
        ("response-caching", "response_code", "200, 404", [200, 404]),
        ("response-caching", "request_method", "GET,POST", ["GET", "POST"]),
        ("response-caching", "content_type", "text/css, text/*; a=b", ["text/css", "text/*; a=b"]),
        ("response-caching", "content_type", 'text/css; a="b,c"', ['text/css; a="b,c"']),
        ("response-caching", "vary_query_params", "a,b", ["a", "b"]),
        ("response-caching", "vary_headers", "X-A, X-B", ["X-A", "X-B"]),
        ("proxy-circuit-breaker", "http_statuses", "500,503", [500, 503]),
    ],
)
def test_commas_separate_elements(plugin: str, field: str, text: str, elements: list[Any]) -> None:
    assert config_of(plugin, (field, text))[field] == elements


def test_old_names_of_lists_of_addresses(caplog: pytest.LogCaptureFixture) -> None:
    shorthands._warn.cache_clear()
    config = config_of("ip-restriction", ("whitelist", "192.168.1.0/24, 10.0.0.1"), ("blacklist", "::1"))
    assert config["allow"] == ["192.168.1.0/24", "10.0.0.1"]
    assert config["deny"] == ["::1"]
    assert "whitelist" not in config
    assert caplog.messages == [
        f"ip-restriction: config.{old} is deprecated, please use config.{new} instead"
        for old, new in (("whitelist", "allow"), ("blacklist", "deny"))
    ]


def test_old_names_of_the_fields_of_redis() -> None:
    config = config_of(
        "rate-limiting", ("minute", "1"), ("policy", "redis"), ("redis_host", "h"), ("redis_port", "7")
    )
    assert (config["redis"]["host"], config["redis"]["port"]) == ("h", 7)
    assert "redis_host" not in config


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        ({"redis_port": "x"}, {"redis_port": "expected an integer"}),
        (
            {"redis_host": "a", "redis": {"host": "b"}},
            {
                "redis_host": (
                    "both deprecated and new field are used but their values mismatch: "
                    "redis_host vs redis.host"
                )
            },
        ),
        ({"redis_host": "a", "redis": 5}, {"redis": "expected a record"}),
        ({"redis_password": None, "redis": {"password": "p"}}, None),
        ({"minute": 5, "hour": 1}, "The limit for hour(1.0) cannot be lower than the limit for minute(5.0)"),
        ({"sync_rate": 0.5}, "sync_rate can only be used with the redis policy"),
        ({"burst": 5}, "burst can only be used with the algorithm token-bucket"),
        ({"error_code": 99}, {"error_code": "expected an integer between 200 and 599"}),
    ],
)
def test_what_is_refused(config: dict[str, Any], errors: Any) -> None:
    _, found = check_entity(Plugin, {"name": "rate-limiting", "config": {"minute": 1, **config}})
    assert found.get("config") == errors


@pytest.mark.parametrize(
    ("name", "config", "errors", "condition"),
    [
        (
            "rate-limiting",
            {"minute": 1, "policy": "redis", "redis": {"host": "h", "port": 70000}},
            {"redis": {"port": "value should be between 0 and 65535"}},
            "config.policy",
        ),
        (
            "rate-limiting",
            {"minute": 1, "limit_by": "path", "path": "x"},
            {"path": "should start with: /"},
            "config.limit_by",
        ),
        (
            "jwt",
            {"maximum_expiration": 10, "claims_to_verify": ["nbf"]},
            {"claims_to_verify": "expected to contain: exp"},
            "config.maximum_expiration",
        ),
        (
            "jwt",
            {"maximum_expiration": 10, "claims_to_verify": ["iss"]},
            {"claims_to_verify": {0: "expected one of: exp, nbf"}},
            "config.maximum_expiration",
        ),
        ("jwt", {"maximum_expiration": 10}, None, None),
        (
            "response-ratelimiting",
            {"limits": {"x": {"minute": 2, "hour": 1}}},
            {"limits": "the limit for hour(1.0) cannot be lower than the limit for minute(2.0)"},
            None,
        ),
        ("rate-limiting", {"minute": 1, "redis": {"password": ""}}, None, None),
        ("bot-detection", {"deny": ["("]}, {"deny": {0: "not a valid regex: ("}}, None),
    ],
)
def test_what_is_wrong_with_configurations(
    name: str, config: dict[str, Any], errors: Any, condition: str | None
) -> None:
    _, found = check_entity(Plugin, {"name": name, "config": config})
    assert found.get("config") == errors
    assert found.get("@entity") == (
        [f"failed conditional validation given value of field '{condition}'"] if condition else None
    )


def test_schemas_tell_what_kongs_do() -> None:
    def fields(plugin: str) -> dict[str, Any]:
        config = plugin_schema(AVAILABLE[plugin])["fields"][0]["config"]
        return {name: shown for field in config["fields"] for name, shown in field.items()}

    assert fields("bot-detection")["allow"]["elements"]["is_regex"] is True
    assert fields("ip-restriction")["status"]["required"] is False
    assert fields("ip-restriction")["message"]["required"] is False
    assert "required" not in fields("ip-restriction")["allow"]


def test_limits_are_stacked_under_a_name() -> None:
    values = {"name": "rate-limiting", "config": {"minute": 1, "stacked": True}}
    _, errors = check_entity(Plugin, values)
    assert errors["instance_name"] == "required field missing"
    _, errors = check_entity(Plugin, {**values, "instance_name": "service-wide"})
    assert not errors


@pytest.mark.parametrize("plugin", ["rate-limiting", "response-ratelimiting"])
def test_counting_in_the_database_needs_one(plugin: str) -> None:
    limits = {"minute": 1} if plugin == "rate-limiting" else {"limits": {"sms": {"minute": 1}}}
    values = {"name": plugin, "config": {**limits, "policy": "cluster"}}
    assert not check_entity(Plugin, values)[1]
    tell_database("off")
    try:
        assert check_entity(Plugin, values)[1]["config"] == {"policy": "expected one of: local, redis"}
    finally:
        tell_database("sqlite")


def test_passwords_of_redis_are_masked_under_both_names() -> None:
    redis = {"password": "p", "host": "h", "sentinel_password": "s"}
    assert hide_secrets({"config": {"redis_password": "p", "redis": redis, "redis_host": "h"}}) == {
        "config": {
            "redis_password": MASK,
            "redis": {"password": MASK, "host": "h", "sentinel_password": MASK},
            "redis_host": "h",
        }
    }


class Headers(Record, frozen=True, kw_only=True):
    """A configuration with secrets under names that anybody may choose."""

    sent_headers: Annotated[
        dict[str, str] | None, Map("Headers.", keys=Text("A name."), values=Text("A value.", encrypted=True))
    ] = None


def test_secrets_in_maps_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AVAILABLE, "sender", PluginDefinition("sender", Headers))
    shown = hide_secrets({"sent_headers": {"x-token": "t"}, "headers": {"x-token": "t"}})
    assert shown == {"sent_headers": {"x-token": MASK}, "headers": {"x-token": "t"}}

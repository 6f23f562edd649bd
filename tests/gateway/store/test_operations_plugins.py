"""Writes of plugins, and of credentials with secrets (reference/entities.md §1, §2)."""

# ruff: noqa: S105, S106  # the secrets are made up

from __future__ import annotations

import hashlib

from gateway.entities.plugins import Plugin
from gateway.entities.record import to_kong
from gateway.plugins._limits import PERIODS
from gateway.store import load_declarative_document
from gateway.store.draft import Draft
from tests.support.writes import create, reference, refused, replace, update

# Plugins


def limits(plugin: Plugin) -> dict[str, float]:
    """The limits that there are."""
    return {name: limit for name in PERIODS if (limit := plugin.config[name]) is not None}


def test_the_configuration_of_a_plugin(draft: Draft) -> None:
    plugin = create(draft, "plugins", name="rate-limiting", config={"minute": 5})
    assert limits(plugin) == {"minute": 5}
    plugin = update(draft, plugin, config={"day": 9})
    assert limits(plugin) == {"minute": 5, "day": 9}
    assert limits(update(draft, plugin, config=[])) == {"minute": 5, "day": 9}
    plugin = update(draft, plugin, config={"minute": None})
    assert limits(plugin) == {"day": 9}
    whole = replace(draft, "plugins", reference(plugin), name="rate-limiting", config={"minute": 1})
    assert limits(whole) == {"minute": 1}
    answer = refused(draft, update, plugin, config={"minute": "x", "nope": 1})
    assert answer["message"] == (
        "2 schema violations (config.minute: expected a number; config.nope: unknown field)"
    )
    answer = refused(draft, update, plugin, config={"day": None})
    assert answer["fields"]["@entity"][0].startswith("when updating, at least one of these fields")


def test_a_plugin_that_is_not_here(draft: Draft) -> None:
    answer = refused(draft, create, "plugins", name="nope")
    assert answer["fields"] == {
        "name": "plugin 'nope' not enabled; add it to the 'plugins' configuration property"
    }


def test_a_plugin_fits_where_it_is_put(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    answer = refused(draft, create, "plugins", name="key-auth", consumer=reference(consumer))
    assert answer["fields"] == {"consumer": "value must be null"}

    service = create(draft, "services", host="h")
    plugin = create(draft, "plugins", name="key-auth", service=reference(service), protocols=["grpc"])
    route = create(draft, "routes", paths=["/"], protocols=["http"], service=reference(service))
    answer = refused(draft, create, "plugins", name="basic-auth", route=reference(route), protocols=["https"])
    assert answer["message"] == "schema violation (protocols: must match the associated route's protocols)"
    answer = refused(draft, update, plugin, enabled=False)
    assert answer["fields"] == {
        "protocols": "must match the protocols of at least one route pointing to this Plugin's service"
    }
    assert update(draft, plugin, protocols=["http", "grpc"]).protocols == ["http", "grpc"]


def test_stacked_limits_hold_beside_others(draft: Draft) -> None:
    service = create(draft, "services", name="s", host="h")
    scope = {"service": reference(service), "name": "rate-limiting"}
    create(draft, "plugins", config={"minute": 1}, **scope)
    stacked = {"config": {"minute": 2, "stacked": True}, **scope}
    assert "config.stacked" in refused(draft, create, "plugins", **stacked)["message"]
    first = create(draft, "plugins", instance_name="a", **stacked)
    second = create(draft, "plugins", instance_name="b", **stacked)
    answer = refused(draft, create, "plugins", instance_name="b", **stacked)
    assert answer["fields"] == {"instance_name": "b"}
    # The place of the normal one is taken.
    answer = refused(draft, update, second, config={"stacked": False})
    assert answer["fields"]["service"] == {"id": service.id}
    assert update(draft, first, config={"minute": 3}).config["stacked"] is True


def test_stacked_limits_in_a_file() -> None:
    limits = [
        {"name": "rate-limiting", "config": {"minute": 5}},
        {"name": "rate-limiting", "instance_name": "a", "config": {"hour": 6, "stacked": True}},
        {"name": "rate-limiting", "instance_name": "b", "config": {"hour": 7, "stacked": True}},
    ]
    found = load_declarative_document({"_format_version": "3.0", "plugins": limits}).of("plugins")
    assert len(found) == 3
    again = load_declarative_document({"_format_version": "3.0", "plugins": limits[1:]}).of("plugins")
    assert set(again) < set(found)


# Secrets


def test_passwords_are_hashed_when_they_are_written(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")

    def stored(password: str) -> str:
        return hashlib.sha1((password + consumer.id).encode(), usedforsecurity=False).hexdigest()

    given = create(draft, "basicauth_credentials", username="u", password="p", consumer=reference(consumer))
    assert given.password == stored("p")
    assert update(draft, given, username="v").password == stored("p")
    assert update(draft, given, password="q").password == stored("q")
    values = {"username": "u", "password": "r", "consumer": {"username": "c"}}
    assert replace(draft, "basicauth_credentials", reference(given), **values).password == stored("r")


def test_a_password_needs_a_consumer(draft: Draft) -> None:
    answer = refused(draft, create, "basicauth_credentials", username="u", password="p")
    assert answer["message"] == (
        "2 schema violations (all or none of these fields must be set: 'password', 'consumer.id'; "
        "consumer: required field missing)"
    )


def test_client_secrets_are_hashed_where_that_is_wanted(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    values = {"name": "a", "client_secret": "s", "consumer": reference(consumer)}
    plain = create(draft, "oauth2_credentials", **values)
    assert plain.client_secret == "s"
    hashed = update(draft, plain, hash_secret=True)
    assert hashed.client_secret.startswith("$pbkdf2-sha512$")
    assert update(draft, hashed, name="b").client_secret == hashed.client_secret
    again = replace(draft, "oauth2_credentials", reference(plain), **{**to_kong(hashed), "name": "c"})
    assert again.client_secret == hashed.client_secret  # what was read can be written back
    assert update(draft, hashed, client_secret="t").client_secret not in ("t", hashed.client_secret)

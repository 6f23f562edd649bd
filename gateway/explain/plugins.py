"""Which configurations of plugins apply to a request, from which scope, and which others give way to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from gateway.entities.consumers import Consumer
from gateway.entities.plugins import Plugin
from gateway.plugins import find_plugin
from gateway.snapshot.plans import identifier, stack_name
from gateway.store import Configuration

AUTHENTICATION = ("jwt", "key_auth", "basic_auth", "hmac_auth")
"""steps after which the consumer is known"""
OTHER_AUTHENTICATION = ("python_plugin",)
"""steps that may say who the client is"""
CREDENTIAL_TYPES = {
    "keyauth_credentials": ("key", "key_auth"),
    "basicauth_credentials": ("username", "basic_auth"),
    "hmacauth_credentials": ("username", "hmac_auth"),
    "jwt_secrets": ("key", "jwt"),
}
"""type of credential -> (its key, the step that looks for it)"""

# What a configuration is restricted to; the most specific comes first (proxying.md §8).
SPECIFICITY = (
    ("route", "service", "consumer"),
    ("route", "consumer"),
    ("service", "consumer"),
    ("route", "service"),
    ("consumer",),
    ("route",),
    ("service",),
    (),
)
Scope = Mapping[str, str]
"""the ids that a configuration is restricted to, by the kind of entity"""
Places = list[dict[str, Any]]
"""what native.dry_run tells of a plan"""


def scope_of(found: Mapping[str, Any]) -> Scope:
    """The scope of a plugin as native.dry_run tells of it."""
    return {kind: found[kind] for kind in SPECIFICITY[0] if found[kind]}


def scope_of_entity(plugin: Plugin) -> Scope:
    """The same of an entity."""
    scope = {kind: identifier(getattr(plugin, kind)) for kind in SPECIFICITY[0]}
    return {kind: found for kind, found in scope.items() if found is not None}


def scope_name(scope: Scope) -> str:
    """`route and service`; `global` for one that is restricted to nothing."""
    return " and ".join(scope) or "global"


def known_after(places: Places, step: str | None = None) -> int | None:
    """The place from which on the consumer is known: behind the first step that authenticates (`step`, where
    only that one can). None: nothing tells who the client is."""
    steps = (step,) if step else AUTHENTICATION
    return next((at + 1 for at, place in enumerate(places) if place["step"] in steps), None)


def explain_plugins(
    places: Places, configuration: Configuration, request_scope: Scope, consumer_known_from: int | None
) -> list[dict[str, Any]]:
    """The plan of a request, in the order in which it runs. `request_scope`: its route and service, and the
    consumer who is known from that place on."""
    by_name: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in cast("Mapping[str, Plugin]", configuration.of("plugins")).values():
        if plugin.enabled:
            by_name.setdefault((plugin.name, stack_name(plugin)), []).append(plugin)
    without_consumer = {kind: found for kind, found in request_scope.items() if kind != "consumer"}
    explained = []
    may_be_known = False
    for at, place in enumerate(places):
        is_known = consumer_known_from is not None and at >= consumer_known_from
        shown = explain_place(place, configuration, by_name, request_scope if is_known else without_consumer)
        if place["choices"] and may_be_known and not is_known:
            shown["for_consumers"] = [for_consumer(one, configuration) for one in place["choices"]]
            shown["for_consumers_count"] = place["choice_count"]
        if shown["id"] is not None or "for_consumers" in shown:
            explained.append(shown)
        may_be_known |= place["step"] in (*AUTHENTICATION, *OTHER_AUTHENTICATION)
    return explained


def explain_place(
    place: Mapping[str, Any],
    configuration: Configuration,
    by_name: Mapping[tuple[str, str], list[Plugin]],
    request_scope: Scope,
) -> dict[str, Any]:
    """One plugin of a plan."""
    chosen = place["plugin"]
    some = chosen or place["choices"][0]
    definition = find_plugin(some["name"])
    shown: dict[str, Any] = {
        "name": some["name"],
        "priority": definition.priority if definition is not None else None,
        "id": None,
        "instance_name": None,
        "scope": None,
        "hides": [],
    }
    if chosen is not None:
        scope = scope_of(chosen)
        entity = configuration.get("plugins", chosen["id"])
        rivals = by_name.get((chosen["name"], stack_name(entity)), []) if isinstance(entity, Plugin) else []
        shown |= {
            "id": chosen["id"],
            "instance_name": chosen["instance_name"] or None,
            "scope": scope_name(scope),
            "hides": hidden(rivals, scope, request_scope),
        }
    return shown


def hidden(rivals: list[Plugin], scope: Scope, request_scope: Scope) -> list[dict[str, str]]:
    """The configurations that would apply if the chosen one were not there, the next one first."""
    found = []
    for rival in rivals:
        its_scope = scope_of_entity(rival)
        rank = SPECIFICITY.index(tuple(its_scope))
        if rank > SPECIFICITY.index(tuple(scope)) and its_scope.items() <= request_scope.items():
            found.append((rank, {"id": rival.id, "scope": scope_name(its_scope)}))
    return [shown for _, shown in sorted(found, key=lambda one: one[0])]


def for_consumer(found: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """A configuration that applies instead when the request is of one consumer."""
    consumer = configuration.get("consumers", found["consumer"])
    name = consumer.username or consumer.custom_id if isinstance(consumer, Consumer) else None
    return {
        "id": found["id"],
        "scope": scope_name(scope_of(found)),
        "consumer": {"id": found["consumer"], "name": name},
    }


def rewriting(places: Places) -> list[str]:
    """The plugins of the global plan that may change a request before a route is looked for."""
    names = [place["plugin"]["name"] for place in places if place["plugin"] is not None]
    return [name for name in names if (found := find_plugin(name)) is not None and found.rewrites]


def find_consumer(configuration: Configuration, text: str) -> Consumer | None:
    """The consumer with this id, username or custom id."""
    found = configuration.find("consumers", text) or configuration.find_unique("consumers", "custom_id", text)
    return found if isinstance(found, Consumer) else None


def find_by_credential(configuration: Configuration, key: str) -> tuple[Consumer, str] | None:
    """The consumer whom a credential with this key belongs to, and the step that finds it."""
    for type_name, (field, step) in CREDENTIAL_TYPES.items():
        credential: Any = configuration.find_unique(type_name, field, key)
        if credential is not None and credential.consumer is not None:
            consumer = configuration.get("consumers", credential.consumer.id)
            if isinstance(consumer, Consumer):
                return consumer, step
    return None

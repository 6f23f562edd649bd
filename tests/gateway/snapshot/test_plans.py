"""Which configuration of a plugin a plan has for whom, against Kong's rule written out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.entities.fields import Reference
from gateway.entities.plugins import Plugin
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition
from gateway.snapshot.plans import Plans, PreparedPlugin, prepare_plugin
from native.identities import consumer_hash

ROUTES = ("r1", "r2")
SERVICES = ("s1", "s2")
CONSUMERS = ("c1", "c2")


class Nothing(Record, frozen=True, kw_only=True):
    """No configuration."""


HIGH = PluginDefinition("high", Nothing, priority=20)
LOW = PluginDefinition("low", Nothing, priority=10)
LOWER_NAME = PluginDefinition("a-low", Nothing, priority=10)


@dataclass
class Recorder:
    """Takes what a ConfigurationBuilder would, and keeps it readable."""

    plugins: list[str] = field(default_factory=list)
    plans: list[tuple[Any, ...]] = field(default_factory=list)
    global_plan: int | None = None

    def add_plugin(self, **values: Any) -> int:
        self.plugins.append(values["id"])
        return len(self.plugins) - 1

    def add_plan(self, steps: tuple[Any, ...], rewrites: bool = False) -> int:
        self.plans.append(steps)
        return len(self.plans) - 1


def made(
    name: str, identifier: str, route: str | None, service: str | None, consumer: str | None, **more: Any
) -> Plugin:
    return Plugin(
        id=identifier,
        created_at=0,
        updated_at=0,
        name=name,
        route=Reference(id=route) if route else None,
        service=Reference(id=service) if service else None,
        consumer=Reference(id=consumer) if consumer else None,
        **more,
    )


def plans_of(plugins: list[tuple[PluginDefinition, Plugin]]) -> tuple[Plans, Recorder]:
    recorder = Recorder()
    prepared = [PreparedPlugin(plugin, definition, b"", b"") for definition, plugin in plugins]
    return Plans(recorder, prepared), recorder  # type: ignore[arg-type]


def chosen(recorder: Recorder, plan: int | None, step: str, consumer: str | None) -> str | None:
    """The id of the configuration that a worker would take."""
    if plan is None:
        return None
    for name, everybody, choices in recorder.plans[plan]:
        if name == step:
            for hashed, identifier, index in choices:
                if consumer is not None and hashed == consumer_hash(consumer) and identifier == consumer:
                    return recorder.plugins[index]
            return None if everybody is None else recorder.plugins[everybody]
    return None


def by_kongs_rule(
    plugins: list[Plugin], route: str | None, service: str | None, consumer: str | None
) -> str | None:
    levels = (
        (route, service, consumer),
        (route, None, consumer),
        (None, service, consumer),
        (route, service, None),
        (None, None, consumer),
        (route, None, None),
        (None, service, None),
        (None, None, None),
    )
    wanted = ((True, True, True), (True, False, True), (False, True, True), (True, True, False))
    wanted += ((False, False, True), (True, False, False), (False, True, False), (False, False, False))
    for level, present in zip(levels, wanted, strict=True):
        if any(needed and value is None for needed, value in zip(present, level, strict=True)):
            continue
        for plugin in plugins:
            scope = tuple(one.id if one else None for one in (plugin.route, plugin.service, plugin.consumer))
            if scope == level:
                return plugin.id
    return None


SCOPES = st.tuples(
    st.sampled_from((None, *ROUTES)), st.sampled_from((None, *SERVICES)), st.sampled_from((None, *CONSUMERS))
)


@given(st.sets(SCOPES), st.sampled_from((None, *SERVICES)), st.sampled_from((None, *CONSUMERS)))
@settings(max_examples=400)
def test_the_most_specific_configuration_applies(
    scopes: set[tuple[str | None, str | None, str | None]], service: str | None, consumer: str | None
) -> None:
    plugins = [made("high", f"p{number}", *scope) for number, scope in enumerate(sorted(scopes, key=str))]
    plans, recorder = plans_of([(HIGH, plugin) for plugin in plugins])
    for route in ROUTES:
        found = chosen(recorder, plans.plan_of(route, service), "high", consumer)
        assert found == by_kongs_rule(plugins, route, service, consumer)


def test_higher_priority_first_and_of_the_same_the_later_name() -> None:
    definitions = [LOWER_NAME, HIGH, LOW]
    plugins = [(one, made(one.name, one.name, None, None, None)) for one in definitions]
    plans, recorder = plans_of(plugins)
    plan = plans.plan_of("r1", None)
    assert plan is not None
    assert [step[0] for step in recorder.plans[plan]] == ["high", "low", "a_low"]


def test_routes_without_plugins_of_their_own_share_a_plan() -> None:
    everywhere = made("high", "p", None, None, None)
    plans, recorder = plans_of([(HIGH, everywhere), (LOW, made("low", "q", "r1", None, None))])
    others = {plans.plan_of(f"route-{number}", f"service-{number}") for number in range(50)}
    assert len(others) == 1
    assert plans.plan_of("r1", None) not in others
    assert len(recorder.plans) <= 3


def test_consumers_of_one_table_are_shared_by_plans() -> None:
    plugins = [(HIGH, made("high", f"p{number}", None, None, f"c{number}")) for number in range(100)]
    plugins += [(LOW, made("low", route, route, None, None)) for route in ROUTES]
    plans, recorder = plans_of(plugins)
    first, second = (plans.plan_of(route, None) for route in ROUTES)
    assert first is not None
    assert second is not None
    assert recorder.plans[first][0][2] is recorder.plans[second][0][2]


def test_stacked_instances_are_places_of_their_own() -> None:
    normal = made("high", "p", None, None, None)
    stacked = made("high", "q", None, "s1", None, instance_name="burst", config={"stacked": True})
    plans, recorder = plans_of([(HIGH, normal), (HIGH, stacked)])
    plan = plans.plan_of("r1", "s1")
    assert plan is not None
    assert {recorder.plugins[step[1]] for step in recorder.plans[plan]} == {"p", "q"}


def test_the_global_plan_has_what_is_for_everything() -> None:
    plans, recorder = plans_of(
        [(HIGH, made("high", "p", None, None, None)), (LOW, made("low", "q", "r1", None, None))]
    )
    assert recorder.global_plan is not None
    assert [step[0] for step in recorder.plans[recorder.global_plan]] == ["high"]
    assert plans.plan_of("r2", None) is not None


@pytest.mark.parametrize(
    ("name", "config", "has_work"),
    [
        ("key-auth", {}, False),
        ("jwt", {}, True),
        ("rate-limiting", {"minute": 1}, False),
        ("rate-limiting", {"minute": 1, "policy": "redis", "redis": {"host": "h"}}, True),
        ("response-ratelimiting", {"limits": {"x": {"minute": 1}}}, False),
        (
            "response-ratelimiting",
            {"limits": {"x": {"minute": 1}}, "policy": "redis", "redis": {"host": "h"}},
            True,
        ),
        ("request-transformer", {"add": {"headers": ["a:b"]}, "http_method": "POST"}, False),
        ("request-transformer", {"add": {"body": ["a:b"]}}, True),
        ("request-transformer", {"http_method": "GET"}, False),
        ("response-transformer", {"add": {"headers": ["a:b"]}}, False),
        ("response-transformer", {"remove": {"json": ["a"]}}, True),
        ("proxy-cache", {"strategy": "memory"}, False),
        ("proxy-cache", {"strategy": "redis", "redis": {"host": "h"}}, True),
    ],
)
def test_the_plugin_thread_is_told_of_what_may_need_it(
    name: str, config: dict[str, Any], has_work: bool
) -> None:
    prepared = prepare_plugin(made(name, "p", None, None, None, config=config))
    assert prepared is not None
    assert bool(prepared.document) is has_work

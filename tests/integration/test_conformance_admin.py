"""The scenarios recorded from a real Kong 3.9.3 with a database, on each database that the gateway has.

Every step must be answered as Kong answered it, but for those listed here: steps and scenarios that wait for
plugins or for what else does not exist yet, and differences that are meant (docs/compatibility.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.conformance import (
    MATERIAL,
    PROXY_DEVIATIONS,
    labelling_target,
    load_runner,
    scenarios_of,
)
from tests.support.gateway_on import DATABASES, gateway_on

pytestmark = pytest.mark.skipif(not MATERIAL.exists(), reason=f"no conformance material in {MATERIAL}")

# Areas that are about one plugin, or about plugins.
PLUGIN_AREAS = ("p-", "admin-plugins", "scoping")

# Further scenarios that wait, and for what.
WAITING = {
    "form-plugins": "fields of a dozen plugins",
    "lb-hash-cookie": "hashing",
    "lb-hash-ip": "hashing",
    "lb-hash-query-arg": "hashing",
    "lb-passive": "passive health checks",
    "lb-passive-tcp": "passive health checks",
    "schema-plugin-jwt": "jwt",
    "schema-plugin-key-auth": "key-auth",
    "schema-plugin-rate-limiting": "rate-limiting",
    "schema-plugin-request-transformer": "request-transformer",
}

# Steps that wait, by number.
WAITING_STEPS = {
    ("json-nested-foreign", 3): "rate-limiting",
    ("json-nested-foreign", 4): "cors",
    ("json-nested-foreign", 5): "rate-limiting",
    ("routing-https-only", 14): "key-auth",
    ("routing-noservice", 12): "request-termination",
    ("special", 6): "acme, proxy-cache, session; Wasm filters and clustering do not exist here",
    ("special", 7): "all plugins",
    ("special", 23): "proxy-cache",
    ("unique-and-foreign", 12): "cors",
    ("unique-and-foreign", 13): "cors",
    ("unique-and-foreign", 14): "cors",
    ("unique-and-foreign", 15): "cors",
    ("validate", 4): "key-auth",
    ("validate", 5): "rate-limiting",
}

DEVIATIONS = {
    **PROXY_DEVIATIONS,
    ("admin-http", 21): "the web server under the Admin API adds its name to the answer to TRACE",
}

ON_SQLITE = {("special", 0): "GET / tells which database it is, and Kong knew no SQLite"}


def is_about_plugins(scenario: dict[str, Any]) -> bool:
    return str(scenario["area"]).startswith(PLUGIN_AREAS)


RUNNER: Any = load_runner() if MATERIAL.exists() else None
SCENARIOS = [one for one in scenarios_of(RUNNER, "db") if not is_about_plugins(one)] if RUNNER else []


@pytest.fixture(scope="module")
def backend_ports() -> list[int]:
    return RUNNER.backend_mod.start([0, 0, 0])  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def target(database: str, backend_ports: list[int]) -> Iterator[Any]:
    with gateway_on(database) as gateway:
        yield labelling_target(RUNNER, gateway, backend_ports)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["id"])
def test_scenario(scenario: dict[str, Any], target: Any, database: str) -> None:
    name = scenario["id"]
    if name in WAITING:
        pytest.skip(f"waits for {WAITING[name]}")
    excused = {**WAITING_STEPS, **DEVIATIONS, **(ON_SQLITE if database == "sqlite" else {})}
    differences: list[str] = []
    agreeing: list[int] = []

    def compare(number: int, step: dict[str, Any], answer: dict[str, Any], variables: dict[str, Any]) -> None:
        if "expect" not in step:
            return
        found = RUNNER.compare_obs(RUNNER.subst(step["expect"], variables), answer, step)
        if (name, number) in excused:
            if not found:
                agreeing.append(number)
        else:
            differences.extend(f"step {number} {RUNNER.describe(step)}: {one}" for one in found)

    assert target.run(scenario, compare) is None
    assert not differences, "\n".join(differences)
    assert not agreeing, f"listed, but as recorded: steps {agreeing}"


def test_the_lists_name_existing_scenarios() -> None:
    names = {scenario["id"] for scenario in SCENARIOS}
    listed = {*WAITING, *(scenario for scenario, _ in {**WAITING_STEPS, **ON_SQLITE})}
    assert listed <= names

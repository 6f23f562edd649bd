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
    load_runner,
    scenarios_of,
    unhurried_target,
)
from tests.support.stores import WRITABLE_STORES, gateway_on

pytestmark = pytest.mark.skipif(not MATERIAL.exists(), reason=f"no conformance material in {MATERIAL}")

# Scenarios that wait, by what they wait for.
WAITING_FOR = {
    "logging plugins": ("httplog", "log-custom"),
    "oauth2": ("oauth2-untrusted",),
}
WAITING = {scenario: reason for reason, scenarios in WAITING_FOR.items() for scenario in scenarios}

# Steps that make a plugin that does not exist here, by scenario and number.
WITHOUT_PLUGIN = {
    "form-plugins": {13: "http-log"},
    "plugin-defaults-1": {1: "aws-lambda", 2: "azure-functions"},
    "plugin-defaults-2": {1: "datadog", 2: "file-log", 3: "grpc-web", 5: "http-log"},
    "plugin-defaults-3": {3: "ldap-auth", 4: "loggly", 5: "oauth2"},
    "plugin-defaults-4": {0: "opentelemetry", 1: "post-function", 2: "pre-function"},
    "plugin-defaults-6": {
        **{0: "session", 1: "standard-webhooks", 2: "statsd"},
        **{3: "syslog", 4: "tcp-log", 5: "udp-log"},
    },
    "plugin-defaults-7": {0: "zipkin"},
}

# Steps that wait, by number.
WAITING_STEPS = {
    **{
        (scenario, number): f"the plugin {plugin}"
        for scenario, steps in WITHOUT_PLUGIN.items()
        for number, plugin in steps.items()
    },
    ("special", 6): "acme, proxy-cache, session; Wasm filters and clustering do not exist here",
    ("special", 7): "all plugins",
}

DEVIATIONS = {
    **PROXY_DEVIATIONS,
    ("admin-http", 21): "the web server under the Admin API adds its name to the answer to TRACE",
    ("form-plugins", 10): "commas separate elements: accepted, but there is one for everything already",
    ("form-plugins", 11): "commas separate elements: accepted",
    ("form-plugins", 12): "there is one for everything since the step before",
    ("pcache-ttl-storage", 6): "a response past its max-age is not used (corrections.md, 22)",
    ("plugin-errors-2", 2): "an id that is no UUID is what is wrong",
    ("plugin-errors-5", 2): "a status that no answer can have is refused (corrections.md, 13)",
    ("plugin-errors-9", 2): "a template that cannot be read is refused (corrections.md, 13)",
    (
        "reqt-template-lua",
        2,
    ): "a template that would fail with every request is refused (docs/transformers.md)",
    ("reqt-template-lua", 3): "the plugin was refused the step before",
    **{
        ("rl-options", number): "messages with quotes are valid JSON (corrections.md, 6)" for number in (4, 7)
    },
    ("prom-default", 5): "metrics of requests are shown unless a choice is made (docs/metrics.md)",
    ("rest-json", 11): "bodies with a Content-Encoding stay as they are (corrections.md, 27)",
}

ON_FILE = {
    **{("special", number): "a node without a database tells that it is one" for number in (0, 2, 3, 8, 9)},
    **{
        ("cred-by-key", number): "without a database, ttl is shown only where it is set"
        for number in (1, 2, 3, 5, 6, 24, 25)
    },
    **{("rl-cluster", number): "the policy cluster needs a database" for number in range(2, 7)},
}
ON_SQLITE = {("special", 0): "GET / tells which database it is, and Kong knew no SQLite"}
EXCUSED_ON = {"file": ON_FILE, "sqlite": ON_SQLITE}


RUNNER: Any = load_runner() if MATERIAL.exists() else None
SCENARIOS = scenarios_of(RUNNER, "db") if RUNNER else []


BALANCING = "lb-"
"""what the names of scenarios begin with that count requests for seconds"""
TIMED = "pcache-ttl"
"""what the names of scenarios begin with in which responses grow old"""
PROXYING = ("errors", "headers", "http", "routing", "scoping", "p-")
"""what areas begin with in which the store only brings the configuration: shown with one database and none"""
COUNTS_IN_DATABASE = {"rl-cluster"}


@pytest.fixture(scope="module")
def backend_ports() -> list[int]:
    return RUNNER.backend_mod.start([0, 0, 0])  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=WRITABLE_STORES)
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def target(database: str, backend_ports: list[int]) -> Iterator[Any]:
    with gateway_on(database) as gateway:
        yield unhurried_target(RUNNER, gateway, backend_ports)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["id"])
def test_scenario(scenario: dict[str, Any], target: Any, database: str) -> None:
    name = scenario["id"]
    if name in WAITING:
        pytest.skip(f"waits for {WAITING[name]}")
    if name.startswith((BALANCING, TIMED)) and database != "sqlite":
        pytest.skip("balancing and caching know nothing of stores")
    if database == "postgres" and scenario["area"].startswith(PROXYING) and name not in COUNTS_IN_DATABASE:
        pytest.skip("proxying knows nothing of databases")
    excused = {**WAITING_STEPS, **DEVIATIONS, **EXCUSED_ON.get(database, {})}
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

    target.sleeps = name.startswith(TIMED)
    assert target.run(scenario, compare) is None
    assert not differences, "\n".join(differences)
    assert not agreeing, f"listed, but as recorded: steps {agreeing}"


def test_the_lists_name_existing_scenarios() -> None:
    names = {scenario["id"] for scenario in SCENARIOS}
    listed = {*WAITING, *(scenario for scenario, _ in {**WAITING_STEPS, **ON_SQLITE})}
    assert listed <= names

"""The DB-less scenarios recorded from a real Kong 3.9.3, replayed through ../shared/conformance/replay.py.

Plugins come later. What waits for them is listed here, step by step or scenario by scenario, with the reason;
every other step must be answered as Kong answered it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.conformance import MATERIAL, load_runner
from tests.support.gateway import Gateway

pytestmark = pytest.mark.skipif(not MATERIAL.exists(), reason=f"no conformance material in {MATERIAL}")

# Whole scenarios whose configuration is refused because it has plugins that do not exist yet.
WAITING_FOR_PLUGINS = {}

# Single steps that wait, by number.
WAITING_STEPS = {}


def scenario_files() -> list[Path]:
    return sorted(
        file for file in MATERIAL.glob("scenarios/*.yaml") if "\nmode: dbless\n" in file.read_text()
    )


@pytest.fixture(scope="module")
def runner() -> Any:
    return load_runner()


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


@pytest.fixture(scope="module")
def target(runner: Any, gateway: Gateway) -> Any:
    ports = runner.backend_mod.start([0, 0, 0])
    admin, proxy = (("127.0.0.1", port) for port in (gateway.admin_port, gateway.proxy_port))
    # Nothing to settle: a configuration is live when POST /config has answered.
    found = runner.Target(admin, proxy, ports, settle=0)
    assert found.mode == "dbless"
    return found


@pytest.mark.parametrize("file", scenario_files(), ids=lambda file: file.stem)
def test_scenario(file: Path, runner: Any, target: Any) -> None:
    scenario = runner.yaml.load(file.read_text(), runner.Loader)
    name = scenario["id"]
    if name in WAITING_FOR_PLUGINS:
        pytest.skip(f"waits for plugins: {WAITING_FOR_PLUGINS[name]}")
    differences: list[str] = []
    agreeing: list[int] = []

    def compare(number: int, step: dict[str, Any], answer: dict[str, Any], variables: dict[str, Any]) -> None:
        if "expect" not in step:
            return
        found = runner.compare_obs(runner.subst(step["expect"], variables), answer, step)
        if (name, number) not in WAITING_STEPS:
            differences.extend(f"step {number} {runner.describe(step)}: {one}" for one in found)
        elif not found:
            agreeing.append(number)

    for step in scenario["steps"]:
        if step.get("to") == "sleep":
            step["seconds"] = 0  # Kong's workers follow after a while; here an answered change is live
    problem = target.run(scenario, compare)
    assert problem is None
    assert not differences, "\n".join(differences)
    assert not agreeing, f"listed as waiting, but as recorded: steps {agreeing}"


def test_the_lists_name_existing_scenarios() -> None:
    names = {file.stem for file in scenario_files()}
    assert set(WAITING_FOR_PLUGINS) | {scenario for scenario, _ in WAITING_STEPS} <= names

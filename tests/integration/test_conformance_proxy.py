"""Proxying as recorded from a real Kong 3.9.3: scenarios of ../shared/conformance that need no plugins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.conformance import MATERIAL, PROXY_DEVIATIONS, load_runner, translating_target
from tests.support.gateway import Gateway

pytestmark = pytest.mark.skipif(not MATERIAL.exists(), reason=f"no conformance material in {MATERIAL}")

AREAS = {"routing", "headers", "http", "errors", "env", "p-request-transformer", "p-response-transformer"}
BALANCER = {"lb-host-header", "lb-target-name", "lb-weights"}  # the others: test_conformance_admin


def scenario_files() -> list[Path]:
    files = []
    for file in sorted(MATERIAL.glob("scenarios/*.yaml")):
        area = re.search(r"(?m)^area: (\S+)", file.read_text())
        if area and (area[1] in AREAS or file.stem in BALANCER):
            files.append(file)
    return files


@pytest.fixture(scope="module")
def runner() -> Any:
    return load_runner()


@pytest.fixture(scope="module")
def backend_ports(runner: Any) -> list[int]:
    return runner.backend_mod.start([0, 0, 0])  # type: ignore[no-any-return]


class Gateways:
    """One gateway for each set of settings that a scenario asks for."""

    def __init__(self) -> None:
        self.started: dict[tuple[tuple[str, str], ...], Gateway] = {}

    def of(self, environment: dict[str, str]) -> Gateway:
        key = tuple(sorted(environment.items()))
        if key not in self.started:
            settings: dict[str, Any] = {name.removeprefix("KONG_").lower(): value for name, value in key}
            self.started[key] = Gateway(**settings).start()
        return self.started[key]


@pytest.fixture(scope="module")
def gateways() -> Iterator[Gateways]:
    gateways = Gateways()
    yield gateways
    for gateway in gateways.started.values():
        gateway.stop()


@pytest.mark.parametrize("file", scenario_files(), ids=lambda file: file.stem)
def test_scenario(file: Path, runner: Any, gateways: Gateways, backend_ports: list[int]) -> None:
    scenario = runner.yaml.load(file.read_text(), runner.Loader) | {"settle": 0}
    target = translating_target(runner, gateways.of(scenario.get("env") or {}), backend_ports)
    differences: list[str] = []
    agreeing: list[int] = []

    def compare(number: int, step: dict[str, Any], answer: dict[str, Any], variables: dict[str, Any]) -> None:
        if "expect" not in step:
            return
        expected = runner.subst(step["expect"], variables)
        found = runner.compare_obs(expected, answer, step)
        if (scenario["id"], number) in PROXY_DEVIATIONS:
            if not found:
                agreeing.append(number)
        else:
            differences.extend(f"step {number} {runner.describe(step)}: {text}" for text in found)

    assert target.run(scenario, compare) is None
    assert not differences, "\n".join(differences)
    assert not agreeing, f"listed as deviations, but as recorded: steps {agreeing}"

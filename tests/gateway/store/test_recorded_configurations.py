"""What a real Kong answered to POST /config (../shared/conformance/scenarios/dbless-*), from the loader
directly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store import DeclarativeError, EntityJson, parse_declarative
from gateway.store.documents import read_yaml

SCENARIOS = Path(__file__).parents[4] / "shared" / "conformance" / "scenarios"
PORT = 8123


def loads() -> Iterator[Any]:
    for path in sorted(SCENARIOS.glob("dbless-*.yaml")):
        for number, step in enumerate(read_yaml(path.read_text()).value["steps"]):
            if step.get("method") != "POST" or not step["path"].startswith("/config"):
                continue
            text = text_of(step)
            status = step["expect"]["status"]
            # 415 and the answers to no body at all are the Admin API's; 500 is a defect of Kong.
            if text and status in (201, 400) and "Cannot parse JSON" not in json.dumps(step["expect"]):
                yield pytest.param(text, step, id=f"{path.stem}-{number}")


def text_of(step: dict[str, Any]) -> str | None:
    """The declarative text of a step, whichever way it was sent."""
    body = replace(step.get("json", step.get("form", step.get("multipart", step.get("text")))))
    if isinstance(body, dict):
        if "form" in step and "config" not in body:
            return None
        body = body["config"] if set(body) == {"config"} else json.dumps(body)
    return body if isinstance(body, str) else None


def replace(value: Any) -> Any:
    """Fill in the placeholders of a scenario."""
    if isinstance(value, dict):
        return {replace(name): replace(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [replace(inner) for inner in value]
    if isinstance(value, str) and value.startswith("${int:"):
        return PORT
    if isinstance(value, str):
        value = re.sub(r"\$\{(uuid|rid)\}", "00000000-0000-4000-8000-00000000ffff", value)
        return re.sub(r"\$\{\w+\}", str(PORT), value)
    return value


CASES = list(loads())


@pytest.mark.skipif(not CASES, reason="the recorded scenarios are not here")
@pytest.mark.parametrize(("text", "step"), CASES or [("", {})])
def test_answer(text: str, step: dict[str, Any]) -> None:
    try:
        answer: Any = json.loads(parse_declarative(text).answer(EntityJson()))
        status = 201
    except DeclarativeError as error:
        answer = error.answer(flatten="flatten_errors=1" in step["path"])
        status = 400
    assert status == step["expect"]["status"]
    if "body" in step["expect"]:
        assert_matches(answer, replace(step["expect"]["body"]["json"]))


def assert_matches(actual: Any, expected: Any, path: str = "") -> None:
    """Equal, but for matchers (<uuid>, <epoch>, …)."""
    if isinstance(expected, str) and re.fullmatch(r"<\w+>", expected):
        return
    if isinstance(expected, dict):
        assert isinstance(actual, dict), path
        names = set(expected)
        if "<uuid>" in names:
            (other,) = set(actual) - names
            actual = {**actual, "<uuid>": actual[other]}
            del actual[other]
        assert set(actual) == names, path
        for name in names:
            assert_matches(actual[name], expected[name], f"{path}.{name}")
    elif isinstance(expected, list):
        assert isinstance(actual, list), path
        assert len(actual) == len(expected), path
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_matches(one, other, f"{path}[{index}]")
    else:
        assert actual == expected, path

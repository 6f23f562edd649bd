"""Changing a text: what it says afterwards, and what stays byte for byte."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.documents import read_document
from gateway.store.editing.edit import CannotEdit, edit_json, edit_yaml, expand_aliases, same
from gateway.store.editing.rendering import YamlStyle

NAMES = st.sampled_from(["a", "b", "name", "routes", "x-y", "10", "true", "key with: colon", "ü"])
TEXTS = st.sampled_from(
    [
        *("", " ", "a", "10", "1.0", "true", "null", "~", "~/x$", "/p", "- a", "a: b", "a #b", "#", "'", '"'),
        *(
            "no",
            "0x1f",
            "2024-01-01",
            "12:30:45",
            "1_000",
            "=",
            "<<",
            "*x",
            "&x",
            "!t",
            "%",
            "@",
            "a\tb",
            "a,b",
        ),
        *(
            "line\n",
            "two\nlines",
            "two\nlines\n",
            "\n",
            "\nx",
            " x\ny",
            "x\n\ny\n\n",
            "x \ny",
            "x\n \ny",
            "a\r\nb",
        ),
        *(
            "\u2028",
            "\x7f",
            "\ufeff",
            "ünïcödé",
            "\U0001f600",
            "[a]",
            "{a}",
            "a]",
            "-",
            "?",
            ":",
            "a:",
            ".inf",
        ),
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXTS
    | st.floats(-1e20, 1e20, allow_nan=False).filter(lambda value: abs(value) > 1e-9 or value == 0)
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(NAMES, below, max_size=4),
    max_leaves=12,
)
ELEMENTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)
DOCUMENTS = st.dictionaries(NAMES, st.lists(ELEMENTS, max_size=4) | VALUES, min_size=1, max_size=4)


class Change:
    """Random changes that remember where objects come from."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.origins: dict[int, Any] = {}
        self.kept: list[Any] = []

    def origin(self, value: Any) -> Any:
        return self.origins.get(id(value), value)

    def change(self, value: Any) -> Any:
        if self.draw(st.integers(0, 3)) == 0:
            return value
        if isinstance(value, dict):
            changed: Any = {
                name: self.change(below) for name, below in value.items() if self.draw(st.integers(0, 5))
            }
            if self.draw(st.integers(0, 3)) == 0:
                changed.update(self.draw(st.dictionaries(NAMES, VALUES, max_size=2)))
        elif isinstance(value, list):
            changed = [self.change(below) for below in value if self.draw(st.integers(0, 4))]
            if self.draw(st.integers(0, 2)) == 0:
                changed.insert(self.draw(st.integers(0, len(changed))), self.draw(VALUES))
        elif self.draw(st.booleans()):
            return self.draw(VALUES)
        else:
            return value
        self.origins[id(changed)] = value
        self.kept.append(changed)
        return changed


def with_comments(text: str, draw: st.DrawFn) -> str:
    """Comments and empty lines between the lines of a YAML text, where they mean nothing."""
    lines = []
    for line in text.splitlines(keepends=True):
        if draw(st.integers(0, 3)) == 0:
            lines.append(draw(st.sampled_from(["# comment\n", "      # indented\n", "\n"])))
        lines.append(line)
    return "".join(lines)


@st.composite
def texts(draw: st.DrawFn, document: Any) -> str:
    kind = draw(st.sampled_from(["block", "indented", "flow", "mixed", "json in one line", "json"]))
    if kind == "json":
        return json.dumps(
            document, indent=draw(st.sampled_from([1, 2, 4, "\t"])), ensure_ascii=draw(st.booleans())
        )
    if kind == "json in one line":
        return json.dumps(document, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])))
    if kind == "indented":
        text = "\n".join(YamlStyle(4, 2).block_lines(document)) + draw(st.sampled_from(["", "\n"]))
    else:
        flow = {"block": False, "flow": True, "mixed": None}[kind]
        text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True, sort_keys=False)
    commented = with_comments(text, draw)
    try:
        if same(read_document(commented).value, document):
            text = commented
    except ValueError:
        pass
    return text


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def edited(text: str, old: Any, new: Any, origin: Any) -> str:
    return (edit_json if is_json(text) else edit_yaml)(text, old, new, origin)


@given(st.data())
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
def test_the_text_says_what_it_should_afterwards(data: st.DataObject) -> None:
    document = data.draw(DOCUMENTS)
    text = data.draw(texts(document))
    old = read_document(text).value
    snapshot = copy.deepcopy(old)
    change = Change(data.draw)
    new = change.change(old)
    try:
        result = edited(text, old, new, change.origin)
    except CannotEdit:
        assert not isinstance(new, dict) or not set(old) & set(new) or not isinstance(old, dict)
        return
    assert same(read_document(result).value, new), (result, new, text)
    assert same(old, snapshot)
    if same(old, new):
        assert result == text


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ("a: 1", {"a": 1, "b": "two\nlines\n"}, "a: 1\nb: |\n  two\n  lines\n"),
        ("a: 1\nb: 2\nc: 3\n", {"c": 3}, "c: 3\n"),
        ("a: 1 # one\nb: 2 # two", {"a": 2, "b": 2}, "a: 2 # one\nb: 2 # two"),
        ("a: # list\n- x # x\n- y\n", {"a": ["y", "z"]}, "a: # list\n- y\n- z\n"),
        ("a: # list\n  - x\n", {"a": None}, "a: null # list\n"),
        ("a: # nothing\n# rest\n", {"a": ["x"]}, "a: # nothing\n- x\n# rest\n"),
        ("a: {b: 1, c: 2, d: 3}\n", {"a": {"c": 2}}, "a: {c: 2}\n"),
        ("a: [1, 2, 3]\n", {"a": [1, 3, 4]}, "a: [1, 3, 4]\n"),
        # Between brackets a question mark begins a key, or ends a text, to some readers.
        ("a: [x]\nb: x\n", {"a": ["?x", "x?y"], "b": "?x"}, 'a: ["?x", "x?y"]\nb: ?x\n'),
        (
            "a:\n  b: 1 # one\n  # two\nc: 3\n",
            {"a": {"b": 1, "d": 4}, "c": 3},
            "a:\n  b: 1 # one\n  d: 4\n  # two\nc: 3\n",
        ),
        ("a: |\n  text\n\n# after\nb: 1\n", {"a": "x", "b": 1}, "a: x\n\n# after\nb: 1\n"),
        ('{"a": 1,\n "b": [1]}\n', {"a": 1, "b": [1, 2]}, '{"a": 1,\n "b": [1, 2]}\n'),
        ('{\n  "a": 1\n}\n', {"a": 1, "b": {"c": []}}, '{\n  "a": 1,\n  "b": {\n    "c": []\n  }\n}\n'),
        ('{"a":1,"b":2}', {"a": 1, "c": 3}, '{"a":1,"c": 3}'),
    ],
)
def test_the_form_of_a_change(text: str, new: Any, expected: str) -> None:
    old = read_document(text).value
    assert edited(text, old, new, lambda value: value) == expected


def test_aliases_can_be_written_out() -> None:
    text = "a: &x {b: 1} # anchor\nc: *x # alias\nd:\n- *x\n- <<: *x\n  e: 2\n"
    expected = "a: &x {b: 1} # anchor\nc: # alias\n  b: 1\nd:\n- b: 1\n- e: 2\n  b: 1\n"
    assert expand_aliases(text, read_document(text).value) == expected

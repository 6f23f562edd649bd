"""Reading YAML and JSON that may come from anybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.store.documents import (
    LARGEST_EXPANSION,
    LONGEST_DEPTH,
    Document,
    UnreadableDocument,
    check_plain_data,
    decode_text,
    plain_value,
    read_document,
    read_yaml,
)


def problems_of(text: str) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(UnreadableDocument) as caught:
        read_document(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("just text", "just text"),
        ("- a\n- b", ["a", "b"]),
        ("a: 1\nb: [x, 'y', \"z\\n\"]", {"a": 1, "b": ["x", "y", "z\n"]}),
        ("--- {a: ~}\n...", {"a": None}),
        ("a: |\n  x\n  y\nb: >\n  x\n  y\n", {"a": "x\ny\n", "b": "x y\n"}),
        ("\ufeffa: b", {"a": "b"}),
        ('{"a": [1, 2.5, true, null, "\\u00e9"]}', {"a": [1, 2.5, True, None, "é"]}),
        ("{a: 1, b: {c: d}}", {"a": 1, "b": {"c": "d"}}),
        ('{\n\t"a": 1}', {"a": 1}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}}),
        (
            "a: &x {p: 1}\nb: &y {q: 2}\nc: {<<: [*x, *y], r: 3}",
            {"a": {"p": 1}, "b": {"q": 2}, "c": {"r": 3, "p": 1, "q": 2}},
        ),
        ("'<<': 1", {"<<": 1}),
        ("a: !!str 5\nb: !!int '5'\nc: !!float 5\nd: !!null ''", {"a": "5", "b": 5, "c": 5.0, "d": None}),
        ("a: ! 5", {"a": "5"}),
    ],
)
def test_documents(text: str, value: Any) -> None:
    assert read_document(text).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("~", None), ("null", None), ("", None), ("yes", True), ("Off", False), ("TRUE", True)),
        *(
            ("0", 0),
            ("-17", -17),
            ("+3", 3),
            ("0x1F", 31),
            ("1.e+3", 1000.0),
            ("1e3", "1e3"),
            (".5", 0.5),
            ("3.0", 3.0),
        ),
        *(("010", "010"), ("1_000", "1_000"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01")),
        *(("1.2.3.4", "1.2.3.4"), ("8080:80", "8080:80"), ("-", "-"), (".", "."), ("0b1", "0b1"), ("y", "y")),
        ("9" * 5000, float("inf")),
    ],
)
def test_plain_words(text: str, value: Any) -> None:
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a: [", [(1, 4, "did not find expected node content")]),
        ("a: 'x", [(1, 4, "found unexpected end of stream")]),
        ("a: b\n c: d", [(2, 3, "mapping values are not allowed in this context")]),
        ("a: b\nc: \x07", [(2, 4, "control characters are not allowed")]),
        ("a: b\nc: \0", [(2, 4, "control characters are not allowed")]),
        ('a: "\\0"', [(1, 4, "NUL characters are not allowed")]),
        ('{"a": "\\u0000"}', [(None, None, "NUL characters are not allowed")]),
        ('{"a\\u0000": 1}', [(None, None, "NUL characters are not allowed")]),
        ('{"a": "\\ud800"}', [(None, None, "half of a surrogate pair is not a character")]),
        ("a: b\n--- c", [(2, 1, "more than one document in the text")]),
        ("a: 1\nb: 2\na: 3", [(3, 1, "duplicate key 'a' (first in line 1)")]),
        ('{"a": 1,\n "a": 2}', [(2, 2, "duplicate key 'a' (first in line 1)")]),
        ("1: x", [(1, 1, "keys must be strings, not 1 (quotes make a string)")]),
        ("on: x", [(1, 1, "keys must be strings, not on (quotes make a string)")]),
        ("? [a]\n: x", [(1, 3, "keys must be strings, not a list or mapping (quotes make a string)")]),
        ("a: *b", [(1, 4, "the alias 'b' refers to nothing")]),
        ("a: &b [*b]", [(1, 8, "the alias 'b' stands inside of what it refers to")]),
        ("<<: 5", [(1, 5, "only mappings can be merged with <<")]),
        ("a: !!python/object:os.system x", [(1, 4, "the tag !!python/object:os.system is not supported")]),
        ("a: !foo [x]", [(1, 4, "the tag !foo is not supported")]),
        ("a: !!binary aGk=", [(1, 4, "the tag !!binary is not supported")]),
        ("a: !!int x", [(1, 4, "'x' is not a value of the tag !!int")]),
        (f'{{"a": {"9" * 5000}}}', [(None, None, "a number is too long")]),
    ],
)
def test_unreadable_texts(text: str, problems: list[tuple[int | None, int | None, str]]) -> None:
    assert problems_of(text) == problems


def test_several_problems_of_form_are_told_at_once() -> None:
    assert problems_of("a: 1\na: 2\n5: x\nb: !foo y") == [
        (2, 1, "duplicate key 'a' (first in line 1)"),
        (3, 1, "keys must be strings, not 5 (quotes make a string)"),
        (4, 4, "the tag !foo is not supported"),
    ]


def test_the_number_of_problems_is_bounded() -> None:
    assert len(problems_of("a: 1\n" * 10_000)) == 100


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert any("nested deeper" in text for _, _, text in problems_of(opening * 100_000))


@pytest.mark.parametrize("text", ["[" * 1000 + "]" * 1000, '{"a":' * 5000 + "1" + "}" * 5000])
def test_deep_json_is_refused(text: str) -> None:
    assert any("nested deeper" in text for _, _, text in problems_of(text))


def test_nesting_up_to_the_limit_is_read() -> None:
    text = "[" * LONGEST_DEPTH + "]" * LONGEST_DEPTH
    assert json.dumps(read_yaml(text).value) == text
    assert json.dumps(read_document(text).value) == text


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = problems_of("\n".join(lines))
    assert problem[2] == f"aliases expand to more than {LARGEST_EXPANSION} values"


def test_a_merge_bomb_is_refused() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}"]
    lines += [f"b{n}: {{<<: [{', '.join(['*a0'] * 100)}]}}" for n in range(100)]
    (problem,) = problems_of("\n".join(lines))
    assert problem[2] == f"aliases expand to more than {LARGEST_EXPANSION} values"


@given(st.from_regex(r"[-+.0-9eExXinfNaof_:~tyTY]{0,8}", fullmatch=True))
@settings(max_examples=300)
def test_strings_survive_being_written(text: str) -> None:
    assert read_yaml(yaml.safe_dump({"a": text})).value == {"a": text}


def test_lines() -> None:
    document = read_yaml("a:\n- x\n-\n  b: 1\n  c:\n    d: e\nf: &f\n  g: h\ni: *f\nj:\n  <<: *f\n")
    lines: dict[tuple[str | int, ...], int | None] = {
        (): None,
        ("a",): 1,
        ("a", 0): 2,
        ("a", 1): 4,
        ("a", 1, "c", "d"): 6,
        ("a", 1, "missing", "x"): 4,
        ("a", 9): 1,
        ("nothing",): None,
        ("i", "g"): 8,
        ("j", "g"): 8,
    }
    assert {path: document.line_of(path) for path in lines} == lines
    assert not Document({"a": 1}).has_lines


def test_bytes_must_be_utf8() -> None:
    assert decode_text(b"\xef\xbb\xbfa: b") == "a: b"
    with pytest.raises(UnreadableDocument) as caught:
        decode_text(b"a: b\nc: \xe9\n")
    assert caught.value.problems == [(2, 4, "not valid UTF-8 (byte 0xe9)")]


@pytest.mark.parametrize("value", [{1: "x"}, {"a": [{None: 1}]}, {"a": "\0"}, {"a": "\ud800"}])
def test_decoded_documents_are_checked_too(value: object) -> None:
    with pytest.raises(UnreadableDocument):
        check_plain_data(value)


def test_a_decoded_document_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UnreadableDocument, match="nested deeper"):
        check_plain_data(endless)


PLAIN_DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN_DATA)
@settings(max_examples=150)
def test_json_reads_the_same_as_yaml(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=True)
    if "\\u0000" not in text and "\\ud" not in text:
        assert read_yaml(text).value == value
        assert read_document(text).value == value


@given(st.text("abc:-&*<>|[]{},'\"!%#? \n\t\\0159~é", max_size=40))
@settings(max_examples=400)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        check_plain_data(read_document(text).value)
    except UnreadableDocument as problem:
        told = problem.problems
    else:
        told = [(None, None, "nothing")]
    assert told

"""Templates of request-transformer: what is read, what is refused, and what they become."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.plugins._template_programs import compile_template, template_problem
from gateway.plugins._templates import (
    Binary,
    Call,
    Expression,
    Index,
    Literal,
    Source,
    TemplateProblem,
    Unary,
    read_template,
)
from native.template import render
from tests.gateway.plugins import template_model
from tests.gateway.plugins.template_model import Refused, Seen

HEADERS = [
    (b"Host", b"example.com:80"),
    (b"X-In", b"abcd"),
    (b"many", b"one"),
    (b"Many", b"two"),
    (b"n", b"7"),
]
QUERY = b"q=1&b&list=x&list=y&sp=a%20b%2B+c&=dropped"
PATH = b"/t/aa/bb"
PATTERN = rb"/t/(?<one>\w+)/(?<two>\w+)(?<none>x)?"
SEEN = Seen(
    headers={"host": ["example.com:80"], "x-in": ["abcd"], "many": ["one", "two"], "n": ["7"]},
    query={"q": ["1"], "b": [True], "list": ["x", "y"], "sp": ["a b+ c"]},
    captures={0: "/t/aa/bb", 1: "aa", 2: "bb", "one": "aa", "two": "bb"},
)


def rendered(template: str, room: int = 65536) -> bytes | str:
    return render(
        compile_template(template), HEADERS, QUERY, PATH, PATTERN, room, {b"tenant": b"t1", b"empty": b""}
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", b"plain"),
        ("$5 and $ and )", b"$5 and $ and )"),
        ("", b""),
        ("$(headers.host)", b"example.com:80"),
        ('$(headers["x-in"])', b"abcd"),
        ("$(headers.x_in)", b"abcd"),
        ("$(headers.X_IN)", b"abcd"),
        ("<$(headers.absent)>", b"<>"),
        ('$(headers.absent or "default")', b"default"),
        ("$(headers.absent or query_params.absent or 'third')", b"third"),
        ("$(headers.many)", b"one"),
        ("$(headers.many[2])$(#headers.many)$(type(headers.many))", b"two2table"),
        ("$(query_params.q)", b"1"),
        ("$(query_params.b)", b"true"),
        ("$(query_params.sp)", b"a b+ c"),
        ('$(query_params["list"][2])', b"y"),
        ("/new/$(uri_captures.two)/$(uri_captures[1])", b"/new/bb/aa"),
        ("$(uri_captures.none)$(uri_captures.unknown)$(uri_captures[9])", b""),
        ("$(shared.anything)$(shared[1])", b""),
        ('$(shared.tenant)$(shared["empty"] or "no")', b"t1"),
        ("$(1 + 2)", b"3"),
        ('$(headers.host .. "-z")', b"example.com:80-z"),
        ("$(type(headers))", b"table"),
        ('$(query_params.q == "1" and "one" or "other")', b"one"),
        ('$((headers.x_in or ""):sub(1, 2))', b"ab"),
        ('$(("abc"):upper())$(headers.host:len())', b"ABC14"),
        ("$(2^3^2)$(-2^2)$(10 % 3)$(-10 % 3)", b"512-412"),
        ('$("5" + 1)$("a" .. 1)$(1/4)', b"6a10.25"),
        ("$(not nil)$(nil)$(false)", b"truefalse"),
        (r'$("a\"b\65\n")', b'a"bA\n'),
        ("$(headers.n * 2)", b"14"),
        ('$(")")', b")"),
        ("$( headers . host )", b"example.com:80"),
    ],
)
def test_templates_become_texts(template: str, text: bytes) -> None:
    assert rendered(template) == text


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("$((", "'$(' without its ')'"),
        ("a$(", "'$(' without its ')'"),
        ("$()", "unexpected ')'"),
        ("$(1 2)", "unexpected '2'"),
        ('$("abc)', "a text does not end"),
        ("$(headers)", "'headers' is a table"),
        ('$(string.upper("abc"))', "unknown name 'string'"),
        ('$(os.execute("id"))', "unknown name 'os'"),
        ("$(__import__)", "unknown name '__import__'"),
        ('$(headers.x:gsub("a", "b"))', "no method 'gsub'"),
        ("$(headers.x:sub())", "method 'sub' with 0 arguments"),
        ("$(headers.x:upper(1))", "method 'upper' with 1 arguments"),
        ("$(function() end)", "unknown name 'function'"),
        ('$(("a").b)', "only headers, query_params, uri_captures and shared have values in them"),
        ("$(headers.and)", "unexpected 'and'"),
        ("$(x == 1)", "unknown name 'x'"),
        ("$(1 = 1)", "unexpected '='"),
        ("$(1; 2)", "unexpected ';'"),
        ("$(type())", "type() takes one value"),
        ("$(" + "(" * 40 + "1" + ")" * 40 + ")", "expressions are nested too deeply"),
        ("$(1)" * 65, "more than 64 pieces"),
        ("$(1)" + "a" * 4093, "longer than 4096 characters"),
        (r'$("\200")', "is no ASCII character"),
    ],
)
def test_what_is_refused(template: str, problem: str) -> None:
    text = template_problem(template)
    assert text is not None
    assert text.startswith(f"value '{template}' is not in supported format, error:")
    assert problem in text


@pytest.mark.parametrize(
    "template",
    [
        '$(headers.absent .. "z")',
        "$(headers.absent:upper())",
        "$(headers.x_in + 1)",
        "$(-headers.x_in)",
        "$(shared.a.b)",
        "$(#nil)",
        '$(1 < "a")',
        "$(nil < nil)",
    ],
)
def test_operations_on_the_wrong_type_of_value_fail(template: str) -> None:
    assert rendered(template) == "TEMPLATE_ERROR"


def test_text_without_expressions_may_be_long() -> None:
    assert template_problem("a" * 100_000) is None
    with pytest.raises(TemplateProblem, match="too long"):
        compile_template("a" * 100_000)


def test_a_text_that_does_not_fit_is_given_up() -> None:
    assert rendered("$(headers.host .. headers.host)" * 8, room=256) == "TEMPLATE_TOO_LONG"


def test_uuids_are_random_and_of_version_4() -> None:
    texts = rendered("$(uuid) $(uuidgen)")
    assert isinstance(texts, bytes)
    one, other = texts.decode().split()
    assert one != other
    for text in (one, other):
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text)


@given(st.binary(max_size=60))
def test_any_bytes_as_a_program_end_in_some_way(program: bytes) -> None:
    assert isinstance(render(program, HEADERS, QUERY, PATH, PATTERN, 4096), bytes | str)


# --- any text ------------------------------------------------------------------------------------------
SYMBOLS = [
    "$(",
    ")",
    "(",
    ".",
    "[",
    "]",
    '"',
    "'",
    "..",
    "-",
    "#",
    ":sub(",
    ",",
    "==",
    "\\",
    "{",
    "}",
    "\0",
    " ",
]
WORDS = [
    "headers",
    "query_params",
    "uri_captures",
    "uuid",
    "type",
    "or",
    "and",
    "not",
    "os",
    "import",
    "x",
    "1",
    "é",
]
FRAGMENTS = st.sampled_from(SYMBOLS + WORDS)


@given(st.one_of(st.text(max_size=80), st.lists(FRAGMENTS, max_size=20).map("".join)))
@example("$(headers.x or )")
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but its own kind of error comes out, and what is accepted can be rendered."""
    try:
        program = compile_template(text)
    except TemplateProblem:
        return
    assert isinstance(render(program, HEADERS, QUERY, PATH, PATTERN), bytes | str)


# --- against the model ---------------------------------------------------------------------------------
NAMES = ["host", "x-in", "x_in", "many", "n", "q", "b", "list", "sp", "one", "two", "absent"]
KEYS = st.one_of(st.sampled_from(NAMES).map(Literal), st.integers(0, 3).map(lambda n: Literal(float(n))))
LITERALS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 99).map(float),
    st.text(alphabet="abcXYZ 0123456789-", max_size=5),
).map(Literal)
SOURCES = st.sampled_from(["headers", "query_params", "uri_captures", "shared"]).map(Source)
LEAVES: st.SearchStrategy[Expression] = st.one_of(LITERALS, SOURCES, st.builds(Index, SOURCES, KEYS))


def larger(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    operators = ["and", "or", "==", "~=", "<", "<=", ">", ">=", "..", "+", "-", "*"]
    positions = st.integers(-6, 6).map(
        lambda n: Unary("-", Literal(float(-n))) if n < 0 else Literal(float(n))
    )
    return st.one_of(
        st.builds(Binary, st.sampled_from(operators), inner, inner),
        st.builds(Binary, st.just("%"), inner, st.integers(1, 9).map(lambda n: Literal(float(n)))),
        st.builds(Unary, st.sampled_from(["not", "-", "#"]), inner),
        st.builds(Index, st.builds(Index, SOURCES, KEYS), KEYS),
        st.builds(lambda text: Call("type", (text,)), inner),
        st.builds(
            lambda name, text: Call(name, (text,)),
            st.sampled_from(["upper", "lower", "len", "reverse"]),
            inner,
        ),
        st.builds(lambda text, one, two: Call("sub", (text, one, two)), inner, positions, positions),
    )


EXPRESSIONS = st.recursive(LEAVES, larger, max_leaves=8)


def written(expression: Expression) -> str:
    match expression:
        case Literal(None):
            return "nil"
        case Literal(bool() as value):
            return str(value).lower()
        case Literal(str() as value):
            return f'"{value}"'
        case Literal(value):
            return f"{value:g}"
        case Source(name):
            return name
        case Index(table, key):
            return f"{written(table)}[{written(key)}]"
        case Call("type", (value,)):
            return f"type({written(value)})"
        case Call(name, (text, *rest)):
            return f"({written(text)}):{name}({', '.join(map(written, rest))})"
        case Unary(operator, operand):
            return f"{operator} ({written(operand)})"
        case Binary(operator, left, right):
            return f"({written(left)}) {operator} ({written(right)})"
    raise AssertionError(expression)


@given(EXPRESSIONS)
def test_programs_do_what_expressions_mean(expression: Expression) -> None:
    template = f"<$({written(expression)})>"
    if isinstance(expression, Source):
        assert template_problem(template) is not None
        return
    pieces = read_template(template)
    try:
        expected: bytes | str = template_model.render(pieces, SEEN).encode()
    except Refused:
        expected = "TEMPLATE_ERROR"
    except (ZeroDivisionError, OverflowError):
        return
    assert rendered(template) == expected

"""Templates in the values of request-transformer: `$(headers.x or "none")` within text.

The language is the part of Lua's expressions that needs no trust (docs/transformers.md): values of the
request, texts and numbers, operators, some methods of texts. What a template may do is decided here, when it
is configured::

    text of a template ──read──► pieces: texts and expressions ──compile──► program for native/template.pyx

Nothing of it is ever handed to an interpreter of a programming language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

LONGEST = 4096
"""characters of a text with expressions in it"""
DEEPEST = 24
"""expressions within each other"""

RANDOM = ("uuid", "uuidgen")
"""names of a random UUID; the second one is what a shell's `$(uuidgen)` is when no shell has seen it"""
SOURCES = ("headers", "query_params", "uri_captures", "shared")
METHODS = {"upper": (0, 0), "lower": (0, 0), "sub": (1, 2), "len": (0, 0), "reverse": (0, 0)}
"""methods of texts: how many arguments they take"""


class TemplateProblem(ValueError):
    """What is wrong with a template, in words for whoever wrote it."""


@dataclass(frozen=True)
class Literal:
    """A text, a number, `true`, `false` or `nil` (None)."""

    value: str | float | bool | None


@dataclass(frozen=True)
class Source:
    """`headers`, `query_params`, `uri_captures` or `shared`."""

    name: str


@dataclass(frozen=True)
class Uuid:
    """`uuid`: a random UUID. Kong has none."""


@dataclass(frozen=True)
class Index:
    """`table.key`, `table[key]`."""

    table: Expression
    key: Expression


@dataclass(frozen=True)
class Call:
    """`type(value)`, or a method: `text:upper()`, whose first argument is the text."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Unary:
    """`not`, `-`, `#`."""

    operator: str
    operand: Expression


@dataclass(frozen=True)
class Binary:
    """Everything else between two operands, `and` and `or` included."""

    operator: str
    left: Expression
    right: Expression


Expression: TypeAlias = "Literal | Source | Uuid | Index | Call | Unary | Binary"
Piece: TypeAlias = "str | Expression"
"""what a template consists of: text, and `$(expression)`"""

TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<symbol>\.\.|==|~=|<=|>=|[-+*/%^#<>().,:\[\]])
    """,
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(?:([0-9]{1,3})|(.))", re.DOTALL)
ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

# How tightly operators bind, as in Lua; those of a higher level are put together first.
LEVELS: dict[str, int] = {
    **{"or": 1, "and": 2},
    **dict.fromkeys(("<", ">", "<=", ">=", "~=", "=="), 3),
    "..": 4,
    **dict.fromkeys(("+", "-"), 5),
    **dict.fromkeys(("*", "/", "%"), 6),
    "^": 8,
}
UNARY_LEVEL = 7
TO_THE_RIGHT = frozenset(("..", "^"))
UNARY = frozenset(("not", "-", "#"))
KEYWORDS = {"nil": Literal(None), "true": Literal(True), "false": Literal(False)}
RESERVED = frozenset(("and", "or", "not", *KEYWORDS))


def read_template(template: str) -> list[Piece]:
    """The pieces of a template. Raises TemplateProblem."""
    if is_template(template) and len(template) > LONGEST:
        raise TemplateProblem(f"longer than {LONGEST} characters")
    pieces: list[Piece] = []
    place = 0
    while (start := template.find("$(", place)) >= 0:
        if start > place:
            pieces.append(template[place:start])
        reader = Reader(template, start + 2)
        pieces.append(reader.expression_in_parentheses())
        place = reader.end
    if place < len(template):
        pieces.append(template[place:])
    return pieces


def is_template(text: str) -> bool:
    """Whether there is anything in it that is evaluated."""
    return "$(" in text


class Reader:
    """Reads one expression, token by token."""

    def __init__(self, template: str, place: int) -> None:
        self._template = template
        self._place = place
        self._depth = 0
        self.end = place
        """behind the last token that was taken"""
        self._kind, self._lexeme = "", ""
        self._advance()

    def expression_in_parentheses(self) -> Expression:
        """What stands before the ")" that ends `$(…)`; afterwards `end` is behind it."""
        found = self._expression(0)
        self.end = self._place
        if self._lexeme != ")":
            raise self._unexpected()
        if isinstance(found, Source):
            raise TemplateProblem(f"'{found.name}' is a table: name a value in it, such as {found.name}.x")
        return found

    def _advance(self) -> None:
        while True:
            self._start = self._place
            if self._place == len(self._template):
                self._kind, self._lexeme = "end", ""
                return
            match = TOKEN.match(self._template, self._place)
            if match is None:
                what = self._template[self._place]
                unfinished = what in "'\""
                raise TemplateProblem("a text does not end" if unfinished else f"unexpected '{what}'")
            self._place = match.end()
            if match.lastgroup != "space":
                self._kind, self._lexeme = match.lastgroup or "", match.group()
                return

    def _unexpected(self) -> TemplateProblem:
        if self._kind == "end":
            return TemplateProblem("'$(' without its ')'")
        return TemplateProblem(f"unexpected '{self._lexeme}'")

    def _take(self, lexeme: str) -> None:
        if self._lexeme != lexeme:
            raise self._unexpected()
        self._advance()

    def _expression(self, level: int) -> Expression:
        """An expression of operators that bind tighter than `level`."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise TemplateProblem("expressions are nested too deeply")
        if self._lexeme in UNARY and self._kind != "text":
            operator = self._lexeme
            self._advance()
            left: Expression = Unary(operator, self._expression(UNARY_LEVEL))
        else:
            left = self._value()
        while self._kind in ("symbol", "name") and LEVELS.get(self._lexeme, 0) > level:
            operator = self._lexeme
            self._advance()
            binds = LEVELS[operator]
            left = Binary(operator, left, self._expression(binds - 1 if operator in TO_THE_RIGHT else binds))
        self._depth -= 1
        return left

    def _value(self) -> Expression:
        """A value, and what is asked of it: `.name`, `[key]`, `:method()`."""
        found = self._simple_value()
        while self._kind == "symbol" and self._lexeme in (".", "[", ":"):
            symbol = self._lexeme
            self._advance()
            if symbol == ".":
                found = Index(self._table(found), Literal(self._name()))
            elif symbol == "[":
                found = Index(self._table(found), self._expression(0))
                self._take("]")
            else:
                found = self._method(found)
        return found

    def _table(self, value: Expression) -> Expression:
        if isinstance(value, Source | Index):
            return value
        raise TemplateProblem("only headers, query_params, uri_captures and shared have values in them")

    def _name(self) -> str:
        if self._kind != "name" or self._lexeme in RESERVED:
            raise self._unexpected()
        name = self._lexeme
        self._advance()
        return name

    def _method(self, text: Expression) -> Expression:
        name = self._name()
        if name not in METHODS:
            raise TemplateProblem(f"no method '{name}': there are {', '.join(sorted(METHODS))}")
        arguments = self._arguments()
        least, most = METHODS[name]
        if not least <= len(arguments) <= most:
            raise TemplateProblem(f"method '{name}' with {len(arguments)} arguments")
        return Call(name, (text, *arguments))

    def _arguments(self) -> list[Expression]:
        self._take("(")
        arguments: list[Expression] = []
        if self._lexeme != ")":
            arguments.append(self._expression(0))
            while self._lexeme == ",":
                self._advance()
                arguments.append(self._expression(0))
        self._take(")")
        return arguments

    def _simple_value(self) -> Expression:
        kind, lexeme = self._kind, self._lexeme
        if kind == "number":
            self._advance()
            return Literal(float(lexeme))
        if kind == "text":
            self._advance()
            return Literal(unescaped(lexeme[1:-1]))
        if kind == "symbol" and lexeme == "(":
            self._advance()
            found = self._expression(0)
            self._take(")")
            return found
        if kind != "name" or lexeme in RESERVED - KEYWORDS.keys():
            raise self._unexpected()
        self._advance()
        return self._named(lexeme)

    def _named(self, name: str) -> Expression:
        if name in KEYWORDS:
            return KEYWORDS[name]
        if name in SOURCES:
            return Source(name)
        if name in RANDOM:
            return Uuid()
        if name == "type":
            arguments = self._arguments()
            if len(arguments) != 1:
                raise TemplateProblem("type() takes one value")
            return Call(name, tuple(arguments))
        raise TemplateProblem(f"unknown name '{name}': there are {', '.join((*SOURCES, 'type', 'uuid'))}")


def unescaped(text: str) -> str:
    """The text that a quoted one stands for."""

    def replace(match: re.Match[str]) -> str:
        number, character = match.groups()
        if number is None:
            return ESCAPES.get(character, character)
        if int(number) > 127:
            raise TemplateProblem(f"'\\{number}' is no ASCII character")
        return chr(int(number))

    return ESCAPE.sub(replace, text)

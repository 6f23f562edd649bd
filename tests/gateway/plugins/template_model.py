"""What templates mean, in plain Python: an oracle for native/template.pyx."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.plugins._templates import Binary, Call, Expression, Index, Literal, Piece, Source, Unary


class Refused(Exception):
    """An operation on a value that it is not for."""


@dataclass(frozen=True)
class Seen:
    """What a template sees of a request. An argument without "=" is True."""

    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    query: Mapping[str, Sequence[str | bool]] = field(default_factory=dict)
    captures: Mapping[str | int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    name: str


def render(pieces: Sequence[Piece], seen: Seen) -> str:
    return "".join(
        piece if isinstance(piece, str) else text_of(evaluate(piece, seen), is_output=True)
        for piece in pieces
    )


def first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def text_of(value: Any, *, is_output: bool = False) -> str:
    value = first(value)
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.14g}"
    if is_output and (value is None or isinstance(value, bool)):
        return "" if value is None else str(value).lower()
    raise Refused


def number_of(value: Any) -> float:
    value = first(value)
    if isinstance(value, float):
        return value
    if isinstance(value, str) and value.strip() and set(value.strip()) <= set("0123456789+-.eE"):
        try:
            return float(value)
        except ValueError:
            pass
    raise Refused


def evaluate(expression: Expression, seen: Seen) -> Any:
    match expression:
        case Literal(value):
            return float(value) if type(value) in (int, float) else value
        case Source(name):
            return Table(name)
        case Index(table, key):
            return look_up(evaluate(table, seen), first(evaluate(key, seen)), seen)
        case Call(function, arguments):
            return call(function, [evaluate(argument, seen) for argument in arguments])
        case Unary(operator, operand):
            return unary(operator, evaluate(operand, seen))
        case Binary("and", left, right):
            value = evaluate(left, seen)
            return evaluate(right, seen) if truth(value) else value
        case Binary("or", left, right):
            value = evaluate(left, seen)
            return value if truth(value) else evaluate(right, seen)
        case Binary(operator, left, right):
            return binary(operator, first(evaluate(left, seen)), first(evaluate(right, seen)))
    raise AssertionError(expression)


def truth(value: Any) -> bool:
    return value is not None and value is not False


def look_up(table: Any, key: Any, seen: Seen) -> Any:
    if isinstance(table, tuple):
        is_place = isinstance(key, float) and key.is_integer() and 1 <= key <= len(table)
        return table[int(key) - 1] if is_place else None
    if isinstance(table, str):
        return None
    if not isinstance(table, Table):
        raise Refused
    if table.name == "uri_captures":
        return seen.captures.get(int(key) if isinstance(key, float) and key.is_integer() else key)
    if not isinstance(key, str):
        return None
    if table.name == "headers":
        values = seen.headers.get(key.lower()) or seen.headers.get(key.lower().replace("_", "-")) or ()
    elif table.name == "query_params":
        values = seen.query.get(key, ())
    else:
        values = ()
    return None if not values else values[0] if len(values) == 1 else tuple(values)


def unary(operator: str, value: Any) -> Any:
    if operator == "not":
        return not truth(value)
    if operator == "-":
        return -number_of(value)
    if isinstance(value, str | tuple):
        return float(len(value))
    if isinstance(value, Table):
        return 0.0
    raise Refused


def binary(operator: str, left: Any, right: Any) -> Any:
    if operator in ("==", "~="):
        return (type(left) is type(right) and left == right) == (operator == "==")
    if operator == "..":
        return text_of(left) + text_of(right)
    if operator in ("<", "<=", ">", ">="):
        if type(left) is not type(right) or not isinstance(left, str | float):
            raise Refused
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]
    return calculate(operator, number_of(left), number_of(right))


def calculate(operator: str, left: float, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "%":
            return left - math.floor(left / right) * right
        case "^":
            return left**right
    raise AssertionError(operator)


def call(function: str, arguments: list[Any]) -> Any:
    if function == "type":
        return type_of(arguments[0])
    text, *rest = map(first, arguments)
    if not isinstance(text, str):
        raise Refused
    numbers = [int(number_of(one)) for one in rest]
    match function:
        case "upper":
            return text.upper()
        case "lower":
            return text.lower()
        case "len":
            return float(len(text))
        case "reverse":
            return text[::-1]
        case "sub":
            return part(text, *numbers)
    raise AssertionError(function)


def part(text: str, start: int, end: int = -1) -> str:
    start = max(1, len(text) + start + 1 if start < 0 else start)
    end = min(len(text), len(text) + end + 1 if end < 0 else end)
    return text[start - 1 : end] if start <= end else ""


def type_of(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "table"

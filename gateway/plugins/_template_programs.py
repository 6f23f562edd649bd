"""Compiling templates into programs for the stack machine of native/template.pyx."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import assert_never

from native.template import TemplateFunction, TemplateInstruction, TemplateSource

from ._templates import (
    Binary,
    Call,
    Expression,
    Index,
    Literal,
    Source,
    TemplateProblem,
    Unary,
    Uuid,
    is_template,
    read_template,
)

STACK = 32
"""values that the machine holds (TEMPLATE_STACK)"""
PIECES = 64
"""pieces that it puts together (TEMPLATE_PIECES)"""
LONGEST_PROGRAM = 0xFFFF

SOURCES = {
    "headers": TemplateSource.TEMPLATE_HEADERS,
    "query_params": TemplateSource.TEMPLATE_QUERY,
    "uri_captures": TemplateSource.TEMPLATE_CAPTURES,
    "shared": TemplateSource.TEMPLATE_SHARED,
}
UNARY = {
    "not": TemplateInstruction.TEMPLATE_NOT,
    "-": TemplateInstruction.TEMPLATE_NEGATE,
    "#": TemplateInstruction.TEMPLATE_LENGTH,
}
BINARY = {
    "..": TemplateInstruction.TEMPLATE_CONCATENATE,
    "+": TemplateInstruction.TEMPLATE_ADD,
    "-": TemplateInstruction.TEMPLATE_SUBTRACT,
    "*": TemplateInstruction.TEMPLATE_MULTIPLY,
    "/": TemplateInstruction.TEMPLATE_DIVIDE,
    "%": TemplateInstruction.TEMPLATE_MODULO,
    "^": TemplateInstruction.TEMPLATE_POWER,
    "==": TemplateInstruction.TEMPLATE_EQUAL,
    "~=": TemplateInstruction.TEMPLATE_EQUAL,
    "<": TemplateInstruction.TEMPLATE_LESS,
    "<=": TemplateInstruction.TEMPLATE_LESS_OR_EQUAL,
    ">": TemplateInstruction.TEMPLATE_LESS,
    ">=": TemplateInstruction.TEMPLATE_LESS_OR_EQUAL,
}
SWAPPED = frozenset((">", ">="))
CHOICES = {"and": TemplateInstruction.TEMPLATE_AND, "or": TemplateInstruction.TEMPLATE_OR}


@lru_cache(maxsize=1024)
def compile_template(template: str) -> bytes:
    """The program of a template. Raises TemplateProblem for what is none."""
    pieces = read_template(template)
    if len(pieces) > PIECES:
        raise TemplateProblem(f"more than {PIECES} pieces")
    compiler = Compiler()
    for piece in pieces:
        if isinstance(piece, str):
            compiler.put_text(TemplateInstruction.TEMPLATE_LITERAL, piece)
        else:
            compiler.compile(piece)
            compiler.drop()
            compiler.program.append(TemplateInstruction.TEMPLATE_OUTPUT)
    compiler.program.append(TemplateInstruction.TEMPLATE_END)
    if len(compiler.program) > LONGEST_PROGRAM:
        raise TemplateProblem("too long")
    return bytes(compiler.program)


def template_problem(text: str) -> str | None:
    """What Kong's schema says of a value that is not a template it can read; None: nothing is wrong."""
    if not is_template(text):
        return None
    try:
        compile_template(text)
    except TemplateProblem as problem:
        return f"value '{text}' is not in supported format, error:{problem}"
    return None


class Compiler:
    """Appends instructions, and knows how many values lie on the stack when they have run."""

    def __init__(self) -> None:
        self.program = bytearray()
        self._depth = 0

    def push(self) -> None:
        self._depth += 1
        if self._depth > STACK:
            raise TemplateProblem("expressions are nested too deeply")

    def drop(self, values: int = 1) -> None:
        self._depth -= values

    def put_text(self, instruction: TemplateInstruction, text: str) -> None:
        octets = text.encode(errors="surrogatepass")
        if len(octets) > LONGEST_PROGRAM:
            raise TemplateProblem("too long")
        self.program.append(instruction)
        self.program += struct.pack("<H", len(octets)) + octets

    def compile(self, expression: Expression) -> None:
        """Instructions that leave the expression's value on the stack."""
        match expression:
            case Literal(value):
                self._literal(value)
                self.push()
            case Source(name):
                self.program += bytes((TemplateInstruction.TEMPLATE_SOURCE, SOURCES[name]))
                self.push()
            case Uuid():
                self.program += bytes((TemplateInstruction.TEMPLATE_SOURCE, TemplateSource.TEMPLATE_UUID))
                self.push()
            case Index(table, key):
                self.compile(table)
                self.compile(key)
                self.program.append(TemplateInstruction.TEMPLATE_INDEX)
                self.drop()
            case Call(function, arguments):
                self._call(function, arguments)
            case Unary(operator, operand):
                self.compile(operand)
                self.program.append(UNARY[operator])
            case Binary():
                self._binary(expression)
            case _:
                assert_never(expression)

    def _literal(self, value: str | float | bool | None) -> None:
        if value is None:
            self.program.append(TemplateInstruction.TEMPLATE_NIL)
        elif value is True or value is False:
            instruction = TemplateInstruction.TEMPLATE_TRUE if value else TemplateInstruction.TEMPLATE_FALSE
            self.program.append(instruction)
        elif isinstance(value, str):
            self.put_text(TemplateInstruction.TEMPLATE_TEXT, value)
        else:
            self.program.append(TemplateInstruction.TEMPLATE_NUMBER)
            self.program += struct.pack("<d", value)

    def _call(self, function: str, arguments: tuple[Expression, ...]) -> None:
        for argument in arguments:
            self.compile(argument)
        code = TemplateFunction[f"TEMPLATE_{function.upper()}"]
        self.program += bytes((TemplateInstruction.TEMPLATE_CALL, code, len(arguments)))
        self.drop(len(arguments) - 1)

    def _binary(self, expression: Binary) -> None:
        operator, left, right = expression.operator, expression.left, expression.right
        if operator in CHOICES:
            self.compile(left)
            self.program.append(CHOICES[operator])
            place = len(self.program)
            self.program += b"\0\0"
            self.drop()
            self.compile(right)
            self._set_end(place)
            return
        if operator in SWAPPED:
            left, right = right, left
        self.compile(left)
        self.compile(right)
        self.program.append(BINARY[operator])
        self.drop()
        if operator == "~=":
            self.program.append(TemplateInstruction.TEMPLATE_NOT)

    def _set_end(self, place: int) -> None:
        end = len(self.program)
        if end > LONGEST_PROGRAM:
            raise TemplateProblem("too long")
        struct.pack_into("<H", self.program, place, end)

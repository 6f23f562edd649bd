"""Rendering templates: `$(headers.x or "none")` in the values of request-transformer.

gateway/plugins/_templates.py reads a template and writes a program for the small stack machine here. A program has no
loops and no memory of its own, so it ends after as many steps as it has instructions; it sees the request and nothing
else. Values behave as in Lua, in which Kong's templates are written.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.arguments cimport Arguments
from native.fields cimport Head, SharedText, Text
from native.regex cimport Regex
from native.scratch cimport Scratch

cdef enum:
    TEMPLATE_STACK = 32          # values; the compiler refuses what needs more
    TEMPLATE_PIECES = 64         # pieces of text and rendered expressions

# One byte each; what follows it in the program stands behind it. Numbers are little endian.
cpdef enum TemplateInstruction:
    TEMPLATE_END = 0
    TEMPLATE_LITERAL = 1         # u16 length, text: goes into the result as it is
    TEMPLATE_OUTPUT = 2          # the top value goes into the result; nil is nothing
    TEMPLATE_TEXT = 3            # u16 length, text: push
    TEMPLATE_NUMBER = 4          # f64: push
    TEMPLATE_NIL = 5
    TEMPLATE_TRUE = 6
    TEMPLATE_FALSE = 7
    TEMPLATE_SOURCE = 8          # u8 TemplateSource: push
    TEMPLATE_INDEX = 9           # table, key → value
    TEMPLATE_AND = 10            # u16 end: a false top value stays and the program goes on there; else it is dropped
    TEMPLATE_OR = 11             # u16 end: a true one does
    TEMPLATE_NOT = 12
    TEMPLATE_NEGATE = 13
    TEMPLATE_LENGTH = 14
    TEMPLATE_CONCATENATE = 15
    TEMPLATE_ADD = 16
    TEMPLATE_SUBTRACT = 17
    TEMPLATE_MULTIPLY = 18
    TEMPLATE_DIVIDE = 19
    TEMPLATE_MODULO = 20
    TEMPLATE_POWER = 21
    TEMPLATE_EQUAL = 22
    TEMPLATE_LESS = 23
    TEMPLATE_LESS_OR_EQUAL = 24
    TEMPLATE_CALL = 25           # u8 TemplateFunction, u8 number of arguments: they give way to its result

cpdef enum TemplateSource:
    TEMPLATE_HEADERS = 0
    TEMPLATE_QUERY = 1
    TEMPLATE_CAPTURES = 2
    TEMPLATE_SHARED = 3          # what plugins have told each other (kong.ctx.shared)
    TEMPLATE_UUID = 4            # a new random UUID each time; extension

cpdef enum TemplateFunction:
    TEMPLATE_TYPE = 0            # type(value)
    TEMPLATE_UPPER = 1           # methods of texts
    TEMPLATE_LOWER = 2
    TEMPLATE_SUB = 3
    TEMPLATE_LEN = 4
    TEMPLATE_REVERSE = 5

cpdef enum TemplateResult:
    TEMPLATE_RENDERED = 0
    TEMPLATE_ERROR = 1           # an operation on a value that it is not for, as in Lua
    TEMPLATE_TOO_LONG = 2        # the scratch is used up
    TEMPLATE_BROKEN = 3          # no program

# What a template sees.
ctypedef struct TemplateRequest:
    Head head
    const uint8_t* query         # encoded
    uint32_t query_length
    const uint8_t* path          # in which the captures lie
    const uint32_t* captures     # start, end; see RouteMatch
    uint32_t capture_count
    const Regex* regex           # of the route's path, for the names of its groups; NULL: it has none
    const SharedText* shared     # NULL: nothing
    uint64_t* random             # state of the generator
    Scratch* scratch
    Arguments arguments          # of the query, once they are needed
    uint8_t has_arguments

# The text of a template. It lies in the scratch, so that it stays when the head is changed.
cdef TemplateResult template_render(TemplateRequest* request, Text program, Text* rendered) noexcept nogil

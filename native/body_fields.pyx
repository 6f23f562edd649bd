"""Scanning queries and bodies for a field; see body_fields.pxd."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcpy

from native.fields cimport Text, same_text, text_of
from native.text cimport is_text

cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t length, const void* wanted, size_t wanted_length)


cdef inline bint begins_with(Text text, const char* lower, uint32_t length) noexcept nogil:
    return text.length >= length and is_text(text.data, length, lower, length)


cdef inline Text text_between(Text text, uint32_t start, uint32_t end) noexcept nogil:
    return text_of(text.data + start, end - start)


cdef BodyKind body_kind_of(Text content_type) noexcept nogil:
    if begins_with(content_type, b"application/x-www-form-urlencoded", 33):
        return FORM_BODY
    if begins_with(content_type, b"application/json", 16):
        return JSON_BODY
    if begins_with(content_type, b"multipart/form-data", 19):
        return MULTIPART_BODY
    return BODY_OF_OTHER_KIND


cdef inline int hex_value(uint8_t byte) noexcept nogil:
    if 48 <= byte <= 57:
        return byte - 48
    byte |= 32
    if 97 <= byte <= 102:
        return byte - 87
    return -1


include "body_fields_form.pxi"
include "body_fields_json.pxi"
include "body_fields_multipart.pxi"


# --- for unit tests --------------------------------------------------------------------------------------------------
cdef Text text_from(bytes octets):
    return text_of(<const char*> octets, <uint32_t> len(octets))


cdef bytes bytes_from(Text text):
    return text.data[:text.length]


def body_kind(content_type: bytes) -> BodyKind:
    """body_kind_of()."""
    return BodyKind(body_kind_of(text_from(content_type)))


def look_up_in_form(form: bytes, name: bytes) -> tuple[FieldResult, bytes | None]:
    """form_field(), with the value decoded."""
    cdef Text value
    cdef FieldResult result = form_field(text_from(form), text_from(name), &value)
    if result != FIELD_TEXT:
        return FieldResult(result), None
    if not is_encoded(value):
        return FieldResult(result), bytes_from(value)
    out = bytearray(value.length)
    cdef uint8_t* start = out
    return FieldResult(result), bytes(out[:decode_form_text(value, start)])


def look_up_in_json(json: bytes, name: bytes) -> tuple[FieldResult, bytes | None]:
    """json_member(), with the value decoded."""
    cdef Text value
    cdef FieldResult result = json_member(text_from(json), text_from(name), &value)
    if result != FIELD_TEXT:
        return FieldResult(result), None
    if not is_escaped(value):
        return FieldResult(result), bytes_from(value)
    out = bytearray(value.length)
    cdef uint8_t* start = out
    return FieldResult(result), bytes(out[:decode_json_text(value, start)])


def look_up_in_multipart(body: bytes, content_type: bytes, name: bytes) -> tuple[FieldResult, bytes | None]:
    """multipart_field() with the boundary of a Content-Type."""
    cdef Text value
    cdef FieldResult result
    result = multipart_field(text_from(body), multipart_boundary(text_from(content_type)), text_from(name), &value)
    return FieldResult(result), bytes_from(value) if result == FIELD_TEXT else None


def form_left(form: bytes, name: bytes) -> bytes:
    """form_without()."""
    out = bytearray(len(form))
    cdef uint8_t* start = out
    return bytes(out[:form_without(text_from(form), text_from(name), start)])


def json_left(json: bytes, name: bytes) -> bytes:
    """json_without()."""
    out = bytearray(len(json))
    cdef uint8_t* start = out
    return bytes(out[:json_without(text_from(json), text_from(name), start)])


def multipart_left(body: bytes, content_type: bytes, name: bytes) -> bytes:
    """multipart_without()."""
    out = bytearray(len(body))
    cdef uint8_t* start = out
    cdef Text boundary = multipart_boundary(text_from(content_type))
    return bytes(out[:multipart_without(text_from(body), boundary, text_from(name), start)])

"""Fields of queries and bodies: looking one up by name, and what is left without it.

For steps that want one text out of a form, a multipart form or a JSON object. Every scan is one pass over the text,
needs no memory of its own, and knows no recursion, whatever the text is. Nothing is repaired: what is no JSON has no
members.
"""

from libc.stdint cimport uint8_t, uint32_t

from native.fields cimport Text

cpdef enum BodyKind:
    BODY_OF_OTHER_KIND = 0
    FORM_BODY = 1                # application/x-www-form-urlencoded
    JSON_BODY = 2                # application/json
    MULTIPART_BODY = 3           # multipart/form-data

cpdef enum FieldResult:
    FIELD_ABSENT = 0
    FIELD_TEXT = 1               # the value is a text
    FIELD_OTHER = 2              # it is something else: a number, true, null; in a form: a name without "="
    FIELD_SEVERAL = 3            # several values: a repeated name in a form, a list or object in JSON

cdef enum:
    JSON_DEPTH = 1000            # objects and lists in each other; more is no JSON (as in Kong)

# What a body is, by its Content-Type.
cdef BodyKind body_kind_of(Text content_type) noexcept nogil

# --- queries and forms (WHATWG URL §5.1; a "%" that begins no escape stands for itself) -------------------------------
# The value of the argument `name`, still encoded.
cdef FieldResult form_field(Text form, Text name, Text* value) noexcept nogil
# Decode a value into `out` (room for its length). Returns the length.
cdef uint32_t decode_form_text(Text encoded, uint8_t* out) noexcept nogil
# Whether decoding would change it.
cdef bint is_encoded(Text encoded) noexcept nogil
# From the first to the last value of the arguments called `name`, with what is between them. False: there are none.
cdef bint form_values(Text form, Text name, Text* values) noexcept nogil
# Copy the form without its arguments called `name` into `out` (room for the form's length). Returns the length.
cdef uint32_t form_without(Text form, Text name, uint8_t* out) noexcept nogil

# --- JSON (RFC 8259) -------------------------------------------------------------------------------------------------
# The member `name` of the object that the text is; of several with that name the last one. `value`, of a FIELD_TEXT:
# between its quotes, still escaped. A text that is no JSON, or no object, has none.
cdef FieldResult json_member(Text json, Text name, Text* value) noexcept nogil
# Decode a string's content into `out` (room for its length). Returns the length.
cdef uint32_t decode_json_text(Text escaped, uint8_t* out) noexcept nogil
cdef bint is_escaped(Text escaped) noexcept nogil
# Copy the object without its members called `name`, and without white space, into `out` (room for the text's length).
# Only for texts in which json_member() has found something. Returns the length.
cdef uint32_t json_without(Text json, Text name, uint8_t* out) noexcept nogil

# --- multipart forms (RFC 7578) --------------------------------------------------------------------------------------
# The boundary that a Content-Type names; empty: none that may be one (RFC 2046 §5.1.1).
cdef Text multipart_boundary(Text content_type) noexcept nogil
# The content of the part called `name`.
cdef FieldResult multipart_field(Text body, Text boundary, Text name, Text* value) noexcept nogil
# Copy the body without the parts called `name` into `out` (room for the body's length). Returns the length.
cdef uint32_t multipart_without(Text body, Text boundary, Text name, uint8_t* out) noexcept nogil

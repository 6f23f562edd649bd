"""The header fields of a message as steps see and change them: what was received, and what was added to it.

A field that is removed stays where it is and gets a mark; a field that is added is a whole line in a text of its own.
So an unchanged head is still copied in one piece. The fields that frame a message or belong to the gateway
(Content-Length, Transfer-Encoding, Connection, X-Forwarded-*, Via, …) cannot be changed this way.

Names and values are checked here, whoever made them: a value with CR, LF or NUL, or a name that is none, is refused, so
that no text from a request can become a line of a head.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from native.headers cimport HeaderField
from native.memory cimport Buffer, BufferStock

cdef enum:
    MAX_ADDED_FIELDS = 64
    MAX_ADDED_TEXT = 65536       # bytes of all added lines of a head

# A text that somebody else owns.
ctypedef struct Text:
    const uint8_t* data
    uint32_t length

# One that plugins of a request tell each other by name (kong.ctx.shared).
ctypedef struct SharedText:
    SharedText* next
    Text name
    Text value

ctypedef struct AddedField:
    uint32_t offset              # of the line in the text
    uint32_t length              # of the line, CRLF included
    uint16_t name_length
    uint8_t removed
    uint8_t replaces             # response only: the upstream's fields of that name give way, once they are known

ctypedef struct FieldEdits:
    Buffer* text                 # NULL: nothing was added
    uint16_t count
    AddedField added[MAX_ADDED_FIELDS]

# A head: the received one and the edits to it. Cheap to make, valid as long as the exchange does not move its buffers.
ctypedef struct Head:
    const uint8_t* base
    HeaderField* fields
    uint16_t count
    FieldEdits* edits
    BufferStock* stock

cdef inline Text text_of(const void* data, uint32_t length) noexcept nogil:
    cdef Text text
    text.data = <const uint8_t*> data
    text.length = length
    return text

# Whether two texts are the same bytes.
cdef bint same_text(Text one, Text other) noexcept nogil

# The value of the field `name` (any case) that comes as number `nth` (0: the first) among those of that name. False:
# there is none.
cdef bint find_field(const Head* head, const char* name, uint32_t name_length, uint32_t nth, Text* value) noexcept nogil
# The value of the first received field of a KnownHeader that is not removed. False: there is none.
cdef bint find_known_field(const Head* head, uint8_t known, Text* value) noexcept nogil
# How many fields of that name there are.
cdef uint32_t count_fields(const Head* head, const char* name, uint32_t name_length) noexcept nogil

# Remove all fields of that name.
cdef void remove_field(Head* head, const char* name, uint32_t name_length) noexcept nogil
# Add a field behind those that are there. False: refused (see above), or no room is left.
cdef bint add_field(Head* head, const char* name, uint32_t name_length, const void* value, uint32_t length) noexcept nogil
# The same for a name that is a constant of the gateway's own, which steps may set: it is not looked at.
cdef bint add_own_field(Head* head, const char* name, uint32_t name_length, const void* value,
                        uint32_t length) noexcept nogil
# Remove all of that name, and add one.
cdef bint set_field(Head* head, const char* name, uint32_t name_length, const void* value, uint32_t length) noexcept nogil
# The same for a name that is known to be one that may be changed.
cdef bint set_own_field(Head* head, const char* name, uint32_t name_length, const void* value,
                        uint32_t length) noexcept nogil
# Whether a step may change the field `name`.
cdef bint may_change(const char* name, uint32_t name_length) noexcept nogil

# Walk over all fields that are there, received ones first. Begin with 0; False at the end.
cdef bint next_field(const Head* head, uint32_t* place, Text* name, Text* value) noexcept nogil

# Remove received fields for which an added one stands (`replaces`). For response heads, once they are parsed.
cdef void apply_replacements(Head* head) noexcept nogil
# Append the added lines that are not removed.
cdef void put_added(Buffer* out, const FieldEdits* edits) noexcept nogil
cdef uint32_t added_length(const FieldEdits* edits) noexcept nogil

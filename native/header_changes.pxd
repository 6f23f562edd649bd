"""What transformers do with the fields of a head, in Kong's terms."""

from libc.stdint cimport uint32_t

from native.connection cimport Exchange
from native.fields cimport Head, Text

# In this order they apply.
cpdef enum Change:
    CHANGE_REMOVE = 0
    CHANGE_RENAME = 1            # the value is the new name; fields that have it already give way
    CHANGE_REPLACE = 2           # only what is there
    CHANGE_ADD = 3               # only what is not there
    CHANGE_APPEND = 4            # one more

# Carry out one change of the field `name`. Fields that only the gateway writes stay as they are; control characters of a
# value, which end a line or worse, are escaped as in a URL. False: there is no room for more fields.
cdef bint change_header(Exchange* exchange, Head* head, uint32_t change, Text name, Text value) noexcept nogil

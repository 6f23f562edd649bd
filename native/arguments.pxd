"""Arguments of a query or of a form body (application/x-www-form-urlencoded), as Kong takes them apart and writes them.

`a=1&b&a=2`: "+" is a space, "%41" a byte, an escape that is none stays as it is; an argument without name is dropped;
one without "=" is *bare* and stays so. Written again, everything but letters, digits and "-._~" is escaped, arguments
of a name stand together, and names are sorted (corrections.md, 26).
"""

from libc.stdint cimport uint8_t, uint32_t

from native.fields cimport Text
from native.scratch cimport Scratch

ctypedef struct Argument:
    Text name                    # decoded
    Text value                   # decoded; empty when bare
    Text written_name            # as it is written; for arguments_write only
    uint32_t hash                # of the name
    uint8_t bare
    uint8_t removed
    uint8_t separator            # what follows the name where its group is written; for arguments_write only

# Everything in it lies in the scratch, or in texts that were handed in. `overflow`: the scratch was too small, and the
# arguments are of no use.
ctypedef struct Arguments:
    Scratch* scratch
    Argument* items
    uint32_t count
    uint32_t capacity
    uint8_t overflow

cdef void arguments_begin(Arguments* arguments, Scratch* scratch) noexcept nogil
# Add those of an encoded text, behind those that are there.
cdef void arguments_parse(Arguments* arguments, Text encoded) noexcept nogil
# The argument that comes as number `nth` (0: the first) among those of that name; NULL: none.
cdef const Argument* arguments_find(const Arguments* arguments, Text name, uint32_t nth) noexcept nogil
cdef uint32_t arguments_count(const Arguments* arguments, Text name) noexcept nogil

cdef void arguments_remove(Arguments* arguments, Text name) noexcept nogil
# All of `old` get the name `new`, whose own arguments give way; nothing happens when there is no `old`.
cdef void arguments_rename(Arguments* arguments, Text old, Text new) noexcept nogil
# One argument with this value instead of all of that name, if there is any.
cdef void arguments_replace(Arguments* arguments, Text name, Text value) noexcept nogil
# One more, if there is none of that name.
cdef void arguments_add(Arguments* arguments, Text name, Text value) noexcept nogil
# One more; it takes the place of a single bare one.
cdef void arguments_append(Arguments* arguments, Text name, Text value) noexcept nogil
# Encoded and sorted, in the scratch. False: the scratch is too small.
cdef bint arguments_write(Arguments* arguments, Text* encoded) noexcept nogil

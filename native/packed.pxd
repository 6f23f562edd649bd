"""Packed configurations of plugins: a struct, and behind it the texts and arrays that it refers to by offset.

Written in the control process by the step's own module, read in place by the workers: every offset counts from the
struct's first byte, so the whole may lie anywhere (8-byte aligned).
"""

from libc.stdint cimport uint8_t, uint32_t

from native.fields cimport Text, text_of

ctypedef struct PackedText:
    uint32_t offset              # from the first byte of the configuration
    uint32_t length              # a NUL follows that is not counted

cdef inline Text packed_text(const void* config, PackedText place) noexcept nogil:
    return text_of(<const uint8_t*> config + place.offset, place.length)

cdef class Packer:
    cdef bytearray data
    cdef uint32_t struct_size
    # Put a text behind what is there; equal texts are not put together.
    cdef PackedText text(self, str text) except *
    cdef PackedText octets(self, bytes octets) except *
    # Put an array of records (or anything else) there, 8-byte aligned; returns its offset.
    cdef uint32_t array(self, bytes records) except 0
    # The configuration, `config` being the struct of the size that the packer was made for. What is not set in it must
    # be zero (memset): the hash of the whole tells whether a configuration has changed.
    cdef bytes finish(self, const void* config)

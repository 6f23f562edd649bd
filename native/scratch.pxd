"""Working memory for one call of a step: taken from front to back, thrown away as a whole.

Nothing of it outlives the function that uses it; what must is copied into the exchange's memory.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    SCRATCH_ALIGNMENT = 8

ctypedef struct Scratch:
    uint8_t* data                # 8-byte aligned
    uint32_t capacity
    uint32_t used

cdef inline void scratch_begin(Scratch* scratch, uint8_t* data, uint32_t capacity) noexcept nogil:
    scratch.data = data
    scratch.capacity = capacity
    scratch.used = 0

# `size` bytes, or NULL when it is used up.
cdef inline uint8_t* scratch_take(Scratch* scratch, uint32_t size) noexcept nogil:
    cdef uint8_t* place = scratch.data + scratch.used
    cdef uint32_t room = scratch.capacity - scratch.used
    if size > room or room - size < SCRATCH_ALIGNMENT:
        return NULL
    scratch.used += (size + SCRATCH_ALIGNMENT - 1) & ~<uint32_t> (SCRATCH_ALIGNMENT - 1)
    return place

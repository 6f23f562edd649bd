"""Random UUIDs as text."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.exchange_record cimport next_random

cdef enum:
    UUID_TEXT = 36


# Version 4 (RFC 9562 §5.4), 36 characters at `out`. It identifies, it protects nothing.
cdef inline void write_uuid(uint64_t* random, uint8_t* out) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef uint64_t words[2]
    cdef uint32_t digit = 0
    cdef uint32_t i
    words[0] = (next_random(random) & <uint64_t> 0xffffffffffff0fff) | 0x4000
    words[1] = (next_random(random) & <uint64_t> 0x3fffffffffffffff) | <uint64_t> 0x8000000000000000
    for i in range(<uint32_t> UUID_TEXT):
        if i == 8 or i == 13 or i == 18 or i == 23:
            out[i] = 45
        else:
            out[i] = <uint8_t> digits[(words[digit >> 4] >> (60 - 4 * (digit & 15))) & 15]
            digit += 1

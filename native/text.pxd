"""Writing text into a Buffer. Appends are checked: what does not fit sets the overflow mark and writes nothing."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from native.memory cimport Buffer

cdef extern from *:
    r"""
    #define SERVER_FIELD "Server: " PRODUCT "\r\n"
    """
    const char* PRODUCT          # "kong/x.y.z", set by setup.py
    const char* SERVER_FIELD

cdef enum:
    NUMBER_TEXT = 20             # digits of the largest 64-bit number


cdef inline void put(Buffer* buffer, const void* data, uint32_t length) noexcept nogil:
    if buffer.capacity - buffer.end < length:
        buffer.overflow = 1
        return
    memcpy(&buffer.data[0] + buffer.end, data, length)
    buffer.end += length


cdef inline void put_text(Buffer* buffer, const char* text) noexcept nogil:
    # the length of a literal is known to the compiler
    put(buffer, text, <uint32_t> strlen(text))


cdef inline bint overflowed(const Buffer* buffer) noexcept nogil:
    return buffer.overflow != 0


# Decimal digits of `number` at `out` (room for NUMBER_TEXT); returns how many.
cdef inline uint32_t format_number(uint64_t number, uint8_t* out) noexcept nogil:
    cdef uint8_t digits[NUMBER_TEXT]
    cdef uint32_t length = 0
    cdef uint32_t i
    while True:
        digits[length] = <uint8_t> (48 + number % 10)
        length += 1
        number = number / 10
        if number == 0:
            break
    for i in range(length):
        out[i] = digits[length - 1 - i]
    return length


cdef inline void put_number(Buffer* buffer, uint64_t number) noexcept nogil:
    cdef uint8_t digits[NUMBER_TEXT]
    put(buffer, digits, format_number(number, digits))


# Lower-case hex without leading zeros, as chunk sizes are written.
cdef inline uint32_t format_hex(uint64_t number, uint8_t* out) noexcept nogil:
    cdef uint32_t length = 1
    cdef uint64_t rest = number >> 4
    cdef uint32_t i
    cdef uint32_t digit
    while rest:
        length += 1
        rest >>= 4
    for i in range(length):
        digit = <uint32_t> ((number >> (4 * (length - 1 - i))) & 15)
        out[i] = <uint8_t> (digit + (48 if digit < 10 else 87))
    return length


cdef inline bint is_text(const uint8_t* data, uint32_t length, const char* lower, uint32_t lower_length) noexcept nogil:
    """Compare with a lower-case ASCII text, without regard to case."""
    cdef uint32_t i
    cdef uint8_t c
    if length != lower_length:
        return False
    for i in range(length):
        c = data[i]
        if 65 <= c <= 90:
            c += 32
        if c != <uint8_t> lower[i]:
            return False
    return True

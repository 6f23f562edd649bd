"""Digests and message authentication through the system's OpenSSL 3 (libcrypto.so.3, opened at run time), base64, and
comparison in constant time.

Any thread; nothing is allocated.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t

cdef enum:
    LONGEST_DIGEST = 64          # bytes
    LONGEST_BLOCK = 128

cpdef enum DigestKind:
    SHA1 = 0
    SHA256 = 1
    SHA384 = 2
    SHA512 = 3

# A piece of a message.
ctypedef struct Octets:
    const void* data
    uint32_t length

# Bytes of a digest.
cdef uint32_t digest_length(DigestKind kind) noexcept nogil
# The digest of the pieces, one behind the other, into `out` (room for LONGEST_DIGEST).
cdef void digest(DigestKind kind, const Octets* pieces, uint32_t count, uint8_t* out) noexcept nogil
# The same for HMAC (RFC 2104).
cdef void hmac(DigestKind kind, const void* key, uint32_t key_length, const Octets* pieces, uint32_t count,
               uint8_t* out) noexcept nogil

# Whether `length` bytes are equal, in a time that depends on `length` alone.
cdef bint equal_octets(const uint8_t* one, const uint8_t* other, uint32_t length) noexcept nogil

# Lower-case hex; `out` has room for twice the length.
cdef void hex_text(const uint8_t* data, uint32_t length, uint8_t* out) noexcept nogil

# Decode base64 (RFC 4648 §4), with or without padding, into `out` (room for `length` / 4 * 3 + 3 bytes; may be `text`).
# `url`: the alphabet of §5 instead. Returns the number of bytes, -1 for anything that is no base64.
cdef int32_t decode_base64(const uint8_t* text, uint32_t length, bint url, uint8_t* out) noexcept nogil
# Encode with padding; `out` has room for (length + 2) / 3 * 4 bytes. Returns the number of characters.
cdef uint32_t encode_base64(const uint8_t* data, uint32_t length, uint8_t* out) noexcept nogil

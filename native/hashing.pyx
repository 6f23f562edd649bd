"""XXH64 (here) and XXH3 (hashing_xxh3.pxi), written from their specification (github.com/Cyan4973/xxHash,
doc/xxhash_spec.md) and tested against `xxhash`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

cdef extern from *:
    """
    #include <string.h>
    /* Unaligned little-endian reads; a fixed-size memcpy compiles to one load. */
    static inline uint64_t gateway_read64(const uint8_t* at) { uint64_t v; memcpy(&v, at, 8); return v; }
    static inline uint32_t gateway_read32(const uint8_t* at) { uint32_t v; memcpy(&v, at, 4); return v; }
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "snapshots and hashes are little endian"
    #endif
    #define XXH64_PRIME_1 0x9E3779B185EBCA87ULL
    #define XXH64_PRIME_2 0xC2B2AE3D27D4EB4FULL
    #define XXH64_PRIME_3 0x165667B19E3779F9ULL
    #define XXH64_PRIME_4 0x85EBCA77C2B2AE63ULL
    #define XXH64_PRIME_5 0x27D4EB2F165667C5ULL
    """
    uint64_t read64 "gateway_read64"(const uint8_t* at) noexcept nogil
    uint32_t read32 "gateway_read32"(const uint8_t* at) noexcept nogil
    const uint64_t PRIME_1 "XXH64_PRIME_1"
    const uint64_t PRIME_2 "XXH64_PRIME_2"
    const uint64_t PRIME_3 "XXH64_PRIME_3"
    const uint64_t PRIME_4 "XXH64_PRIME_4"
    const uint64_t PRIME_5 "XXH64_PRIME_5"


cdef inline uint64_t rotate(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline uint64_t mix_lane(uint64_t accumulator, uint64_t lane) noexcept nogil:
    return rotate(accumulator + lane * PRIME_2, 31) * PRIME_1


cdef inline uint64_t merge_lane(uint64_t hash, uint64_t accumulator) noexcept nogil:
    return (hash ^ mix_lane(0, accumulator)) * PRIME_1 + PRIME_4


cdef uint64_t xxh64(const void* data, size_t length, uint64_t seed) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*> data
    cdef size_t left = length
    cdef uint64_t hash, lane1, lane2, lane3, lane4

    if left >= 32:
        lane1 = seed + PRIME_1 + PRIME_2
        lane2 = seed + PRIME_2
        lane3 = seed
        lane4 = seed - PRIME_1
        while left >= 32:
            lane1 = mix_lane(lane1, read64(at))
            lane2 = mix_lane(lane2, read64(at + 8))
            lane3 = mix_lane(lane3, read64(at + 16))
            lane4 = mix_lane(lane4, read64(at + 24))
            at += 32
            left -= 32
        hash = rotate(lane1, 1) + rotate(lane2, 7) + rotate(lane3, 12) + rotate(lane4, 18)
        hash = merge_lane(hash, lane1)
        hash = merge_lane(hash, lane2)
        hash = merge_lane(hash, lane3)
        hash = merge_lane(hash, lane4)
    else:
        hash = seed + PRIME_5

    hash += <uint64_t> length
    while left >= 8:
        hash = rotate(hash ^ mix_lane(0, read64(at)), 27) * PRIME_1 + PRIME_4
        at += 8
        left -= 8
    if left >= 4:
        hash = rotate(hash ^ (<uint64_t> read32(at) * PRIME_1), 23) * PRIME_2 + PRIME_3
        at += 4
        left -= 4
    while left:
        hash = rotate(hash ^ (<uint64_t> at[0] * PRIME_5), 11) * PRIME_1
        at += 1
        left -= 1

    hash ^= hash >> 33
    hash *= PRIME_2
    hash ^= hash >> 29
    hash *= PRIME_3
    return hash ^ (hash >> 32)


def xxh64_digest(data, uint64_t seed=0) -> int:
    """XXH64 of a bytes-like object, the same number native code gets."""
    cdef const uint8_t[::1] view = data
    if view.shape[0] == 0:
        return xxh64(NULL, 0, seed)
    return xxh64(&view[0], <size_t> view.shape[0], seed)


include "hashing_xxh3.pxi"

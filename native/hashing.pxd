"""XXH64, the hash that native code and Python must agree on (snapshot checksums, peer keys), and XXH3 with 128 bits (cache
keys)."""

from libc.stdint cimport uint64_t
from libc.stddef cimport size_t

cdef uint64_t xxh64(const void* data, size_t length, uint64_t seed) noexcept nogil
# out: the lower half, the upper half.
cdef void xxh3_128(const void* data, uint64_t length, uint64_t seed, uint64_t* out) noexcept nogil

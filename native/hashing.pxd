"""XXH64, the hash that native code and Python must agree on (snapshot checksums, peer keys, cache keys)."""

from libc.stdint cimport uint64_t
from libc.stddef cimport size_t

cdef uint64_t xxh64(const void* data, size_t length, uint64_t seed) noexcept nogil

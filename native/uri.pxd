"""Request targets: Kong's path normalisation and the path sent to the upstream."""

from libc.stdint cimport uint8_t, uint32_t, int32_t

# Normalise a path as Kong does (RFC 3986 §6.2.2): decode %XX of unreserved characters, upper-case the other escapes,
# remove dot segments, merge slashes. `out` needs room for `length` + 1 bytes. Returns the new length, or -1 for a
# path the gateway must refuse with 400 (bad escape, "/.." above the root, NUL, not starting with "/").
cdef int32_t normalize_path(const uint8_t* path, uint32_t length, uint8_t* out) noexcept nogil

# Build the path for the upstream (without query) into `out` (capacity bytes): the service path joined with what is
# left of the normalised request path after `strip_length` bytes were removed (0: nothing stripped). `v1` selects
# Kong's path_handling v1. Bytes that may not stand in a URI are escaped. Returns the length, or -1 when it does not fit.
cdef int32_t build_upstream_path(const uint8_t* service_path, uint32_t service_length,
                                 const uint8_t* path, uint32_t path_length, uint32_t strip_length,
                                 bint v1, uint8_t* out, uint32_t capacity) noexcept nogil

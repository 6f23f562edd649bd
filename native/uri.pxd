"""Request targets: Kong's path normalisation and the path sent to the upstream."""

from libc.stdint cimport uint8_t, uint32_t, int32_t

# Normalise a path as Kong does (kong.tools.uri.normalize; RFC 3986 §6.2.2): decode every %XX but those of reserved
# characters and "%", upper-case these, remove dot segments, merge slashes. So bytes that need escaping may come out
# raw (space, non-ASCII); build_upstream_path escapes them again. `out` needs room for `length` + 1 bytes and may be
# `path` itself. Returns the new length, or -1 for a path the gateway must refuse with 400 (bad escape, "/.." above
# the root, also through %2F, NUL, not starting with "/").
cdef int32_t normalize_path(const uint8_t* path, uint32_t length, uint8_t* out) noexcept nogil

# Whether `text` is UTF-8 (RFC 3629). A path that is not, after normalisation, matches no route (404, as Kong answers):
# router_match checks it.
cdef bint is_utf8(const uint8_t* text, uint32_t length) noexcept nogil

# Build the path for the upstream (without query) into `out` (capacity bytes): the service path joined with what is
# left of the normalised request path after `strip_length` bytes were removed (0: nothing stripped). `v1` selects
# Kong's path_handling v1. Bytes that may not stand in a URI are escaped. Returns the length, or -1 when it does not fit.
cdef int32_t build_upstream_path(const uint8_t* service_path, uint32_t service_length,
                                 const uint8_t* path, uint32_t path_length, uint32_t strip_length,
                                 bint v1, uint8_t* out, uint32_t capacity) noexcept nogil

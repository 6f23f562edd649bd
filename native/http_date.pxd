"""Dates of HTTP, in the three forms of RFC 9110 §5.6.7."""

from libc.stdint cimport int64_t

from native.fields cimport Text

# Seconds since the epoch; -1: it is no date (or one before 1970).
#     Sun, 06 Nov 1994 08:49:37 GMT      Sunday, 06-Nov-94 08:49:37 GMT      Sun Nov  6 08:49:37 1994
cdef int64_t parse_http_date(Text text) noexcept nogil

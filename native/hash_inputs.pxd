"""What of a request consistent hashing looks at (proxying.md §6), as a number."""

from libc.stdint cimport uint64_t

from native.connection cimport Exchange

# XXH64 of what the exchange's peer set hashes: its input, when the request has none its fallback, when there is neither
# an empty text. A cookie that is missing is made and queued for the response, whoever answers.
cdef uint64_t hash_of_request(Exchange* exchange) noexcept nogil

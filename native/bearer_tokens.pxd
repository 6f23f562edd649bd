"""Tokens that a request brings: after "Bearer " in a header field, in the query, in a cookie.

All places are looked at. Where two disagree nobody can know which one was meant, and whoever looks at another place
than the gateway would see another client: the caller refuses such requests.
"""

from libc.stdint cimport uint8_t, uint32_t

from native.connection cimport Exchange
from native.fields cimport Text
from native.packed cimport Packer

# Where tokens may be; part of a packed configuration. Each a list of PackedText.
ctypedef struct TokenPlaces:
    uint32_t header_names, header_count
    uint32_t query_names, query_count
    uint32_t cookie_names, cookie_count

ctypedef struct FoundToken:
    Text token                   # of the request's head, or in the exchange's memory
    uint32_t distinct            # different ones: 0, 1, or 2 for any more
    uint8_t bare                 # it is an argument without "=", which has no text

cdef TokenPlaces pack_places(Packer packer, list header_names, list query_names, list cookie_names) except *

# Look at all places of the configuration. Of fields and cookies with the same name the first one counts, of arguments
# all. False: memory is out.
cdef bint find_tokens(Exchange* exchange, const void* config, const TokenPlaces* places,
                      FoundToken* found) noexcept nogil

# Logs do not show the arguments that may hold tokens. When tokens are looked for, and in the log function, for requests
# that an earlier plugin has answered.
cdef void hide_tokens(Exchange* exchange, const void* config, const TokenPlaces* places) noexcept nogil

"""Which responses of upstreams are stored, and for how long (RFC 9111 §3, §4.2; Kong's rules)."""

from libc.stdint cimport int64_t

from native.caching cimport CacheUse
from native.connection cimport Exchange
from native.fields cimport Head

# The upstream's response at hand, as it came.
cdef Head received_head(Exchange* exchange) noexcept nogil
# Whether the response may be stored. Then use.head has its times and flags, use.keep_until_ms is set, and use.names are
# the fields that the responses vary on.
cdef bint may_be_stored(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil
# Set times and flags of use.head from the Cache-Control, Expires, Date and Age of `response`. False: the response is not to
# be stored, or stale already.
cdef bint set_times(CacheUse* use, const Head* response, int64_t now_ms) noexcept nogil
# Set use.names to the fields that `response` varies on, and those that earlier responses did. False: it varies on everything,
# or on too many.
cdef bint find_names(Exchange* exchange, CacheUse* use, const Head* response) noexcept nogil

"""Which stored response answers a request, and how (RFC 9111 §4, RFC 9110 §13 §14)."""

from libc.stdint cimport int64_t

from native.caching cimport CacheUse
from native.connection cimport Exchange
from native.fields cimport Text

cpdef enum EntryUse:
    USE_AS_IT_IS = 0
    USE_STALE = 1                # the client takes it (max-stale)
    USE_AND_REFRESH = 2          # it is stale, and fetched anew behind the client's back
    USE_NOT = 3

# Find what is stored for the request: use.entry, and the key of the variant. Entries that are only names are followed.
cdef bint find_entry(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil
# What use.entry is good for.
cdef EntryUse judge_entry(const CacheUse* use, int64_t now_ms) noexcept nogil
# Whether it is better than an error of the upstream (RFC 5861 §4).
cdef bint outlives_error(const CacheUse* use, int64_t now_ms) noexcept nogil
# Answer with use.entry: the whole, a part of it (206, 416), or that the client has it already (304). Returns what
# respond_stored() returns.
cdef int answer_with(Exchange* exchange, CacheUse* use) noexcept nogil
# Whether the request asks for the whole response: for no part of it, and under no condition.
cdef bint asks_for_whole(Exchange* exchange) noexcept nogil
# The client has what is stored, but that is stale: take its conditions out of the request, so that the gateway can ask for
# itself (ask_to_confirm), and many can wait for one answer. Does nothing for other requests.
cdef void take_conditions(Exchange* exchange, CacheUse* use) noexcept nogil
# Make the request one for the whole response: it is not the client that it is for.
cdef void ask_for_whole(Exchange* exchange, CacheUse* use) noexcept nogil
# Let the upstream say whether use.entry is still good: pins it, and adds conditions to the request. Does nothing when it
# has no validators or has gone.
cdef void ask_to_confirm(Exchange* exchange, CacheUse* use) noexcept nogil
# Milliseconds since the origin made it.
cdef int64_t age_of(const CacheUse* use, int64_t now_ms) noexcept nogil

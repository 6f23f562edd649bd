"""What becomes of a stored response that the upstream has confirmed (RFC 9111 §4.3.4)."""

from libc.stdint cimport int64_t

from native.caching cimport CacheUse
from native.connection cimport Exchange

# The upstream has answered 304 to the conditions of ask_to_confirm(): publish use.entry anew with the fields and times
# that the 304 says. False: it stays as it was, with new times where they could be changed, or is no longer to be found;
# use.entry itself can be answered with in any case.
cdef bint confirm_entry(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil

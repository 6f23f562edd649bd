"""Responses as they lie in the cache, and answers made of them.

What is stored is what the upstream sent, before any plugin changed it, less the fields that do not cross the gateway. The
*prelude* of an entry (cache_store.pxd) is a table of its fields, then their lines; then, for the owner, the names and values of
the request fields that it varies on. A hit is an answer like the gateway's own: the response functions of all plugins see
it as if it had come from the upstream just now.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.cache_store cimport CacheStore, EntryHead, Filling, StoredEntry
from native.connection cimport Exchange
from native.fields cimport Head, Text
from native.http1 cimport ResponseHead
from native.memory cimport Buffer, BufferStock

cdef enum:
    COPIED_STORED = 4096         # bodies up to so many bytes are copied out; longer ones are pinned and sent from where they lie
    COPIED_AT_MOST = 65536       # … unless no pin is left

# --- storing ---------------------------------------------------------------------------------------------------------
# Append the prelude of the upstream's response at hand to a filling: all fields that may be stored (not hop-by-hop, not those
# that the gateway makes itself, not Set-Cookie unless `with_cookies`), and set `head.status`, `head.field_count`,
# `head.prelude_length`. False: it does not fit; the filling is discarded.
cdef bint store_fields(Exchange* exchange, Filling* filling, EntryHead* head, bint with_cookies) noexcept nogil

# The same for the head `response` of `text`, wherever it came from.
cdef bint store_head(CacheStore* store, BufferStock* stock, const uint8_t* text, const ResponseHead* response,
                     Filling* filling, EntryHead* head, bint with_cookies) noexcept nogil

# --- answering -------------------------------------------------------------------------------------------------------
# Answer with a stored response; a step returns what this returns: STEP_RESPOND, or STEP_CONTINUE when the entry has gone
# meanwhile. `status` 304: without its body, and only the fields that a 304 has (RFC 9110 §15.4.5); 206: `length` bytes from
# `offset`; otherwise the entry's own. Fields added by the step with set_own_field() take the place of stored ones.
cdef int respond_stored(Exchange* exchange, StoredEntry* entry, uint32_t status, uint64_t offset,
                        uint64_t length) noexcept nogil
# The value of a stored field, copied into the exchange's memory. False: there is none, or the entry has gone.
cdef bint stored_field(Exchange* exchange, const StoredEntry* entry, const char* name, uint32_t name_length,
                       Text* value) noexcept nogil

# --- for the core ----------------------------------------------------------------------------------------------------
# Make what respond_stored() has taken the exchange's answer. False: there is nothing.
cdef bint build_stored_answer(Exchange* exchange) noexcept nogil
# Append the answer to exchange.out; a pinned body is sent from where it lies. When memory is out, nothing is appended.
cdef void put_stored_answer(Exchange* exchange) noexcept nogil
# Make exchange.held the whole body, for steps that look at it. False: it is longer than they may see, or memory is out.
cdef bint show_stored_body(Exchange* exchange) noexcept nogil
# Something else than the stored body is sent.
cdef void drop_stored_body(Exchange* exchange) noexcept nogil
# Unpin, if it is pinned.
cdef void release_stored(Exchange* exchange) noexcept nogil

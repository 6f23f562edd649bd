"""Which route a request takes: Kong's traditional_compatible rules over a compiled index.

The index lies in the snapshot (router_index.pxd, written by router_builder.pyx); regexes are compiled per worker into a
RouterRuntime that belongs to one mapped snapshot. Knows nothing of connections.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from native.headers cimport HeaderField
from native.regex cimport Regex
from native.snapshot cimport SnapshotHeader

cdef enum:
    MAX_CAPTURES = 16
    SCRATCH_SIZE = 65536         # longer header values match no regex

# What the router looks at. Nothing here is owned by it.
ctypedef struct RouteQuery:
    const uint8_t* method
    uint32_t method_length
    const uint8_t* host          # without port; any case
    uint32_t host_length
    uint16_t port                # of the Host field, else of the listener
    uint8_t https                # the scheme, after trusted X-Forwarded-Proto
    const uint8_t* path          # normalised (uri.pxd), without query
    uint32_t path_length
    const uint8_t* query         # raw, without "?"
    uint32_t query_length
    const uint8_t* sni           # NULL on plain connections
    uint32_t sni_length
    const uint8_t* head          # base of the offsets in `headers`
    const HeaderField* headers
    uint16_t header_count

ctypedef struct RouteMatch:
    uint32_t route               # index into the snapshot's routes
    uint32_t matched_length      # bytes of the path that the route's path took: what strip_path removes
    uint32_t regex               # of the route's path: index into RouterRuntime.regexes; NO_INDEX: it is none
    uint16_t capture_count       # groups of a regex path, group 0 included
    uint32_t captures[MAX_CAPTURES * 2]   # start, end in the normalised path

# Per-worker companion of one mapped configuration snapshot: compiled regexes. One thread at a time matches with it; the
# runtimes of one worker may share regexes, because they have that thread in common.
ctypedef struct RouterRuntime:
    const SnapshotHeader* snapshot
    uint64_t regex_limits        # matches given up at the match limit, since the runtime was made
    uint32_t regex_count
    Regex** regexes              # one per PatternRecord
    uint8_t* scratch             # SCRATCH_SIZE bytes: a header value or query value in the form a regex sees

# Make the runtime (checks the index and compiles every regex of it; runs off the loop thread). NULL when out of
# memory, when the index is not sound, or when PCRE2 refuses a pattern. `earlier`: a runtime whose snapshot is still
# mapped, or NULL; its regexes are not compiled again.
cdef RouterRuntime* router_runtime_new(const SnapshotHeader* snapshot, const RouterRuntime* earlier) noexcept nogil
cdef void router_runtime_free(RouterRuntime* runtime) noexcept nogil
# Find the best route. A path that is not UTF-8 has none, as in Kong. Returns 1 and fills `match`, or 0.
cdef int router_match(const SnapshotHeader* snapshot, RouterRuntime* runtime, const RouteQuery* query,
                      RouteMatch* match) noexcept nogil

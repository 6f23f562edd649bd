"""Writes the router's index into a configuration snapshot (control process only)."""

from libc.stdint cimport uint32_t

from native.router_index cimport MatcherRecord, RadixNode
from native.snapshot cimport ConfigurationBuilder

cdef enum HostKind:
    PLAIN_HOST = 0
    SUFFIX_HOST = 1                  # "*.example.com"
    PREFIX_HOST = 2                  # "example.*"

# What the index holds of one matcher, apart from what depends on the other matchers: texts in the form the router
# compares them in. Immutable; whoever compiles again keeps those of routes that have not changed.
cdef class PreparedMatcher:
    cdef MatcherRecord record        # methods and the counts; the rest is filled in by the builder
    cdef bytes path                  # where it stands in a path tree
    cdef bytes regex                 # the whole pattern of a regex path, or None
    cdef tuple methods               # of the methods without a bit: (text, None)
    cdef tuple snis                  # (text, None)
    cdef tuple conditions            # of headers, then of query parameters: (name, ((text, its pattern or None), …))
    cdef dict wanted                 # {header: values} of the headers that want plain values, or None
    cdef tuple hosts                 # (HostKind, (key, port))

# The entries low … high - 1 of a tree, in order; they share `depth` bytes with the labels above their node.
ctypedef struct Span:
    uint32_t low, high, depth

# Radix trees of byte strings, all in one array of nodes; children lie side by side, after their parent.
cdef class RadixTrees:
    cdef bytearray data              # RadixNode
    cdef bytearray spans             # Span of each node
    cdef uint32_t count
    cdef ValueLists lists
    cdef RadixNode* nodes(self) noexcept
    cdef uint32_t reserve(self, uint32_t low, uint32_t high, uint32_t depth) except? 0xffffffff
    cdef uint32_t add(self, dict entries, bint of_paths) except? 0xffffffff
    cdef int fill(self, uint32_t at, bytes label, uint32_t from_byte, uint32_t to_byte, list values,
                  bint of_paths) except -1
    cdef int spread_best(self, uint32_t path_node_count) except -1
    cdef bytes first_bytes(self)

# The values of nodes with several: as a list or, where there are many, behind a selector.
cdef class ValueLists:
    cdef ConfigurationBuilder target
    cdef list matchers               # PreparedMatcher by rank, the builder's
    cdef bytearray values            # uint32_t
    cdef bytearray selectors, slots
    cdef uint32_t count, selector_count, slot_count
    cdef uint32_t add(self, list values) except? 0xffffffff
    cdef str selecting_header(self, list ranks)
    cdef uint32_t add_selector(self, str header, list ranks) except? 0xffffffff

cdef class RouterIndexBuilder:
    cdef ConfigurationBuilder target
    cdef bytearray records, conditions, texts, patterns
    cdef dict pattern_numbers
    cdef list matchers               # PreparedMatcher by rank
    cdef list any_host               # ranks of matchers without hosts
    cdef tuple hosts                 # for each HostKind: {(key, port): ranks}
    cdef RadixTrees trees
    cdef dict roots                  # tuple of ranks -> root: a route with many hosts costs one tree
    cdef uint32_t count, condition_count, text_count
    cdef uint32_t pattern(self, bytes text, bint anchored) except? 0xffffffff
    cdef uint32_t add_texts(self, tuple texts) except? 0xffffffff
    cdef int add_conditions(self, tuple conditions) except -1
    cdef uint32_t path_tree(self, list ranks) except? 0xffffffff
    cdef dict bind(self, dict hosts, list bindings)
    cdef bytearray host_slots(self, dict hosts)

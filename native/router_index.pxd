"""The router's index: how routes lie in the router section of a configuration snapshot.

The section holds a RouterIndex, then flat arrays. Offsets in it count from the section's first byte, StringRefs from
the file's. Every route is split into *matchers* (one per path), sorted by Kong's priority: a matcher's place in that
order is its *rank*, 0 is tried first. Finding the best route is finding the lowest rank whose conditions hold.

Level 1 is the host: a hash table of plain hosts, a radix tree of "*.x" hosts (read backwards), one of "x.*" hosts
and "no host needed"; each leads to a path tree. Level 2 is the path: a radix tree of prefixes, whose nodes list the
ranks of the matchers with that prefix. A regex path stands at the node of the literal text it begins with. Where very
many matchers share a prefix, a selector finds those among them that want the value a header of the request has.
Every node knows the lowest rank below it, so that a walk stops where nothing better can be found.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from native.snapshot cimport SnapshotHeader, StringRef

cdef enum:
    LABEL_SIZE = 13              # a longer label continues in an only child
    HOST_SIZE = 255              # longer names are not host names (RFC 1035 §2.3.4) and match no host
    SELECTED_VALUE_SIZE = 255    # longer header values are not found through a selector
    SELECTOR_FROM = 16           # matchers of one prefix that are worth a selector
    SELECTED = 0x80000000        # in RadixNode.value_count: value_first is a Selector

cdef enum MethodBit:
    METHOD_BIT_OTHER = 0x80000000   # not one of the methods below: the matcher lists the names

ctypedef struct RouterIndex:
    uint32_t size                            # of the section
    uint32_t any_host_tree                   # path tree of the matchers without hosts, or NO_INDEX
    uint32_t host_suffix_tree                # host trees, or NO_INDEX
    uint32_t host_prefix_tree
    uint32_t host_ports                      # 1: some host of the hash table names a port
    uint32_t path_node_count                 # nodes of path trees come first, then those of the host trees
    uint32_t node_offset, node_count         # RadixNode
    uint32_t first_byte_offset               # uint8[node_count]: first byte of each node's label
    uint32_t value_offset, value_count       # uint32: ranks (path trees), bindings (host trees)
    uint32_t matcher_offset, matcher_count   # MatcherRecord, in the order of rank
    uint32_t binding_offset, binding_count   # HostBinding
    uint32_t host_slot_offset, host_slot_count   # HostSlot; open addressing, count a power of two
    uint32_t condition_offset, condition_count   # ConditionRecord
    uint32_t text_offset, text_count         # MatchText
    uint32_t pattern_offset, pattern_count   # PatternRecord
    uint32_t selector_offset, selector_count   # Selector
    uint32_t selector_slot_offset, selector_slot_count   # SelectorSlot, of all selectors
    uint32_t reserved

ctypedef struct RadixNode:                   # 32 bytes: two in a cache line
    uint32_t child_first                     # children lie side by side, after their parent
    uint32_t value_first                     # the value itself when there is one
    uint32_t value_count                     # values rise; or SELECTED
    uint32_t best                            # lowest rank in this node and below; host trees: 0
    uint16_t child_count
    uint8_t label_length
    uint8_t label[LABEL_SIZE]

ctypedef struct HostBinding:                 # of a wildcard host
    uint32_t port                            # 0 = any
    uint32_t tree

ctypedef struct HostSlot:                    # of a plain host
    uint64_t hash                            # XXH64 of the lower-case host, its seed the port
    StringRef host
    uint32_t port                            # 0 = any
    uint32_t tree                            # NO_INDEX = free

ctypedef struct Selector:                    # of a node's matchers: by a header most of them want a certain value of
    StringRef header                         # as in ConditionRecord
    uint32_t slot_first, slot_count          # its SelectorSlots: open addressing, count a power of two
    uint32_t rest_first, rest_count          # values: the matchers that are not in the slots

ctypedef struct SelectorSlot:
    uint64_t hash                            # XXH64 of the text
    StringRef text                           # value, lower case
    uint32_t value_first, value_count        # values; count 0 = free

ctypedef struct MatcherRecord:
    uint32_t route
    uint32_t regex                           # PatternRecord of a regex path, or NO_INDEX
    uint32_t methods                         # bits, 0 = any
    uint32_t method_first                    # MatchText: names of the other methods
    uint32_t condition_first                 # ConditionRecord: headers, then query parameters
    uint32_t sni_first                       # MatchText
    uint16_t method_count, header_count, query_count, sni_count

ctypedef struct ConditionRecord:             # holds when one of the request's values equals one of the texts
    StringRef name                           # header: lower case, "-" for "_"; query parameter: as configured
    uint32_t text_first, text_count

ctypedef struct MatchText:
    StringRef text                           # lower case (methods: as they are)
    uint32_t pattern                         # PatternRecord: a "~*" value, else NO_INDEX

ctypedef struct PatternRecord:
    StringRef text
    uint32_t anchored                        # a path: matches from the first byte
    uint32_t reserved

cdef inline const RouterIndex* snapshot_router(const SnapshotHeader* snapshot) noexcept nogil:
    return <const RouterIndex*> (<const uint8_t*> snapshot + snapshot.router_offset)

# The bit of a method name: one of the nine of RFC 9110 and RFC 5789, or METHOD_BIT_OTHER.
cdef inline uint32_t method_bit(const uint8_t* method, uint32_t length) noexcept nogil:
    if length == 3:
        if memcmp(method, b"GET", 3) == 0:
            return 1
        if memcmp(method, b"PUT", 3) == 0:
            return 2
    elif length == 4:
        if memcmp(method, b"POST", 4) == 0:
            return 4
        if memcmp(method, b"HEAD", 4) == 0:
            return 8
    elif length == 5:
        if memcmp(method, b"PATCH", 5) == 0:
            return 16
        if memcmp(method, b"TRACE", 5) == 0:
            return 32
    elif length == 6:
        if memcmp(method, b"DELETE", 6) == 0:
            return 64
    elif length == 7:
        if memcmp(method, b"OPTIONS", 7) == 0:
            return 128
        if memcmp(method, b"CONNECT", 7) == 0:
            return 256
    return METHOD_BIT_OTHER

# NULL when every reference in the index stays inside it, else what is wrong. Assumes a verified snapshot.
cdef const char* router_index_verify(const SnapshotHeader* snapshot) noexcept nogil

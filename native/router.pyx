"""The matcher. Reads the index of router_index.pxd; allocates nothing per match, recurses nowhere."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from native.hashing cimport xxh64
from native.headers cimport HeaderField
from native.regex cimport (REGEX_LIMIT, REGEX_MATCH, REGEX_MAX_GROUPS, Regex, regex_compile, regex_compile_anchored,
                           regex_free, regex_match_within, regex_share)
from native.router_index cimport (HOST_SIZE, METHOD_BIT_OTHER, ConditionRecord, HostBinding, HostSlot, MatcherRecord,
                                  MatchText, PatternRecord, RadixNode, RouterIndex, SELECTED, SELECTED_VALUE_SIZE,
                                  Selector, SelectorSlot, method_bit, router_index_verify, snapshot_router)
from native.snapshot cimport (NO_INDEX, SNAPSHOT_CONFIGURATION, RouteRecord, SnapshotHeader, StringRef, snapshot_route,
                              snapshot_text, snapshot_verify)
from native.uri cimport is_utf8

cdef uint8_t lower_case[256]         # ASCII
cdef uint8_t name_form[256]          # lower case, "_" read as "-"
cdef uint8_t hex_value[256]          # 0..15, 0xff = not a hex digit


cdef void fill_tables() noexcept:
    cdef int byte
    for byte in range(256):
        lower_case[byte] = <uint8_t> (byte + 32 if c"A" <= byte <= c"Z" else byte)
        name_form[byte] = c"-" if byte == c"_" else lower_case[byte]
        hex_value[byte] = 0xff
    for byte in range(10):
        hex_value[c"0" + byte] = <uint8_t> byte
    for byte in range(6):
        hex_value[c"A" + byte] = hex_value[c"a" + byte] = <uint8_t> (10 + byte)


fill_tables()

# One run of router_match: the arrays of the index, the request in the form conditions need, and the best so far.
cdef struct Search:
    const uint8_t* file
    const RadixNode* nodes
    const uint8_t* first_bytes
    const uint32_t* values
    const MatcherRecord* matchers
    const HostBinding* bindings
    const ConditionRecord* conditions
    const MatchText* texts
    const Selector* selectors
    const SelectorSlot* selector_slots
    RouterRuntime* runtime
    const RouteQuery* query
    uint32_t method_bit
    uint32_t best                    # rank; a worse one is not looked at
    uint32_t regex_runs              # see steps_allowed
    RouteMatch* match


cdef inline const uint8_t* text_at(const Search* search, StringRef text) noexcept nogil:
    return search.file + text.offset


include "router_conditions.pxi"


# --- walking the trees -----------------------------------------------------------------------------------------------
cdef inline bint take_regex(Search* search, const MatcherRecord* matcher) noexcept nogil:
    cdef uint32_t groups[2 * REGEX_MAX_GROUPS]
    cdef uint32_t count = 0, index
    if not run_regex(search, matcher.regex, search.query.path, search.query.path_length, groups, &count):
        return False
    search.match.matched_length = groups[1]
    search.match.regex = matcher.regex
    search.match.capture_count = <uint16_t> (count if count < MAX_CAPTURES else MAX_CAPTURES)
    for index in range(2 * <uint32_t> search.match.capture_count):
        search.match.captures[index] = groups[index]
    return True


cdef inline void take_best(Search* search, const uint32_t* ranks, uint32_t count, uint32_t prefix) noexcept nogil:
    """The first matcher of a rising list of ranks that holds and beats the best so far."""
    cdef uint32_t index
    cdef const MatcherRecord* matcher
    for index in range(count):
        if ranks[index] >= search.best:
            return
        matcher = &search.matchers[ranks[index]]
        if not conditions_hold(search, matcher):
            continue
        if matcher.regex == NO_INDEX:
            search.match.matched_length = prefix
            search.match.regex = NO_INDEX
            search.match.capture_count = 0
        elif not take_regex(search, matcher):
            continue
        search.best = ranks[index]
        search.match.route = matcher.route
        return


cdef inline const RadixNode* child_of(const Search* search, const RadixNode* node, uint8_t byte) noexcept nogil:
    cdef const uint8_t* keys = search.first_bytes + node.child_first
    cdef const void* found
    cdef uint32_t index
    if node.child_count <= 8:
        for index in range(node.child_count):
            if keys[index] == byte:
                return &search.nodes[node.child_first + index]
        return NULL
    found = memchr(keys, byte, node.child_count)
    if found is NULL:
        return NULL
    return &search.nodes[node.child_first + <uint32_t> (<const uint8_t*> found - keys)]


cdef inline bint label_fits(const RadixNode* node, const uint8_t* text, uint32_t left) noexcept nogil:
    cdef uint32_t index
    if node.label_length > left:
        return False
    for index in range(node.label_length):
        if node.label[index] != text[index]:
            return False
    return True


cdef const SelectorSlot* slot_of(const Search* search, const Selector* selector, const uint8_t* text,
                                 uint32_t length) noexcept nogil:
    cdef const SelectorSlot* slots = search.selector_slots + selector.slot_first
    cdef uint64_t hash = xxh64(text, length, 0)
    cdef uint32_t mask = selector.slot_count - 1
    cdef uint32_t at = <uint32_t> hash & mask
    cdef uint32_t _probe
    for _probe in range(selector.slot_count):
        if slots[at].value_count == 0:
            return NULL
        if (slots[at].hash == hash and slots[at].text.length == length
                and memcmp(text_at(search, slots[at].text), text, length) == 0):
            return &slots[at]
        at = (at + 1) & mask
    return NULL


cdef void take_selected(Search* search, const Selector* selector, uint32_t prefix) noexcept nogil:
    """take_best over the matchers of a selector: those for the values the request has, and the rest."""
    cdef uint8_t text[SELECTED_VALUE_SIZE]
    cdef const RouteQuery* query = search.query
    cdef const HeaderField* field
    cdef const SelectorSlot* slot
    cdef uint32_t index, at
    take_best(search, search.values + selector.rest_first, selector.rest_count, prefix)
    for index in range(query.header_count):
        field = &query.headers[index]
        if field.value_length > SELECTED_VALUE_SIZE or not same_header(search, field, selector.header):
            continue
        for at in range(field.value_length):
            text[at] = lower_case[query.head[field.value_offset + at]]
        slot = slot_of(search, selector, text, field.value_length)
        if slot is not NULL:
            take_best(search, search.values + slot.value_first, slot.value_count, prefix)


cdef void search_paths(Search* search, uint32_t tree) noexcept nogil:
    cdef const RadixNode* node = &search.nodes[tree]
    cdef const uint8_t* path = search.query.path
    cdef uint32_t length = search.query.path_length
    cdef uint32_t at = 0
    while node.best < search.best and label_fits(node, path + at, length - at):
        at += node.label_length
        if node.value_count == 1:
            take_best(search, &node.value_first, 1, at)
        elif node.value_count == SELECTED:
            take_selected(search, &search.selectors[node.value_first], at)
        elif node.value_count:
            take_best(search, search.values + node.value_first, node.value_count, at)
        if at == length or node.child_count == 0:
            return
        node = child_of(search, node, path[at])
        if node is NULL:
            return


cdef void search_bindings(Search* search, const uint32_t* bindings, uint32_t count) noexcept nogil:
    cdef const HostBinding* binding
    cdef uint32_t index
    for index in range(count):
        binding = &search.bindings[bindings[index]]
        if binding.port == 0 or binding.port == search.query.port:
            search_paths(search, binding.tree)


cdef void search_host_tree(Search* search, uint32_t tree, const uint8_t* host, uint32_t length) noexcept nogil:
    cdef const RadixNode* node = &search.nodes[tree]
    cdef uint32_t at = 0
    while label_fits(node, host + at, length - at):
        at += node.label_length
        if node.value_count == 1:
            search_bindings(search, &node.value_first, 1)
        elif node.value_count:
            search_bindings(search, search.values + node.value_first, node.value_count)
        if at == length or node.child_count == 0:
            return
        node = child_of(search, node, host[at])
        if node is NULL:
            return


cdef void search_plain_host(Search* search, const RouterIndex* index, const uint8_t* host, uint32_t length,
                            uint32_t port) noexcept nogil:
    cdef const HostSlot* slots = <const HostSlot*> (<const uint8_t*> index + index.host_slot_offset)
    cdef uint64_t hash = xxh64(host, length, port)
    cdef uint32_t mask = index.host_slot_count - 1
    cdef uint32_t at = <uint32_t> hash & mask
    cdef uint32_t _probe
    for _probe in range(index.host_slot_count):
        if slots[at].tree == NO_INDEX:
            return
        if (slots[at].hash == hash and slots[at].port == port and slots[at].host.length == length
                and memcmp(text_at(search, slots[at].host), host, length) == 0):
            search_paths(search, slots[at].tree)
            return
        at = (at + 1) & mask


cdef void search_hosts(Search* search, const RouterIndex* index) noexcept nogil:
    cdef uint8_t host[HOST_SIZE]
    cdef uint8_t backwards[HOST_SIZE]
    cdef uint32_t at, length = search.query.host_length
    if length == 0 or length > HOST_SIZE:
        return
    for at in range(length):
        host[at] = lower_case[search.query.host[at]]
    if index.host_slot_count:
        if index.host_ports and search.query.port:
            search_plain_host(search, index, host, length, search.query.port)
        search_plain_host(search, index, host, length, 0)
    if index.host_suffix_tree != NO_INDEX:
        for at in range(length):
            backwards[at] = host[length - 1 - at]
        search_host_tree(search, index.host_suffix_tree, backwards, length)
    if index.host_prefix_tree != NO_INDEX:
        search_host_tree(search, index.host_prefix_tree, host, length)


cdef int router_match(const SnapshotHeader* snapshot, RouterRuntime* runtime, const RouteQuery* query,
                      RouteMatch* match) noexcept nogil:
    cdef const RouterIndex* index = snapshot_router(snapshot)
    cdef const uint8_t* section = <const uint8_t*> index
    cdef Search search
    # Kong gives no route to a path that is not UTF-8 (404)
    if index.matcher_count == 0 or not is_utf8(query.path, query.path_length):
        return 0
    search.file = <const uint8_t*> snapshot
    search.nodes = <const RadixNode*> (section + index.node_offset)
    search.first_bytes = section + index.first_byte_offset
    search.values = <const uint32_t*> (section + index.value_offset)
    search.matchers = <const MatcherRecord*> (section + index.matcher_offset)
    search.bindings = <const HostBinding*> (section + index.binding_offset)
    search.conditions = <const ConditionRecord*> (section + index.condition_offset)
    search.texts = <const MatchText*> (section + index.text_offset)
    search.selectors = <const Selector*> (section + index.selector_offset)
    search.selector_slots = <const SelectorSlot*> (section + index.selector_slot_offset)
    search.runtime = runtime
    search.query = query
    search.method_bit = method_bit(query.method, query.method_length)
    search.best = NO_INDEX
    search.regex_runs = 0
    search.match = match
    if index.host_slot_count or index.host_suffix_tree != NO_INDEX or index.host_prefix_tree != NO_INDEX:
        search_hosts(&search, index)
    if index.any_host_tree != NO_INDEX:
        search_paths(&search, index.any_host_tree)
    return search.best != NO_INDEX


# --- runtime ---------------------------------------------------------------------------------------------------------
cdef inline const PatternRecord* pattern_at(const SnapshotHeader* snapshot, uint32_t number) noexcept nogil:
    cdef const RouterIndex* index = snapshot_router(snapshot)
    return <const PatternRecord*> (<const uint8_t*> index + index.pattern_offset) + number


cdef inline uint64_t pattern_hash(const SnapshotHeader* snapshot, const PatternRecord* pattern) noexcept nogil:
    return xxh64(<const uint8_t*> snapshot + pattern.text.offset, pattern.text.length, pattern.anchored)


cdef uint32_t* pattern_table(const RouterRuntime* runtime, uint32_t mask) noexcept nogil:
    """Where each pattern of a runtime is found by its hash: number + 1, or 0. NULL: no memory. The caller frees it."""
    cdef uint32_t* table = <uint32_t*> calloc(<size_t> mask + 1, sizeof(uint32_t))
    cdef uint32_t number, at
    if table is NULL:
        return NULL
    for number in range(runtime.regex_count):
        at = <uint32_t> pattern_hash(runtime.snapshot, pattern_at(runtime.snapshot, number)) & mask
        while table[at]:
            at = (at + 1) & mask
        table[at] = number + 1
    return table


cdef Regex* known_regex(const RouterRuntime* earlier, const uint32_t* table, uint32_t mask,
                        const SnapshotHeader* snapshot, const PatternRecord* pattern) noexcept nogil:
    """The regex that `earlier` has for a pattern of another snapshot, or NULL."""
    cdef uint32_t at = <uint32_t> pattern_hash(snapshot, pattern) & mask
    cdef const PatternRecord* known
    while table[at]:
        known = pattern_at(earlier.snapshot, table[at] - 1)
        if (known.text.length == pattern.text.length and known.anchored == pattern.anchored
                and memcmp(<const uint8_t*> earlier.snapshot + known.text.offset,
                           <const uint8_t*> snapshot + pattern.text.offset, known.text.length) == 0):
            return earlier.regexes[table[at] - 1]
        at = (at + 1) & mask
    return NULL


cdef Regex* new_regex(const SnapshotHeader* snapshot, const PatternRecord* pattern) noexcept nogil:
    cdef const uint8_t* text = <const uint8_t*> snapshot + pattern.text.offset
    if pattern.anchored:
        return regex_compile_anchored(text, pattern.text.length)
    return regex_compile(text, pattern.text.length)


cdef RouterRuntime* router_runtime_new(const SnapshotHeader* snapshot, const RouterRuntime* earlier) noexcept nogil:
    cdef const RouterIndex* index = snapshot_router(snapshot)
    cdef const PatternRecord* pattern
    cdef RouterRuntime* runtime
    cdef Regex* known
    cdef uint32_t* table = NULL
    cdef uint32_t mask = 15
    cdef uint32_t at
    if router_index_verify(snapshot) is not NULL:
        return NULL
    runtime = <RouterRuntime*> calloc(1, sizeof(RouterRuntime))
    if runtime is NULL:
        return NULL
    runtime.regexes = <Regex**> calloc(<size_t> index.pattern_count + 1, sizeof(Regex*))
    runtime.scratch = <uint8_t*> malloc(SCRATCH_SIZE)
    if runtime.regexes is NULL or runtime.scratch is NULL:
        router_runtime_free(runtime)
        return NULL
    runtime.snapshot = snapshot
    runtime.regex_count = index.pattern_count
    if earlier is not NULL and earlier.regex_count and index.pattern_count:
        while mask < 2 * earlier.regex_count:
            mask = 2 * mask + 1
        table = pattern_table(earlier, mask)             # without memory for it, all are compiled
    for at in range(index.pattern_count):
        pattern = pattern_at(snapshot, at)
        known = NULL if table is NULL else known_regex(earlier, table, mask, snapshot, pattern)
        runtime.regexes[at] = new_regex(snapshot, pattern) if known is NULL else regex_share(known)
        if runtime.regexes[at] is NULL:
            free(table)
            router_runtime_free(runtime)
            return NULL
    free(table)
    return runtime


cdef void router_runtime_free(RouterRuntime* runtime) noexcept nogil:
    cdef uint32_t at
    if runtime is NULL:
        return
    if runtime.regexes is not NULL:
        for at in range(runtime.regex_count):
            regex_free(runtime.regexes[at])
    free(runtime.regexes)
    free(runtime.scratch)
    free(runtime)


include "router_view.pxi"

"""Checks a router index, before a worker uses it. native/router_builder.pyx writes it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.snapshot cimport NO_INDEX, SnapshotHeader, StringRef

# --- checking --------------------------------------------------------------------------------------------------------
cdef inline bint array_inside(const RouterIndex* index, uint32_t offset, uint64_t count, uint64_t size) noexcept nogil:
    return count == 0 or (offset >= sizeof(RouterIndex) and offset % 8 == 0 and offset <= index.size
                          and count * size <= index.size - offset)


cdef inline bint range_inside(uint32_t first, uint32_t count, uint32_t limit) noexcept nogil:
    return first <= limit and count <= limit - first


cdef inline bint text_inside(const SnapshotHeader* snapshot, StringRef text) noexcept nogil:
    return text.length <= snapshot.size and text.offset <= snapshot.size - text.length


cdef inline bint path_tree_inside(const RouterIndex* index, uint32_t tree) noexcept nogil:
    return tree < index.path_node_count


cdef inline bint host_tree_inside(const RouterIndex* index, uint32_t tree) noexcept nogil:
    return tree == NO_INDEX or index.path_node_count <= tree < index.node_count


cdef bint values_inside(const RouterIndex* index, uint32_t first, uint32_t count, uint32_t limit) noexcept nogil:
    """The values lie in their array, and each is below `limit`."""
    cdef const uint32_t* values = <const uint32_t*> (<const uint8_t*> index + index.value_offset)
    cdef uint32_t at
    if not range_inside(first, count, index.value_count):
        return False
    for at in range(count):
        if values[first + at] >= limit:
            return False
    return True


cdef bint nodes_sound(const RouterIndex* index) noexcept nogil:
    cdef const RadixNode* nodes = <const RadixNode*> (<const uint8_t*> index + index.node_offset)
    cdef const RadixNode* node
    cdef uint32_t at, last_node, value_limit
    for at in range(index.node_count):
        node = &nodes[at]
        # children come later and stay among their kind, so that a walk ends
        last_node = index.path_node_count if at < index.path_node_count else index.node_count
        value_limit = index.matcher_count if at < index.path_node_count else index.binding_count
        if node.label_length > LABEL_SIZE:
            return False
        if node.child_count and (node.child_first <= at
                                 or not range_inside(node.child_first, node.child_count, last_node)):
            return False
        if node.value_count == 1:
            if node.value_first >= value_limit:
                return False
        elif node.value_count == SELECTED:
            if at >= index.path_node_count or node.value_first >= index.selector_count:
                return False
        elif node.value_count:
            if not values_inside(index, node.value_first, node.value_count, value_limit):
                return False
    return True


cdef bint selectors_sound(const SnapshotHeader* snapshot, const RouterIndex* index) noexcept nogil:
    cdef const uint8_t* section = <const uint8_t*> index
    cdef const Selector* selector
    cdef const SelectorSlot* slot
    cdef uint32_t at
    for at in range(index.selector_count):
        selector = <const Selector*> (section + index.selector_offset) + at
        if (not text_inside(snapshot, selector.header)
                or not values_inside(index, selector.rest_first, selector.rest_count, index.matcher_count)
                or selector.slot_count == 0 or selector.slot_count & (selector.slot_count - 1)
                or not range_inside(selector.slot_first, selector.slot_count, index.selector_slot_count)):
            return False
    for at in range(index.selector_slot_count):
        slot = <const SelectorSlot*> (section + index.selector_slot_offset) + at
        if not (text_inside(snapshot, slot.text)
                and values_inside(index, slot.value_first, slot.value_count, index.matcher_count)):
            return False
    return True


cdef bint matchers_sound(const SnapshotHeader* snapshot, const RouterIndex* index) noexcept nogil:
    cdef const uint8_t* section = <const uint8_t*> index
    cdef const MatcherRecord* matcher
    cdef const ConditionRecord* condition
    cdef const MatchText* text
    cdef uint32_t at
    for at in range(index.matcher_count):
        matcher = <const MatcherRecord*> (section + index.matcher_offset) + at
        if (matcher.route >= snapshot.route_count
                or (matcher.regex != NO_INDEX and matcher.regex >= index.pattern_count)
                or not range_inside(matcher.method_first, matcher.method_count, index.text_count)
                or not range_inside(matcher.sni_first, matcher.sni_count, index.text_count)
                or not range_inside(matcher.condition_first, <uint32_t> matcher.header_count + matcher.query_count,
                                    index.condition_count)):
            return False
    for at in range(index.condition_count):
        condition = <const ConditionRecord*> (section + index.condition_offset) + at
        if not (text_inside(snapshot, condition.name)
                and range_inside(condition.text_first, condition.text_count, index.text_count)):
            return False
    for at in range(index.text_count):
        text = <const MatchText*> (section + index.text_offset) + at
        if not text_inside(snapshot, text.text) or (text.pattern != NO_INDEX
                                                    and text.pattern >= index.pattern_count):
            return False
    for at in range(index.pattern_count):
        if not text_inside(snapshot, (<const PatternRecord*> (section + index.pattern_offset) + at).text):
            return False
    return True


cdef bint hosts_sound(const SnapshotHeader* snapshot, const RouterIndex* index) noexcept nogil:
    cdef const uint8_t* section = <const uint8_t*> index
    cdef const HostSlot* slot
    cdef uint32_t at
    if index.host_slot_count & (index.host_slot_count - 1) if index.host_slot_count else 0:
        return False
    for at in range(index.host_slot_count):
        slot = <const HostSlot*> (section + index.host_slot_offset) + at
        if slot.tree != NO_INDEX and not (path_tree_inside(index, slot.tree) and text_inside(snapshot, slot.host)):
            return False
    for at in range(index.binding_count):
        if not path_tree_inside(index, (<const HostBinding*> (section + index.binding_offset) + at).tree):
            return False
    return True


cdef const char* router_index_verify(const SnapshotHeader* snapshot) noexcept nogil:
    cdef const RouterIndex* index = snapshot_router(snapshot)
    if snapshot.router_size < sizeof(RouterIndex) or index.size != snapshot.router_size:
        return b"router index has another size"
    if not (array_inside(index, index.node_offset, index.node_count, sizeof(RadixNode))
            and array_inside(index, index.first_byte_offset, index.node_count, 1)
            and array_inside(index, index.value_offset, index.value_count, sizeof(uint32_t))
            and array_inside(index, index.matcher_offset, index.matcher_count, sizeof(MatcherRecord))
            and array_inside(index, index.binding_offset, index.binding_count, sizeof(HostBinding))
            and array_inside(index, index.host_slot_offset, index.host_slot_count, sizeof(HostSlot))
            and array_inside(index, index.condition_offset, index.condition_count, sizeof(ConditionRecord))
            and array_inside(index, index.selector_offset, index.selector_count, sizeof(Selector))
            and array_inside(index, index.selector_slot_offset, index.selector_slot_count, sizeof(SelectorSlot))
            and array_inside(index, index.text_offset, index.text_count, sizeof(MatchText))
            and array_inside(index, index.pattern_offset, index.pattern_count, sizeof(PatternRecord))):
        return b"an array of the router index lies outside it"
    if (index.path_node_count > index.node_count
            or (index.any_host_tree != NO_INDEX and not path_tree_inside(index, index.any_host_tree))
            or not host_tree_inside(index, index.host_suffix_tree)
            or not host_tree_inside(index, index.host_prefix_tree)):
        return b"a tree of the router index lies outside it"
    if not nodes_sound(index):
        return b"a node of the router index refers outside it"
    if not selectors_sound(snapshot, index):
        return b"a selector of the router index refers outside it"
    if not matchers_sound(snapshot, index):
        return b"a matcher of the router index refers outside it"
    if not hosts_sound(snapshot, index):
        return b"a host of the router index refers outside it"
    return NULL

"""Builds the router's index (control process) and checks it (workers, before they use it)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from native.hashing cimport xxh64
from native.snapshot cimport NO_INDEX, ConfigurationBuilder, SnapshotHeader, StringRef

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


# --- building --------------------------------------------------------------------------------------------------------
# Characters that end the literal text a regex begins with, and those that make the character before them optional.
cdef frozenset SPECIAL = frozenset("\\.^$|?*+()[]{}")
cdef frozenset REPEATS = frozenset("?*{")


def literal_prefix(str pattern) -> str:
    """The text every match of a regex path must begin with, as far as it can be read off: "/users/(\\d+)" gives
    "/users/". Short of certain is empty."""
    depth = 0
    in_class = False
    at = 0
    # an alternative outside of parentheses has a beginning of its own
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
            if pattern[at:at + 1] == "Q":
                return ""
        elif in_class:
            # "]" as the first character of a class is a member of it: no harm, the rest is read as outside,
            # where only a "|" at depth 0 counts, which then gives the safe answer
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "|" and depth <= 0:
            return ""
        at += 1
    literal = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\" and at + 1 < len(pattern) and not pattern[at + 1].isalnum() and pattern[at + 1].isascii():
            character = pattern[at + 1]
            at += 1
        elif character in SPECIAL:
            break
        at += 1
        if pattern[at:at + 1] in REPEATS and at < len(pattern):
            break
        literal.append(character)
    return "".join(literal)


cdef class _RadixTrees:
    """Radix trees of byte strings, all in one array of nodes; children lie side by side, after their parent."""
    cdef list nodes              # [label, child_first, child_count, values]

    def __cinit__(self):
        self.nodes = []

    cdef uint32_t add(self, dict entries) except? 0xffffffff:
        """Add a tree for {key: [values, rising]}; returns its root."""
        cdef Py_ssize_t low, high, depth, length, most, start, end, next_node
        keys = sorted(entries)
        root = len(self.nodes)
        self.nodes.append(None)
        # one entry per reserved node: the keys below it (they share `depth` bytes with its parents)
        waiting = [(root, 0, len(keys), 0)]
        next_node = 0
        while next_node < len(waiting):
            number, low, high, depth = waiting[next_node]
            next_node += 1
            first, last = keys[low], keys[high - 1]
            # sorted: what the first and the last share, all share
            most = min(len(first), len(last), depth + LABEL_SIZE)
            length = depth
            while length < most and first[length] == last[length]:
                length += 1
            values = []
            if len(first) == length:
                values = entries[first]
                low += 1
            child_first = len(self.nodes)
            start = low
            while start < high:
                byte = keys[start][length]
                end = start + 1
                while end < high and keys[end][length] == byte:
                    end += 1
                waiting.append((len(self.nodes), start, end, length))
                self.nodes.append(None)
                start = end
            self.nodes[number] = (first[depth:length], child_first, len(self.nodes) - child_first, values)
        return <uint32_t> root


cdef class RouterIndexBuilder:
    """Fills the router section of `target`. Call `add` for every matcher in the order of rank, then `build`."""
    cdef ConfigurationBuilder target
    cdef bytearray matchers, conditions, texts, patterns
    cdef dict pattern_numbers
    cdef list paths                  # of every matcher: where it stands in a path tree
    cdef dict wanted_values          # rank -> {header name: values}, of headers that want plain values
    cdef list any_host               # ranks of matchers without hosts
    cdef dict plain_hosts, suffix_hosts, prefix_hosts    # (host, port) -> ranks
    cdef uint32_t count, condition_count, text_count

    def __cinit__(self, ConfigurationBuilder target not None):
        self.target = target
        self.matchers = bytearray()
        self.conditions = bytearray()
        self.texts = bytearray()
        self.patterns = bytearray()
        self.pattern_numbers = {}
        self.paths = []
        self.wanted_values = {}
        self.any_host = []
        self.plain_hosts = {}
        self.suffix_hosts = {}
        self.prefix_hosts = {}
        self.count = self.condition_count = self.text_count = 0

    def add(
        self, *, uint32_t route, hosts=(), str path="", regex: str | None = None, methods=(), headers=(), queries=(),
        snis=(),
    ) -> int:
        """Add the matcher that comes next in rank; returns its rank.

        `path`: plain prefix (empty: none); `regex`: a regex path instead, without "~". `hosts`: as configured, with
        "*" and ":port". `headers`, `queries`: (name, values) pairs, a value "~*…" being a regex.
        """
        cdef MatcherRecord record
        memset(&record, 0, sizeof(record))
        record.route = route
        record.regex = NO_INDEX if regex is None else self.pattern(regex, True)
        others = []
        for method in methods:
            name = method.encode()
            bit = method_bit(name, <uint32_t> len(name))
            record.methods |= bit
            if bit == METHOD_BIT_OTHER:
                others.append(method)
        record.method_first = self.add_texts(others, False, False)
        record.method_count = len(others)
        record.sni_first = self.add_texts(snis, True, False)
        record.sni_count = len(snis)
        record.condition_first = self.condition_count
        record.header_count = len(headers)
        record.query_count = len(queries)
        # values and their conditions are written one after the other, so all values come first
        wanted = [(name.lower().replace("_", "-"), values) for name, values in headers]
        for name, values in wanted + list(queries):
            self.add_condition(name, values)
        plain = {name: [value.encode().lower() for value in values] for name, values in wanted
                 if all(is_selectable(value) for value in values)}
        if plain:
            self.wanted_values[self.count] = plain
        self.matchers += (<const char*> &record)[:sizeof(record)]
        rank = self.count
        self.count += 1
        self.paths.append((literal_prefix(regex) if regex is not None else path).encode())
        if not hosts:
            self.any_host.append(rank)
        for host in dict.fromkeys(hosts):
            self.add_host(host.lower(), rank)
        return rank

    cdef uint32_t pattern(self, str text, bint anchored) except? 0xffffffff:
        cdef PatternRecord record
        number = self.pattern_numbers.get((text, anchored))
        if number is None:
            number = len(self.pattern_numbers)
            self.pattern_numbers[(text, anchored)] = number
            record.text = self.target.strings.put(text.encode())
            record.anchored = anchored
            record.reserved = 0
            self.patterns += (<const char*> &record)[:sizeof(record)]
        return <uint32_t> number

    cdef uint32_t add_texts(self, texts, bint lower, bint regexes) except? 0xffffffff:
        cdef MatchText record
        first = self.text_count
        for text in texts:
            encoded = text.encode()
            if regexes and text.startswith("~*"):
                record.pattern = self.pattern(text[2:], False)
            else:
                record.pattern = NO_INDEX
                encoded = encoded.lower() if lower else encoded      # ASCII only, as the matcher does it
            record.text = self.target.strings.put(encoded)
            self.texts += (<const char*> &record)[:sizeof(record)]
            self.text_count += 1
        return first

    cdef int add_condition(self, str name, values) except -1:
        cdef ConditionRecord record
        record.name = self.target.strings.put(name.encode())
        record.text_first = self.add_texts(values, True, True)
        record.text_count = <uint32_t> len(values)
        self.conditions += (<const char*> &record)[:sizeof(record)]
        self.condition_count += 1
        return 0

    cdef int add_host(self, str pattern, rank) except -1:
        host, port = split_port(pattern)
        if host.startswith("*"):
            table, key = self.suffix_hosts, bytes(reversed(host.removeprefix("*").encode()))
        elif host.endswith("*"):
            table, key = self.prefix_hosts, host.removesuffix("*").encode()
        else:
            table, key = self.plain_hosts, host.encode()
        table.setdefault((key, port), []).append(rank)
        return 0

    def build(self) -> None:
        """Lay the index out and give it to the target."""
        cdef RouterIndex index
        trees = _RadixTrees()
        roots = {}               # equal sets of matchers share a tree: a route with many hosts costs one

        memset(&index, 0, sizeof(index))
        index.any_host_tree = self.path_tree(trees, roots, self.any_host) if self.any_host else NO_INDEX
        slots = self.host_slots(trees, roots)
        bindings = []
        suffixes = self.bind(trees, roots, self.suffix_hosts, bindings)
        prefixes = self.bind(trees, roots, self.prefix_hosts, bindings)
        index.path_node_count = <uint32_t> len(trees.nodes)
        index.host_suffix_tree = (<_RadixTrees> trees).add(suffixes) if suffixes else NO_INDEX
        index.host_prefix_tree = (<_RadixTrees> trees).add(prefixes) if prefixes else NO_INDEX
        index.host_ports = any(port for _, port in self.plain_hosts)

        lists = _ValueLists(self.target, self.wanted_values)
        nodes, first_bytes = pack_nodes(trees.nodes, index.path_node_count, lists)
        values = pack_numbers(lists.values)
        section = bytearray(sizeof(RouterIndex))
        index.node_count = <uint32_t> len(trees.nodes)
        index.node_offset = append_array(section, nodes)
        index.first_byte_offset = append_array(section, first_bytes)
        index.value_count = <uint32_t> (len(values) // sizeof(uint32_t))
        index.value_offset = append_array(section, values)
        index.selector_count = lists.selector_count
        index.selector_offset = append_array(section, lists.selectors)
        index.selector_slot_count = lists.slot_count
        index.selector_slot_offset = append_array(section, lists.slots)
        index.matcher_count = self.count
        index.matcher_offset = append_array(section, self.matchers)
        index.binding_count = <uint32_t> (len(bindings) // 2)
        index.binding_offset = append_array(section, pack_numbers(bindings))
        index.host_slot_count = <uint32_t> (len(slots) // sizeof(HostSlot))
        index.host_slot_offset = append_array(section, slots)
        index.condition_count = self.condition_count
        index.condition_offset = append_array(section, self.conditions)
        index.text_count = self.text_count
        index.text_offset = append_array(section, self.texts)
        index.pattern_count = <uint32_t> len(self.pattern_numbers)
        index.pattern_offset = append_array(section, self.patterns)
        index.size = <uint32_t> len(section)
        memcpy(<char*> section, &index, sizeof(index))
        self.target.router_index = bytes(section)

    cdef uint32_t path_tree(self, _RadixTrees trees, dict roots, list ranks) except? 0xffffffff:
        key = tuple(ranks)
        root = roots.get(key)
        if root is None:
            entries = {}
            for rank in ranks:
                entries.setdefault(self.paths[rank], []).append(rank)
            root = trees.add(entries)
            roots[key] = root
        return <uint32_t> root

    cdef dict bind(self, _RadixTrees trees, dict roots, dict hosts, list bindings):
        """Path trees for wildcard hosts: {key of the host tree: numbers of its bindings}."""
        entries = {}
        for (key, port), ranks in hosts.items():
            entries.setdefault(key, []).append(len(bindings) // 2)
            bindings += [port, self.path_tree(trees, roots, ranks)]
        return entries

    cdef bytes host_slots(self, _RadixTrees trees, dict roots):
        cdef HostSlot slot
        cdef uint32_t count = 8
        cdef const uint8_t* text
        if not self.plain_hosts:
            return b""
        while count < 2 * len(self.plain_hosts):
            count *= 2
        memset(&slot, 0, sizeof(slot))
        slot.tree = NO_INDEX
        slots = [(<const char*> &slot)[:sizeof(slot)]] * count
        free_slot = slots[0]
        for (host, port), ranks in self.plain_hosts.items():
            text = host
            slot.hash = xxh64(text, <size_t> len(host), port)
            slot.host = self.target.strings.put(host)
            slot.port = port
            slot.tree = self.path_tree(trees, roots, ranks)
            at = slot.hash & (count - 1)
            while slots[at] is not free_slot:
                at = (at + 1) & (count - 1)
            slots[at] = (<const char*> &slot)[:sizeof(slot)]
        return b"".join(slots)


cdef uint32_t append_array(bytearray section, records) except? 0:
    section += bytes((8 - len(section) % 8) % 8)
    offset = len(section)
    section += records
    return <uint32_t> offset


cdef bytes pack_numbers(numbers):
    cdef uint32_t number
    packed = bytearray()
    for number in numbers:
        packed += (<const char*> &number)[:sizeof(number)]
    return bytes(packed)


def is_selectable(str value) -> bool:
    return not value.startswith("~*") and len(value.encode()) <= SELECTED_VALUE_SIZE


cdef class _ValueLists:
    """The values of nodes with several: as a list or, where there are many, behind a selector."""
    cdef ConfigurationBuilder target
    cdef dict wanted_values
    cdef list values
    cdef bytearray selectors, slots
    cdef uint32_t selector_count, slot_count

    def __cinit__(self, ConfigurationBuilder target, dict wanted_values):
        self.target = target
        self.wanted_values = wanted_values
        self.values = []
        self.selectors = bytearray()
        self.slots = bytearray()
        self.selector_count = self.slot_count = 0

    cdef uint32_t add(self, list values) except? 0xffffffff:
        first = len(self.values)
        self.values += values
        return <uint32_t> first

    cdef str selecting_header(self, list ranks):
        """The header that most of these matchers want plain values of; None when too few do."""
        uses = {}
        for rank in ranks:
            for name in self.wanted_values.get(rank, ()):
                uses[name] = uses.get(name, 0) + 1
        best = max(uses, key=lambda name: (uses[name], name), default=None)
        return best if best is not None and uses[best] >= SELECTOR_FROM else None

    cdef uint32_t add_selector(self, str header, list ranks) except? 0xffffffff:
        """Returns the number of the selector."""
        cdef Selector record
        cdef SelectorSlot slot
        cdef const uint8_t* text
        cdef uint32_t count = 1
        rest = []
        by_value = {}
        for rank in ranks:
            wanted = self.wanted_values.get(rank, {}).get(header)
            if wanted is None:
                rest.append(rank)
            else:
                for value in dict.fromkeys(wanted):
                    by_value.setdefault(value, []).append(rank)
        while count < 2 * len(by_value):
            count *= 2
        record.header = self.target.strings.put(header.encode())
        record.slot_first = self.slot_count
        record.slot_count = count
        record.rest_first = self.add(rest)
        record.rest_count = len(rest)
        self.selectors += (<const char*> &record)[:sizeof(record)]
        memset(&slot, 0, sizeof(slot))
        free_slot = (<const char*> &slot)[:sizeof(slot)]
        slots = [free_slot] * count
        for value, chosen in by_value.items():
            text = value
            slot.hash = xxh64(text, <size_t> len(value), 0)
            slot.text = self.target.strings.put(value)
            slot.value_first = self.add(chosen)
            slot.value_count = len(chosen)
            at = slot.hash & (count - 1)
            while slots[at] is not free_slot:
                at = (at + 1) & (count - 1)
            slots[at] = (<const char*> &slot)[:sizeof(slot)]
        self.slots += b"".join(slots)
        self.slot_count += count
        self.selector_count += 1
        return self.selector_count - 1


cdef tuple pack_nodes(list nodes, uint32_t path_node_count, _ValueLists lists):
    """RadixNodes and their first bytes; the values of those with several go to `lists`."""
    cdef RadixNode record
    best = [0] * len(nodes)
    for number in reversed(range(len(nodes))):
        _, child_first, child_count, values = nodes[number]
        if number < path_node_count:
            below = best[child_first:child_first + child_count]
            best[number] = min(values[:1] + below)
    packed = bytearray()
    first_bytes = bytearray()
    for number, (label, child_first, child_count, values) in enumerate(nodes):
        memset(&record, 0, sizeof(record))
        record.child_first = child_first if child_count else 0
        record.child_count = child_count
        record.best = best[number]
        record.value_count = len(values)
        header = lists.selecting_header(values) if number < path_node_count and len(values) >= SELECTOR_FROM else None
        if header is not None:
            record.value_count = SELECTED
            record.value_first = lists.add_selector(header, values)
        elif len(values) == 1:
            record.value_first = values[0]
        elif values:
            record.value_first = lists.add(values)
        record.label_length = len(label)
        memcpy(record.label, <const char*> <bytes> label, len(label))
        packed += (<const char*> &record)[:sizeof(record)]
        first_bytes.append(label[0] if label else 0)
    return bytes(packed), bytes(first_bytes)


def split_port(str host) -> tuple[str, int]:
    """("example.com", 8080) of "example.com:8080"; port 0 when there is none. An IPv6 literal keeps its brackets."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]")):
        return name, int(port)
    return host, 0

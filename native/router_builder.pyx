from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from native.hashing cimport xxh64
from native.router_index cimport (
    LABEL_SIZE,
    METHOD_BIT_OTHER,
    SELECTED,
    SELECTED_VALUE_SIZE,
    SELECTOR_FROM,
    ConditionRecord,
    HostBinding,
    HostSlot,
    MatchText,
    PatternRecord,
    RouterIndex,
    Selector,
    SelectorSlot,
    method_bit,
)
from native.snapshot cimport NO_INDEX, append_bytes


# --- what is known of a matcher alone --------------------------------------------------------------------------------
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


def split_port(str host) -> tuple[str, int]:
    """("example.com", 8080) of "example.com:8080"; port 0 when there is none. An IPv6 literal keeps its brackets."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]")):
        return name, int(port)
    return host, 0


cdef tuple host_entry(str pattern):
    host, port = split_port(pattern)
    if host.startswith("*"):
        return SUFFIX_HOST, (bytes(reversed(host.removeprefix("*").encode())), port)
    if host.endswith("*"):
        return PREFIX_HOST, (host.removesuffix("*").encode(), port)
    return PLAIN_HOST, (host.encode(), port)


cdef tuple value_texts(values):
    """Values of a condition; "~*…" is a pattern."""
    # lower case of ASCII only, as the matcher has it
    return tuple([(value.encode(), value[2:].encode()) if value.startswith("~*") else (value.encode().lower(), None)
                  for value in values])


cdef bint is_selectable(str value):
    return not value.startswith("~*") and len(value.encode()) <= SELECTED_VALUE_SIZE


cdef class PreparedMatcher:
    def __cinit__(
        self, *, hosts=(), str path="", regex: str | None = None, methods=(), headers=(), queries=(), snis=(),
    ):
        """`path`: plain prefix (empty: none); `regex`: a regex path instead, without "~". `hosts`: as configured, with
        "*" and ":port". `headers`, `queries`: (name, values) pairs, a value "~*…" being a regex."""
        memset(&self.record, 0, sizeof(self.record))
        self.path = (path if regex is None else literal_prefix(regex)).encode()
        self.regex = None if regex is None else regex.encode()
        others = []
        for method in methods:
            name = method.encode()
            bit = method_bit(name, <uint32_t> len(name))
            self.record.methods |= bit
            if bit == METHOD_BIT_OTHER:
                others.append((name, None))
        self.methods = tuple(others)
        self.snis = tuple([(name.encode().lower(), None) for name in snis])
        self.hosts = tuple([host_entry(host) for host in dict.fromkeys([host.lower() for host in hosts])])
        self.conditions = ()
        self.wanted = None
        if headers or queries:
            named = [(name.lower().replace("_", "-"), values) for name, values in headers]
            self.conditions = tuple([(name.encode(), value_texts(values)) for name, values in [*named, *queries]])
            self.wanted = {name: [value.encode().lower() for value in values] for name, values in named
                           if all(is_selectable(value) for value in values)}
        self.record.method_count = len(self.methods)
        self.record.sni_count = len(self.snis)
        self.record.header_count = len(headers)
        self.record.query_count = len(queries)


# --- trees -----------------------------------------------------------------------------------------------------------
cdef class RadixTrees:
    def __cinit__(self, ValueLists lists not None):
        self.data = bytearray()
        self.spans = bytearray()
        self.count = 0
        self.lists = lists

    cdef RadixNode* nodes(self) noexcept:
        """Good until the next node is reserved."""
        return <RadixNode*> PyByteArray_AS_STRING(self.data)

    cdef uint32_t reserve(self, uint32_t low, uint32_t high, uint32_t depth) except? 0xffffffff:
        """A node for a span of the entries; returns its number."""
        cdef RadixNode node
        cdef Span span
        memset(&node, 0, sizeof(node))
        span.low, span.high, span.depth = low, high, depth
        append_bytes(self.data, &node, sizeof(node))
        append_bytes(self.spans, &span, sizeof(span))
        self.count += 1
        return self.count - 1

    cdef uint32_t add(self, dict entries, bint of_paths) except? 0xffffffff:
        """Add a tree for {key: values, rising}; returns its root."""
        cdef list keys = sorted(entries)
        cdef bytes first, last, key
        cdef uint32_t root = self.reserve(0, <uint32_t> len(keys), 0)
        cdef uint32_t at = root, low, start, end, length, most, child_first
        cdef Span span
        cdef uint8_t byte
        while at < self.count:
            span = (<Span*> PyByteArray_AS_STRING(self.spans))[at]
            first, last = keys[span.low], keys[span.high - 1]
            # sorted: what the first and the last share, all share
            most = <uint32_t> min(PyBytes_GET_SIZE(first), PyBytes_GET_SIZE(last), <Py_ssize_t> span.depth + LABEL_SIZE)
            length = span.depth
            while length < most and PyBytes_AS_STRING(first)[length] == PyBytes_AS_STRING(last)[length]:
                length += 1
            low = span.low
            values = None
            if <uint32_t> PyBytes_GET_SIZE(first) == length:
                values = entries[first]
                low += 1
            child_first = self.count
            start = low
            while start < span.high:
                key = keys[start]
                byte = <uint8_t> PyBytes_AS_STRING(key)[length]
                end = start + 1
                while end < span.high:
                    key = keys[end]
                    if <uint8_t> PyBytes_AS_STRING(key)[length] != byte:
                        break
                    end += 1
                self.reserve(start, end, length)
                start = end
            if self.count > child_first:
                self.nodes()[at].child_first = child_first
                self.nodes()[at].child_count = <uint16_t> (self.count - child_first)
            self.fill(at, first, span.depth, length, values, of_paths)
            at += 1
        return root

    cdef int fill(self, uint32_t at, bytes label, uint32_t from_byte, uint32_t to_byte, list values,
                  bint of_paths) except -1:
        """Label, values and, of a path tree, the best of the node's own values."""
        cdef uint32_t value_count = 0, value_first = 0
        cdef RadixNode* node
        if values is not None:
            value_count = <uint32_t> len(values)
            header = self.lists.selecting_header(values) if of_paths and value_count >= SELECTOR_FROM else None
            if header is not None:
                value_first = self.lists.add_selector(header, values)
                value_count = SELECTED
            elif value_count == 1:
                value_first = values[0]
            else:
                value_first = self.lists.add(values)
        node = self.nodes() + at
        node.value_count = value_count
        node.value_first = value_first
        if of_paths:
            node.best = <uint32_t> values[0] if values is not None else <uint32_t> NO_INDEX
        node.label_length = <uint8_t> (to_byte - from_byte)
        memcpy(node.label, PyBytes_AS_STRING(label) + from_byte, node.label_length)
        return 0

    cdef int spread_best(self, uint32_t path_node_count) except -1:
        """Give every node of a path tree the best of those below it."""
        cdef RadixNode* nodes = self.nodes()
        cdef uint32_t at = path_node_count, child
        while at:
            at -= 1
            for child in range(nodes[at].child_first, nodes[at].child_first + nodes[at].child_count):
                nodes[at].best = min(nodes[at].best, nodes[child].best)
        return 0

    cdef bytes first_bytes(self):
        cdef RadixNode* nodes = self.nodes()
        cdef uint32_t at
        found = bytearray(self.count)
        cdef uint8_t* bytes_of_nodes = <uint8_t*> PyByteArray_AS_STRING(found)
        for at in range(self.count):
            bytes_of_nodes[at] = nodes[at].label[0]
        return bytes(found)


cdef class ValueLists:
    def __cinit__(self, ConfigurationBuilder target not None, list matchers not None):
        self.target = target
        self.matchers = matchers
        self.values = bytearray()
        self.selectors = bytearray()
        self.slots = bytearray()
        self.count = self.selector_count = self.slot_count = 0

    cdef uint32_t add(self, list values) except? 0xffffffff:
        """Returns the number of the first of them."""
        cdef uint32_t value
        first = self.count
        for value in values:
            append_bytes(self.values, &value, sizeof(value))
        self.count += <uint32_t> len(values)
        return first

    cdef str selecting_header(self, list ranks):
        """The header that most of these matchers want plain values of; None when too few do."""
        uses = {}
        for rank in ranks:
            for name in (<PreparedMatcher> self.matchers[rank]).wanted or ():
                uses[name] = uses.get(name, 0) + 1
        best = max(uses, key=lambda name: (uses[name], name), default=None)
        return best if best is not None and uses[best] >= SELECTOR_FROM else None

    cdef uint32_t add_selector(self, str header, list ranks) except? 0xffffffff:
        """Returns the number of the selector."""
        cdef Selector record
        cdef SelectorSlot* slots
        cdef SelectorSlot* slot
        cdef const uint8_t* text
        cdef uint64_t hash
        cdef uint32_t count = 1
        rest = []
        by_value = {}
        for rank in ranks:
            wanted = (<PreparedMatcher> self.matchers[rank]).wanted
            if wanted is None or header not in wanted:
                rest.append(rank)
            else:
                for value in dict.fromkeys(wanted[header]):
                    by_value.setdefault(value, []).append(rank)
        while count < 2 * len(by_value):
            count *= 2
        record.header = self.target.strings.put(header.encode())
        record.slot_first = self.slot_count
        record.slot_count = count
        record.rest_first = self.add(rest)
        record.rest_count = <uint32_t> len(rest)
        append_bytes(self.selectors, &record, sizeof(record))
        table = bytearray(count * sizeof(SelectorSlot))
        slots = <SelectorSlot*> PyByteArray_AS_STRING(table)
        for value, chosen in by_value.items():
            text = value
            hash = xxh64(text, <size_t> len(value), 0)
            slot = slots + (hash & (count - 1))
            while slot.value_count:
                slot = slots + ((slot - slots + 1) & (count - 1))
            slot.hash = hash
            slot.text = self.target.strings.put(value)
            slot.value_first = self.add(chosen)
            slot.value_count = <uint32_t> len(chosen)
        self.slots += table
        self.slot_count += count
        self.selector_count += 1
        return self.selector_count - 1


# --- the index -------------------------------------------------------------------------------------------------------
cdef class RouterIndexBuilder:
    """Fills the router section of `target`. Call `add` for every matcher, the best first, then `build`."""

    def __cinit__(self, ConfigurationBuilder target not None):
        self.target = target
        self.records = bytearray()
        self.conditions = bytearray()
        self.texts = bytearray()
        self.patterns = bytearray()
        self.pattern_numbers = {}
        self.matchers = []
        self.any_host = []
        self.hosts = ({}, {}, {})
        self.trees = RadixTrees(ValueLists(target, self.matchers))
        self.roots = {}
        self.count = self.condition_count = self.text_count = 0

    def add(self, PreparedMatcher matcher not None, uint32_t route) -> int:
        """Add the matcher that comes next in rank, of the route with this number; returns its rank."""
        cdef MatcherRecord record = matcher.record
        cdef list ranks
        record.route = route
        record.regex = NO_INDEX if matcher.regex is None else self.pattern(matcher.regex, True)
        record.method_first = self.add_texts(matcher.methods)
        record.sni_first = self.add_texts(matcher.snis)
        record.condition_first = self.condition_count
        if matcher.conditions:
            self.add_conditions(matcher.conditions)
        append_bytes(self.records, &record, sizeof(record))
        rank = self.count
        self.count += 1
        self.matchers.append(matcher)
        if not matcher.hosts:
            self.any_host.append(rank)
        for kind, host in matcher.hosts:
            table = <dict> self.hosts[kind]
            ranks = table.get(host)
            if ranks is None:
                table[host] = [rank]
            else:
                ranks.append(rank)
        return rank

    cdef uint32_t pattern(self, bytes text, bint anchored) except? 0xffffffff:
        cdef PatternRecord record
        number = self.pattern_numbers.get((text, anchored))
        if number is None:
            number = len(self.pattern_numbers)
            self.pattern_numbers[(text, anchored)] = number
            record.text = self.target.strings.put(text)
            record.anchored = anchored
            record.reserved = 0
            append_bytes(self.patterns, &record, sizeof(record))
        return <uint32_t> number

    cdef uint32_t add_texts(self, tuple texts) except? 0xffffffff:
        cdef MatchText record
        first = self.text_count
        for stored, pattern in texts:
            record.pattern = NO_INDEX if pattern is None else self.pattern(pattern, False)
            record.text = self.target.strings.put(stored)
            append_bytes(self.texts, &record, sizeof(record))
            self.text_count += 1
        return first

    cdef int add_conditions(self, tuple conditions) except -1:
        cdef ConditionRecord record
        for name, texts in conditions:
            record.name = self.target.strings.put(name)
            record.text_first = self.add_texts(texts)
            record.text_count = <uint32_t> len(texts)
            append_bytes(self.conditions, &record, sizeof(record))
            self.condition_count += 1
        return 0

    def build(self) -> None:
        """Lay the index out and give it to the target."""
        cdef RouterIndex index
        cdef RadixTrees trees = self.trees
        cdef ValueLists lists = trees.lists
        memset(&index, 0, sizeof(index))
        index.any_host_tree = self.path_tree(self.any_host) if self.any_host else NO_INDEX
        slots = self.host_slots(self.hosts[PLAIN_HOST])
        bindings = []
        suffixes = self.bind(self.hosts[SUFFIX_HOST], bindings)
        prefixes = self.bind(self.hosts[PREFIX_HOST], bindings)
        index.path_node_count = trees.count
        trees.spread_best(trees.count)
        index.host_suffix_tree = trees.add(suffixes, False) if suffixes else NO_INDEX
        index.host_prefix_tree = trees.add(prefixes, False) if prefixes else NO_INDEX
        index.host_ports = any(port for _, port in self.hosts[PLAIN_HOST])

        section = bytearray(sizeof(RouterIndex))
        index.node_count = trees.count
        index.node_offset = append_array(section, trees.data)
        index.first_byte_offset = append_array(section, trees.first_bytes())
        index.value_count = lists.count
        index.value_offset = append_array(section, lists.values)
        index.selector_count = lists.selector_count
        index.selector_offset = append_array(section, lists.selectors)
        index.selector_slot_count = lists.slot_count
        index.selector_slot_offset = append_array(section, lists.slots)
        index.matcher_count = self.count
        index.matcher_offset = append_array(section, self.records)
        index.binding_count = <uint32_t> len(bindings)
        index.binding_offset = append_array(section, b"".join(bindings))
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

    cdef uint32_t path_tree(self, list ranks) except? 0xffffffff:
        """The path tree of these matchers."""
        cdef list those
        cdef bytes path
        key = tuple(ranks)
        root = self.roots.get(key)
        if root is None:
            entries = {}
            for rank in ranks:
                path = (<PreparedMatcher> self.matchers[rank]).path
                those = entries.get(path)
                if those is None:
                    entries[path] = [rank]
                else:
                    those.append(rank)
            root = self.trees.add(entries, True)
            self.roots[key] = root
        return <uint32_t> root

    cdef dict bind(self, dict hosts, list bindings):
        """Path trees for wildcard hosts: {key of the host tree: numbers of its bindings}."""
        cdef HostBinding record
        entries = {}
        for (key, port), ranks in hosts.items():
            entries.setdefault(key, []).append(len(bindings))
            record.port = port
            record.tree = self.path_tree(ranks)
            bindings.append((<const char*> &record)[:sizeof(record)])
        return entries

    cdef bytearray host_slots(self, dict hosts):
        cdef HostSlot* slots
        cdef HostSlot* slot
        cdef const uint8_t* text
        cdef uint64_t hash
        cdef uint32_t count = 8, at
        if not hosts:
            return bytearray()
        while count < 2 * len(hosts):
            count *= 2
        table = bytearray(count * sizeof(HostSlot))
        slots = <HostSlot*> PyByteArray_AS_STRING(table)
        for at in range(count):
            slots[at].tree = NO_INDEX
        for (host, port), ranks in hosts.items():
            text = host
            hash = xxh64(text, <size_t> len(host), port)
            slot = slots + (hash & (count - 1))
            while slot.tree != NO_INDEX:
                slot = slots + ((slot - slots + 1) & (count - 1))
            slot.hash = hash
            slot.host = self.target.strings.put(host)
            slot.port = port
            slot.tree = self.path_tree(ranks)
        return table


cdef uint32_t append_array(bytearray section, records) except? 0:
    section += bytes((8 - len(section) % 8) % 8)
    offset = len(section)
    section += records
    return <uint32_t> offset

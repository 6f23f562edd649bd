"""The matcher. Reads the index of router_index.pxd; allocates nothing per match, recurses nowhere."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from native.hashing cimport xxh64
from native.headers cimport HeaderField
from native.regex cimport (REGEX_LIMIT, REGEX_MATCH, REGEX_MAX_GROUPS, Regex, regex_compile, regex_compile_anchored,
                           regex_free, regex_match)
from native.router_index cimport (HOST_SIZE, METHOD_BIT_OTHER, ConditionRecord, HostBinding, HostSlot, MatcherRecord,
                                  MatchText, PatternRecord, RadixNode, RouterIndex, method_bit, router_index_verify,
                                  snapshot_router)
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
    RouterRuntime* runtime
    const RouteQuery* query
    uint32_t method_bit
    uint32_t best                    # rank; a worse one is not looked at
    RouteMatch* match


cdef inline const uint8_t* text_at(const Search* search, StringRef text) noexcept nogil:
    return search.file + text.offset


# --- conditions ------------------------------------------------------------------------------------------------------
cdef bint method_listed(const Search* search, const MatcherRecord* matcher) noexcept nogil:
    cdef const MatchText* texts = search.texts + matcher.method_first
    cdef uint32_t index
    for index in range(matcher.method_count):
        if (texts[index].text.length == search.query.method_length
                and memcmp(text_at(search, texts[index].text), search.query.method, search.query.method_length) == 0):
            return True
    return False


cdef inline bint equal_lower(const uint8_t* text, const uint8_t* lower, uint32_t length) noexcept nogil:
    cdef uint32_t index
    for index in range(length):
        if lower_case[text[index]] != lower[index]:
            return False
    return True


cdef int run_regex(Search* search, uint32_t pattern, const uint8_t* subject, uint32_t length,
                   uint32_t* groups, uint32_t* group_count) noexcept nogil:
    cdef int result
    if search.runtime is NULL:
        return 0
    result = regex_match(search.runtime.regexes[pattern], subject, length, groups, group_count)
    if result == REGEX_LIMIT:
        search.runtime.regex_limits += 1
    return result == REGEX_MATCH


cdef bint header_value_matches(Search* search, const ConditionRecord* condition, const uint8_t* value,
                               uint32_t length) noexcept nogil:
    cdef const MatchText* texts = search.texts + condition.text_first
    cdef uint32_t index, at
    cdef bint in_scratch = False
    for index in range(condition.text_count):
        if texts[index].pattern == NO_INDEX:
            if texts[index].text.length == length and equal_lower(value, text_at(search, texts[index].text), length):
                return True
        elif search.runtime is not NULL and length <= SCRATCH_SIZE:
            if not in_scratch:
                for at in range(length):
                    search.runtime.scratch[at] = lower_case[value[at]]
                in_scratch = True
            if run_regex(search, texts[index].pattern, search.runtime.scratch, length, NULL, NULL):
                return True
    return False


cdef bint header_condition_holds(Search* search, const ConditionRecord* condition) noexcept nogil:
    cdef const RouteQuery* query = search.query
    cdef const uint8_t* wanted = text_at(search, condition.name)
    cdef const HeaderField* field
    cdef const uint8_t* name
    cdef uint32_t index, at, length = condition.name.length
    for index in range(query.header_count):
        field = &query.headers[index]
        if field.name_length != length:
            continue
        name = query.head + field.name_offset
        at = 0
        while at < length and name_form[name[at]] == wanted[at]:
            at += 1
        if at == length and header_value_matches(search, condition, query.head + field.value_offset,
                                                 field.value_length):
            return True
    return False


cdef inline uint32_t decode_byte(const uint8_t* text, uint32_t length, uint32_t at, uint8_t* byte) noexcept nogil:
    """One byte of a query part (application/x-www-form-urlencoded); returns where the next begins. A "%" without
    two hex digits stands for itself."""
    cdef uint8_t high, low
    if text[at] == c"%" and length - at >= 3:
        high = hex_value[text[at + 1]]
        low = hex_value[text[at + 2]]
        if high != 0xff and low != 0xff:
            byte[0] = <uint8_t> (high << 4 | low)
            return at + 3
    byte[0] = c" " if text[at] == c"+" else text[at]
    return at + 1


cdef bint equal_decoded(const uint8_t* text, uint32_t length, const uint8_t* wanted, uint32_t wanted_length,
                        bint fold_case) noexcept nogil:
    cdef uint32_t at = 0, seen = 0
    cdef uint8_t byte = 0
    while at < length:
        at = decode_byte(text, length, at, &byte)
        if seen == wanted_length or (lower_case[byte] if fold_case else byte) != wanted[seen]:
            return False
        seen += 1
    return seen == wanted_length


cdef bint query_value_matches(Search* search, const ConditionRecord* condition, const uint8_t* value,
                              uint32_t length) noexcept nogil:
    cdef const MatchText* texts = search.texts + condition.text_first
    cdef uint32_t index, at, decoded
    cdef uint8_t byte = 0
    for index in range(condition.text_count):
        if texts[index].pattern == NO_INDEX:
            if equal_decoded(value, length, text_at(search, texts[index].text), texts[index].text.length, True):
                return True
        elif search.runtime is not NULL and length <= SCRATCH_SIZE:
            at = decoded = 0
            while at < length:
                at = decode_byte(value, length, at, &byte)
                search.runtime.scratch[decoded] = lower_case[byte]
                decoded += 1
            if run_regex(search, texts[index].pattern, search.runtime.scratch, decoded, NULL, NULL):
                return True
    return False


cdef bint query_condition_holds(Search* search, const ConditionRecord* condition) noexcept nogil:
    cdef const uint8_t* at = search.query.query
    cdef uint32_t left = search.query.query_length
    cdef uint32_t pair, name
    cdef const void* found
    while left:
        found = memchr(at, c"&", left)
        pair = left if found is NULL else <uint32_t> (<const uint8_t*> found - at)
        if pair:
            found = memchr(at, c"=", pair)
            name = pair if found is NULL else <uint32_t> (<const uint8_t*> found - at)
            if equal_decoded(at, name, text_at(search, condition.name), condition.name.length, False):
                # "name" alone has the empty value
                if name == pair:
                    if query_value_matches(search, condition, at + name, 0):
                        return True
                elif query_value_matches(search, condition, at + name + 1, pair - name - 1):
                    return True
        if pair == left:
            break
        at += pair + 1
        left -= pair + 1
    return False


cdef bint sni_listed(const Search* search, const MatcherRecord* matcher) noexcept nogil:
    """Server names: plain, "*.x" or "x.*". Ignored on http; https without a name matches none."""
    cdef const RouteQuery* query = search.query
    cdef const MatchText* texts = search.texts + matcher.sni_first
    cdef const uint8_t* wanted
    cdef uint32_t index, length, sni_length = query.sni_length
    if not query.https:
        return True
    if query.sni is NULL or sni_length == 0:
        return False
    if query.sni[sni_length - 1] == c".":
        sni_length -= 1
    for index in range(matcher.sni_count):
        wanted = text_at(search, texts[index].text)
        length = texts[index].text.length
        if length and wanted[0] == c"*":
            if sni_length >= length - 1 and equal_lower(query.sni + sni_length - (length - 1), wanted + 1, length - 1):
                return True
        elif length and wanted[length - 1] == c"*":
            if sni_length >= length - 1 and equal_lower(query.sni, wanted, length - 1):
                return True
        elif sni_length == length and equal_lower(query.sni, wanted, length):
            return True
    return False


cdef bint conditions_hold(Search* search, const MatcherRecord* matcher) noexcept nogil:
    """All but host and path, cheapest first."""
    cdef const ConditionRecord* condition = search.conditions + matcher.condition_first
    cdef uint32_t index
    if matcher.methods and not matcher.methods & search.method_bit:
        return False
    if matcher.methods & search.method_bit & METHOD_BIT_OTHER and not method_listed(search, matcher):
        return False
    if matcher.sni_count and not sni_listed(search, matcher):
        return False
    for index in range(matcher.header_count):
        if not header_condition_holds(search, condition + index):
            return False
    condition += matcher.header_count
    for index in range(matcher.query_count):
        if not query_condition_holds(search, condition + index):
            return False
    return True


# --- walking the trees -----------------------------------------------------------------------------------------------
cdef inline bint take_regex(Search* search, const MatcherRecord* matcher) noexcept nogil:
    cdef uint32_t groups[2 * REGEX_MAX_GROUPS]
    cdef uint32_t count = 0, index
    if not run_regex(search, matcher.regex, search.query.path, search.query.path_length, groups, &count):
        return False
    search.match.matched_length = groups[1]
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


cdef void search_paths(Search* search, uint32_t tree) noexcept nogil:
    cdef const RadixNode* node = &search.nodes[tree]
    cdef const uint8_t* path = search.query.path
    cdef uint32_t length = search.query.path_length
    cdef uint32_t at = 0
    while node.best < search.best and label_fits(node, path + at, length - at):
        at += node.label_length
        if node.value_count == 1:
            take_best(search, &node.value_first, 1, at)
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
    search.runtime = runtime
    search.query = query
    search.method_bit = method_bit(query.method, query.method_length)
    search.best = NO_INDEX
    search.match = match
    if index.host_slot_count or index.host_suffix_tree != NO_INDEX or index.host_prefix_tree != NO_INDEX:
        search_hosts(&search, index)
    if index.any_host_tree != NO_INDEX:
        search_paths(&search, index.any_host_tree)
    return search.best != NO_INDEX


# --- runtime ---------------------------------------------------------------------------------------------------------
cdef RouterRuntime* router_runtime_new(const SnapshotHeader* snapshot) noexcept nogil:
    cdef const RouterIndex* index = snapshot_router(snapshot)
    cdef const PatternRecord* pattern
    cdef const uint8_t* text
    cdef RouterRuntime* runtime
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
    runtime.regex_count = index.pattern_count
    for at in range(index.pattern_count):
        pattern = <const PatternRecord*> (<const uint8_t*> index + index.pattern_offset) + at
        text = <const uint8_t*> snapshot + pattern.text.offset
        if pattern.anchored:
            runtime.regexes[at] = regex_compile_anchored(text, pattern.text.length)
        else:
            runtime.regexes[at] = regex_compile(text, pattern.text.length)
        if runtime.regexes[at] is NULL:
            router_runtime_free(runtime)
            return NULL
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


# --- for Python ------------------------------------------------------------------------------------------------------
cdef enum:
    QUERY_HEADERS = 256

cdef class _Request:
    """A RouteQuery and the bytes it points into."""
    cdef RouteQuery query
    cdef HeaderField fields[QUERY_HEADERS]
    cdef list texts

    def __cinit__(self, method, host, port, path, query, headers, https, sni):
        cdef const uint8_t* text
        if len(headers) > QUERY_HEADERS:
            raise ValueError(f"more than {QUERY_HEADERS} headers")
        head = bytearray()
        for index, (name, value) in enumerate(headers):
            name, value = as_bytes(name), as_bytes(value)
            self.fields[index] = HeaderField(
                name_offset=len(head), value_offset=len(head) + len(name), value_length=len(value),
                name_length=len(name), known=0, flags=0)
            head += name + value
        self.texts = [as_bytes(method), as_bytes(host), as_bytes(path), as_bytes(query), bytes(head),
                      None if sni is None else as_bytes(sni)]
        text = self.texts[0]
        self.query.method = text
        self.query.method_length = <uint32_t> len(self.texts[0])
        text = self.texts[1]
        self.query.host = text
        self.query.host_length = <uint32_t> len(self.texts[1])
        self.query.port = port
        self.query.https = https
        text = self.texts[2]
        self.query.path = text
        self.query.path_length = <uint32_t> len(self.texts[2])
        text = self.texts[3]
        self.query.query = text
        self.query.query_length = <uint32_t> len(self.texts[3])
        text = self.texts[4]
        self.query.head = text
        self.query.headers = self.fields
        self.query.header_count = <uint16_t> len(headers)
        self.query.sni = NULL
        self.query.sni_length = 0
        if self.texts[5] is not None:
            text = self.texts[5]
            self.query.sni = text
            self.query.sni_length = <uint32_t> len(self.texts[5])


cdef bytes as_bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


cdef class Router:
    """The matcher over one configuration file, for tests and /explain: the code and structures of the request path."""
    cdef bytes data
    cdef const SnapshotHeader* snapshot
    cdef RouterRuntime* runtime

    def __cinit__(self, bytes data not None):
        cdef const char* problem = snapshot_verify(<const char*> data, <uint64_t> len(data))
        self.data = data
        self.snapshot = <const SnapshotHeader*> <const char*> data
        if problem is NULL and self.snapshot.kind != SNAPSHOT_CONFIGURATION:
            problem = b"not a configuration"
        if problem is NULL:
            problem = router_index_verify(self.snapshot)
        if problem is not NULL:
            raise ValueError(problem.decode())
        self.runtime = router_runtime_new(self.snapshot)
        if self.runtime is NULL:
            raise ValueError("a regular expression of the configuration does not compile, or memory is out")

    def __dealloc__(self):
        router_runtime_free(self.runtime)

    @property
    def regex_limits(self) -> int:
        """Regex matches given up at the match limit so far."""
        return self.runtime.regex_limits

    def match(self, *, method="GET", host="", port=80, path="/", query="", headers=(), https=False, sni=None):
        """The best route as {"route", "route_id", "name", "service", "matched_length", "captures"}, or None.

        `path` is normalised already (native.uri.normalize); `host` has no port.
        """
        cdef _Request request = _Request(method, host, port, path, query, headers, https, sni)
        cdef RouteMatch match
        cdef const RouteRecord* route
        cdef int found
        with nogil:
            found = router_match(self.snapshot, self.runtime, &request.query, &match)
        if not found:
            return None
        route = snapshot_route(self.snapshot, match.route)
        captures = []
        for index in range(match.capture_count):
            start, end = match.captures[2 * index], match.captures[2 * index + 1]
            captures.append(None if start == 0xffffffff else request.texts[2][start:end])
        return {
            "route": match.route,
            "route_id": (snapshot_text(self.snapshot, route.id))[:route.id.length].decode("utf-8", "replace"),
            "name": (snapshot_text(self.snapshot, route.name))[:route.name.length].decode("utf-8", "replace"),
            "service": None if route.service == NO_INDEX else route.service,
            "flags": route.flags,
            "matched_length": match.matched_length,
            "captures": captures,
        }

    def benchmark(self, requests: list[dict], uint32_t rounds) -> float:
        """Nanoseconds per match over `rounds` rounds through `requests` (keyword arguments of `match`)."""
        cdef const RouteQuery** queries
        cdef RouteMatch match
        cdef uint32_t count = <uint32_t> len(requests), at, _round
        cdef uint64_t found = 0
        cdef timespec begin, end
        defaults = {"method": "GET", "host": "", "port": 80, "path": "/", "query": "", "headers": (), "https": False,
                    "sni": None}
        kept = [_Request(**(defaults | request)) for request in requests]
        queries = <const RouteQuery**> malloc((count + 1) * sizeof(RouteQuery*))
        if queries is NULL:
            raise MemoryError
        for at in range(count):
            queries[at] = &(<_Request> kept[at]).query
        with nogil:
            clock_gettime(CLOCK_MONOTONIC, &begin)
            for _round in range(rounds):
                for at in range(count):
                    found += router_match(self.snapshot, self.runtime, queries[at], &match)
            clock_gettime(CLOCK_MONOTONIC, &end)
        free(queries)
        if found == 0:
            raise ValueError("no request matched")
        return ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / (<double> rounds * count)

# The router for Python: tests and /explain. Included by router.pyx.

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

    def __cinit__(self, bytes data not None, Router earlier=None):
        """`earlier`: of another file, whose regexes are not compiled again."""
        cdef const char* problem = snapshot_verify(<const char*> data, <uint64_t> len(data))
        self.data = data
        self.snapshot = <const SnapshotHeader*> <const char*> data
        if problem is NULL and self.snapshot.kind != SNAPSHOT_CONFIGURATION:
            problem = b"not a configuration"
        if problem is NULL:
            problem = router_index_verify(self.snapshot)
        if problem is not NULL:
            raise ValueError(problem.decode())
        self.runtime = router_runtime_new(self.snapshot, NULL if earlier is None else earlier.runtime)
        if self.runtime is NULL:
            raise ValueError("a regular expression of the configuration does not compile, or memory is out")

    def __dealloc__(self):
        router_runtime_free(self.runtime)

    @property
    def shared_regexes(self) -> int:
        """How many of its regexes another router has, too."""
        return sum(1 for at in range(self.runtime.regex_count) if self.runtime.regexes[at].users > 1)

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

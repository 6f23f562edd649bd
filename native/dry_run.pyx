from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from native.client_address cimport find_client_address, format_peer
from native.connection cimport Downstream, Exchange, Listener, Worker
from native.http1 cimport HEAD_COMPLETE, METHOD_CONNECT, METHOD_TRACE, HeadLimits, parse_request_head, request_head_reset
from native.identities cimport CONSUMER_ID, find_consumer, identities_verify
from native.memory cimport buffer_give, buffer_stock_clear, buffer_take
from native.plan cimport choose_plugin
from native.router cimport router_runtime_free, router_runtime_new
from native.routing cimport find_route, find_scheme, is_grpc_request, normalize_request_path
from native.shm cimport WorkerBlock
from native.snapshot cimport (
    SNAPSHOT_CONFIGURATION,
    SNAPSHOT_IDENTITIES,
    ConsumerChoice,
    PlanRecord,
    PlanStep,
    PluginRecord,
    SnapshotHeader,
    StringRef,
    plan_steps,
    snapshot_plan,
    snapshot_plugin,
    snapshot_route,
    snapshot_settings,
    snapshot_text,
    snapshot_verify,
)
from native.text cimport put

cdef enum:
    SHOWN_CHOICES = 100          # configurations for one consumer each that are named; there may be very many


cdef str text_at(const SnapshotHeader* header, StringRef text):
    return (snapshot_text(header, text))[:text.length].decode("utf-8", "replace")


cdef const SnapshotHeader* checked(bytes data, uint32_t kind) except NULL:
    """The header of a snapshot file. Raises ValueError."""
    cdef const SnapshotHeader* header = <const SnapshotHeader*> <const char*> data
    cdef const char* problem = snapshot_verify(<const char*> data, <unsigned long long> len(data))
    if problem == NULL and header.kind != kind:
        problem = b"a snapshot of another kind"
    if problem == NULL and kind == SNAPSHOT_IDENTITIES:
        problem = identities_verify(header)
    if problem != NULL:
        raise ValueError(problem.decode())
    return header


cdef dict described_plugin(const SnapshotHeader* header, const PluginRecord* plugin):
    return {
        "id": text_at(header, plugin.id),
        "name": text_at(header, plugin.name),
        "instance_name": text_at(header, plugin.instance_name),
        "route": text_at(header, plugin.route_id),
        "service": text_at(header, plugin.service_id),
        "consumer": text_at(header, plugin.consumer_id),
    }


cdef class DryRun:
    """A worker's view of a configuration and of identities. One thread at a time."""

    def __cinit__(self, bytes configuration not None, bytes identities not None):
        """Both are contents of snapshot files. Raises ValueError for what a worker would not load."""
        self.mapped.base = checked(configuration, SNAPSHOT_CONFIGURATION)
        self.mapped_identities.base = checked(identities, SNAPSHOT_IDENTITIES)
        self.configuration = configuration
        self.identities = identities
        self.mapped.router = router_runtime_new(self.mapped.base, NULL)
        self.worker = <Worker*> calloc(1, sizeof(Worker))
        if self.mapped.router == NULL or self.worker == NULL:
            raise ValueError("a regular expression of the configuration does not compile, or memory is out")
        self.worker.block = <WorkerBlock*> calloc(1, sizeof(WorkerBlock))
        if self.worker.block == NULL:
            raise MemoryError
        self.worker.configuration = &self.mapped
        self.worker.identities = &self.mapped_identities

    def __dealloc__(self):
        router_runtime_free(self.mapped.router)
        if self.worker != NULL:
            buffer_stock_clear(&self.worker.buffers)
            free(self.worker.block)
            free(self.worker)

    def route(self, bytes head not None, *, int family, bytes address not None, uint16_t port, bint tls) -> dict:
        """What becomes of a request until a route is found: `head` are its bytes, `family` (4, 6) and `address` (in
        network order) are the peer's, `port` and `tls` those of the listener.

        {"refusal": status of a head that is refused, or 0, and when it is not: "client_address", "https", "host",
        "port", "path" (normalised), "query", "grpc", and "route": None, or {"index", "matched_length", "captures"}}.
        """
        cdef Exchange* exchange = <Exchange*> calloc(1, sizeof(Exchange))
        cdef Downstream* client = <Downstream*> calloc(1, sizeof(Downstream))
        cdef Listener* listener = <Listener*> calloc(1, sizeof(Listener))
        try:
            if exchange == NULL or client == NULL or listener == NULL:
                raise MemoryError
            listener.port = port
            listener.tls = tls
            client.listener = listener
            exchange.client = client
            refusal = self.begin(exchange, head, family, address)
            return {"refusal": refusal} if refusal else self.routed(exchange)
        finally:
            if exchange != NULL:
                buffer_give(&self.worker.buffers, exchange.path_buffer)
            if client != NULL:
                buffer_give(&self.worker.buffers, client.input)
            free(listener)
            free(client)
            free(exchange)

    cdef int begin(self, Exchange* exchange, bytes head, int family, bytes address) except -1:
        """From the bytes of the head to where routing begins, as begin_exchange() in exchange.pyx. The status of a
        refusal, or 0."""
        cdef Downstream* client = exchange.client
        cdef HeadLimits limits
        cdef int result
        exchange.worker = self.worker
        exchange.configuration = &self.mapped
        exchange.settings = snapshot_settings(self.mapped.base)
        client.family = <uint8_t> family
        memcpy(client.address, <const char*> address, <size_t> min(len(address), 16))
        format_peer(client)
        client.input = buffer_take(&self.worker.buffers, <uint32_t> len(head))
        if client.input == NULL:
            raise MemoryError
        put(client.input, <const char*> head, <uint32_t> len(head))
        limits.max_line = exchange.settings.max_request_line
        limits.max_head = exchange.settings.max_request_head
        request_head_reset(&exchange.request)
        result = parse_request_head(&client.input.data[0], client.input.end, &exchange.request, &limits)
        if result != HEAD_COMPLETE:
            return 400 if result >= 0 or exchange.request.method == METHOD_CONNECT else -result
        find_client_address(exchange)
        if exchange.request.method == METHOD_TRACE:
            return 405
        return 0 if normalize_request_path(exchange) else 400

    cdef dict routed(self, Exchange* exchange):
        cdef const uint8_t* head = &exchange.client.input.data[0]
        cdef uint32_t index, start, end
        find_scheme(exchange)
        path = (<const char*> exchange.path)[:exchange.path_length]
        found = {
            "refusal": 0,
            "client_address": exchange.client_text[:exchange.client_text_length].decode("ascii", "replace"),
            "https": bool(exchange.https),
            "host": (<const char*> head + exchange.request.host_offset)[
                :exchange.request.host_length if exchange.request.has_host else 0],
            "port": exchange.request.port or exchange.client.listener.port,
            "path": path,
            "query": (<const char*> head + exchange.request.query_offset)[:exchange.request.query_length],
            "grpc": bool(is_grpc_request(exchange)),
            "route": None,
        }
        if find_route(exchange):
            captures = []
            for index in range(exchange.match.capture_count):
                start, end = exchange.match.captures[2 * index], exchange.match.captures[2 * index + 1]
                captures.append(None if start == 0xffffffff else path[start:end])
            found["route"] = {
                "index": exchange.match.route,
                "id": text_at(self.mapped.base, exchange.route.id),
                "protocols": exchange.route.protocols,
                "flags": exchange.route.flags,
                "https_redirect_status": exchange.route.https_redirect_status,
                "matched_length": exchange.match.matched_length,
                "captures": captures,
            }
        return found

    def plan(self, route, str consumer=None, uint32_t known_from=0) -> list:
        """The places of the plan of the route with this index, or of requests without one (None), in the order in which
        they run: [{"step", "plugin": the configuration that applies or None, "choices": those for one consumer each (at
        most 100), "choice_count"}].

        The configuration is that for `consumer` (an id), who is known from place `known_from` on.
        """
        cdef const SnapshotHeader* header = self.mapped.base
        cdef const PlanRecord* plan = snapshot_plan(
            header, header.global_plan_offset if route is None else snapshot_route(header, route).plan_offset)
        cdef const StringRef* names = <const StringRef*> (<const uint8_t*> header + header.step_name_offset)
        cdef const PlanStep* step
        cdef const ConsumerChoice* choices
        cdef const PluginRecord* plugin
        cdef Exchange* exchange
        cdef uint32_t at, number
        if plan == NULL:
            return []
        exchange = <Exchange*> calloc(1, sizeof(Exchange))
        if exchange == NULL:
            raise MemoryError
        exchange.configuration = &self.mapped
        identifier = b"" if consumer is None else consumer.encode()
        places = []
        try:
            for at in range(plan.step_count):
                if at == known_from and consumer is not None:
                    exchange.consumer = find_consumer(
                        self.mapped_identities.base, CONSUMER_ID, <const uint8_t*> <const char*> identifier,
                        <uint32_t> len(identifier))
                step = plan_steps(plan) + at
                plugin = choose_plugin(exchange, step)
                choices = <const ConsumerChoice*> (<const uint8_t*> header + step.choice_offset)
                places.append({
                    "step": text_at(header, names[step.step]),
                    "plugin": None if plugin == NULL else described_plugin(header, plugin),
                    "choices": [described_plugin(header, snapshot_plugin(header, choices[number].plugin))
                                for number in range(min(step.choice_count, SHOWN_CHOICES))],
                    "choice_count": step.choice_count,
                })
        finally:
            free(exchange)
        return places

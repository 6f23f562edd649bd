"""Writing, checking and describing snapshot files. The records are those of snapshot.pxd."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from native.hashing cimport xxh64
from native.rendezvous import slot_table
from native.shm cimport GROUP_SLOTS, TARGET_SLOTS

MAGIC = int(SNAPSHOT_MAGIC)
FORMAT = int(SNAPSHOT_FORMAT)
HEADER_SIZE = sizeof(SnapshotHeader)


class SnapshotError(Exception):
    """A snapshot cannot be written, or bytes are no sound snapshot."""


# --- checking --------------------------------------------------------------------------------------------------------
cdef inline bint text_inside(const SnapshotHeader* header, StringRef text) noexcept nogil:
    return text.length <= header.size and text.offset <= header.size - text.length


cdef inline bint section_inside(const SnapshotHeader* header, uint32_t offset, uint64_t count,
                                uint64_t record_size) noexcept nogil:
    """An empty section lies anywhere; another one after the header, aligned, with all its records in the file."""
    if count == 0:
        return True
    return (offset >= sizeof(SnapshotHeader) and offset % 8 == 0 and offset <= header.size
            and count * record_size <= header.size - offset)


cdef const char* verify_configuration(const SnapshotHeader* header) noexcept nogil:
    cdef const LiveSettings* settings
    cdef const ServiceRecord* service
    cdef const RouteRecord* route
    cdef const char* problem
    cdef uint32_t index
    for index in range(32):
        if not (c"0" <= header.configuration_hash[index] <= c"9" or c"a" <= header.configuration_hash[index] <= c"f"):
            return b"configuration hash is not made of hex digits"
    if header.live_settings_offset == 0 or not section_inside(header, header.live_settings_offset, 1,
                                                              sizeof(LiveSettings)):
        return b"settings lie outside the file"
    if not section_inside(header, header.service_offset, header.service_count, sizeof(ServiceRecord)):
        return b"services lie outside the file"
    if not section_inside(header, header.route_offset, header.route_count, sizeof(RouteRecord)):
        return b"routes lie outside the file"
    if header.router_size == 0 or not section_inside(header, header.router_offset, header.router_size, 1):
        return b"router index lies outside the file"
    if not section_inside(header, header.trusted_range_offset, header.trusted_range_count, sizeof(TrustedRange)):
        return b"trusted ranges lie outside the file"
    problem = verify_plugins(header)
    if problem is NULL:
        problem = verify_plan(header, header.global_plan_offset)
    if problem is not NULL:
        return problem
    settings = snapshot_settings(header)
    if not text_inside(header, settings.real_ip_header):
        return b"text of the settings lies outside the file"
    for index in range(header.service_count):
        service = snapshot_service(header, index)
        if not (text_inside(header, service.id) and text_inside(header, service.name)
                and text_inside(header, service.host) and text_inside(header, service.host_header)
                and text_inside(header, service.path)) or service.path.length == 0:
            return b"text of a service lies outside the file"
    for index in range(header.route_count):
        route = snapshot_route(header, index)
        if not (text_inside(header, route.id) and text_inside(header, route.name)):
            return b"text of a route lies outside the file"
        if route.service != NO_INDEX and route.service >= header.service_count:
            return b"a route names a service that is not there"
        problem = verify_plan(header, route.plan_offset)
        if problem is not NULL:
            return problem
    return NULL


cdef const char* verify_plugins(const SnapshotHeader* header) noexcept nogil:
    cdef const StringRef* names
    cdef const PluginRecord* plugin
    cdef uint32_t index
    if not section_inside(header, header.step_name_offset, header.step_name_count, sizeof(StringRef)):
        return b"names of steps lie outside the file"
    if not section_inside(header, header.plugin_offset, header.plugin_count, sizeof(PluginRecord)):
        return b"plugins lie outside the file"
    names = <const StringRef*> (<const uint8_t*> header + header.step_name_offset)
    for index in range(header.step_name_count):
        if not text_inside(header, names[index]):
            return b"name of a step lies outside the file"
    for index in range(header.plugin_count):
        plugin = snapshot_plugin(header, index)
        if not (text_inside(header, plugin.id) and text_inside(header, plugin.name)
                and text_inside(header, plugin.instance_name) and text_inside(header, plugin.route_id)
                and text_inside(header, plugin.service_id) and text_inside(header, plugin.consumer_id)
                and text_inside(header, plugin.document)):
            return b"text of a plugin lies outside the file"
        if not section_inside(header, plugin.config_offset, plugin.config_size, 1):
            return b"configuration of a plugin lies outside the file"
        if plugin.index != index or plugin.step >= header.step_name_count:
            return b"a plugin names a step that is not there"
    return NULL


cdef const char* verify_plan(const SnapshotHeader* header, uint32_t offset) noexcept nogil:
    cdef const PlanRecord* plan = snapshot_plan(header, offset)
    cdef const PlanStep* step
    cdef const ConsumerChoice* choices
    cdef uint32_t number, at
    if plan is NULL:
        return NULL
    if not section_inside(header, offset, 1, sizeof(PlanRecord)) or plan.step_count > MAX_STEPS \
            or not section_inside(header, offset + <uint32_t> sizeof(PlanRecord), plan.step_count, sizeof(PlanStep)):
        return b"a plan lies outside the file"
    for number in range(plan.step_count):
        step = plan_steps(plan) + number
        if step.step >= header.step_name_count or (step.plugin != NO_INDEX and step.plugin >= header.plugin_count):
            return b"a plan names a plugin that is not there"
        if not section_inside(header, step.choice_offset, step.choice_count, sizeof(ConsumerChoice)):
            return b"choices of a plan lie outside the file"
        choices = <const ConsumerChoice*> (<const uint8_t*> header + step.choice_offset)
        for at in range(step.choice_count):
            if choices[at].plugin >= header.plugin_count or not text_inside(header, choices[at].consumer_id):
                return b"a choice of a plan names a plugin that is not there"
    return NULL


cdef uint64_t snapshot_checksum(const SnapshotHeader* header, const void* body, uint64_t body_size) noexcept nogil:
    cdef SnapshotHeader copy
    memcpy(&copy, header, sizeof(copy))
    copy.checksum = 0
    return xxh64(body, body_size, xxh64(&copy, sizeof(copy), 0))


cdef const char* snapshot_verify(const void* base, uint64_t size) noexcept nogil:
    cdef const SnapshotHeader* header = <const SnapshotHeader*> base
    if base is NULL or size < sizeof(SnapshotHeader):
        return b"too short for a snapshot"
    if <size_t> base % 8:
        return b"not aligned"
    if header.magic != SNAPSHOT_MAGIC:
        return b"not a snapshot"
    if header.format != SNAPSHOT_FORMAT:
        return b"snapshot of another format version"
    # offsets have 32 bits
    if header.size != size or size > 0xffffffffULL:
        return b"size differs from the one in the header"
    if header.checksum != snapshot_checksum(header, <const uint8_t*> base + sizeof(SnapshotHeader),
                                            size - sizeof(SnapshotHeader)):
        return b"checksum does not match"
    if header.kind == SNAPSHOT_CONFIGURATION:
        return verify_configuration(header)
    if header.kind == SNAPSHOT_PEERS:
        return verify_peers(header)
    if header.kind == SNAPSHOT_IDENTITIES:
        return NULL
    return b"unknown kind of snapshot"


cdef const PeerSet* snapshot_peer_set(const SnapshotHeader* peers, uint64_t key) noexcept nogil:
    cdef const PeerSlot* slots = <const PeerSlot*> (<const uint8_t*> peers + peers.peer_slot_offset)
    cdef uint32_t mask = peers.peer_slot_count - 1
    cdef uint32_t at = <uint32_t> key & mask
    cdef uint32_t _probe
    if key == 0:
        return NULL
    for _probe in range(peers.peer_slot_count):
        if slots[at].key == key:
            return <const PeerSet*> (<const uint8_t*> peers + slots[at].set_offset)
        if slots[at].key == 0:
            return NULL
        at = (at + 1) & mask
    return NULL


# --- writing ---------------------------------------------------------------------------------------------------------
cdef int append_bytes(bytearray target, const void* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t length = PyByteArray_GET_SIZE(target)
    if size:
        PyByteArray_Resize(target, length + size)
        memcpy(PyByteArray_AS_STRING(target) + length, data, <size_t> size)
    return 0


cdef class StringPool:
    """Texts of one file, each stored once. The pool follows the header, so that its offsets are known at once."""

    def __cinit__(self):
        self.data = bytearray()
        self.known = {}

    cdef StringRef put(self, bytes text) except *:
        cdef StringRef reference
        found = self.known.get(text)
        if found is None:
            found = sizeof(SnapshotHeader) + len(self.data)
            self.known[text] = found
            append_bytes(self.data, <const char*> text, len(text))
        if found + len(text) > 0xffffffff:
            raise SnapshotError("snapshot is larger than 4 GiB")
        reference.offset = <uint32_t> found
        reference.length = <uint32_t> len(text)
        return reference


cdef class _Builder:
    """What both kinds of file share: header, string pool, sections at 8-byte boundaries."""

    def __cinit__(self):
        self.strings = StringPool()
        self.sections = []

    cdef uint32_t section(self, object records) except? 0:
        """Put a section behind the ones before it; returns its offset."""
        cdef uint64_t offset = self.end
        padded = bytes(records) + bytes((8 - len(records) % 8) % 8)
        self.end += len(padded)
        if self.end > 0xffffffffULL:
            raise SnapshotError("snapshot is larger than 4 GiB")
        self.sections.append(padded)
        return <uint32_t> offset

    cdef int begin_sections(self) except -1:
        """Close the string pool; the first section follows it."""
        self.strings.data += bytes((8 - (sizeof(SnapshotHeader) + len(self.strings.data)) % 8) % 8)
        self.sections.clear()
        self.end = sizeof(SnapshotHeader) + <uint64_t> len(self.strings.data)
        return 0

    cdef bytes finish(self, SnapshotHeader* header, uint32_t kind, uint64_t number):
        body = b"".join([bytes(self.strings.data), *self.sections])
        cdef const uint8_t* text = body
        header.magic = SNAPSHOT_MAGIC
        header.format = SNAPSHOT_FORMAT
        header.kind = kind
        header.number = number
        header.size = sizeof(SnapshotHeader) + <uint64_t> len(body)
        header.checksum = snapshot_checksum(header, text, <uint64_t> len(body))
        data = (<const char*> header)[:sizeof(SnapshotHeader)] + body
        problem = verify(data)
        if problem is not None:
            raise SnapshotError(f"the snapshot written is not sound: {problem}")
        return data


cdef uint64_t peer_key_hash(str key) except? 0:
    encoded = key.encode()
    cdef const uint8_t* text = encoded
    return xxh64(text, <size_t> len(encoded), 0)


def peer_key(str key) -> int:
    """Hash of a peer set's key ("upstream:<name>", "host:<name>:<port>")."""
    return peer_key_hash(key)


cdef class PreparedService:
    def __cinit__(
        self, *, str id, str name, str host, str host_header, str path, str peer_key, uint16_t port, uint16_t retries,
        uint32_t connect_timeout_ms, uint32_t read_timeout_ms, uint32_t write_timeout_ms, uint8_t protocol,
        bint is_upstream,
    ):
        """Names and units are those of ServiceRecord; `peer_key` is the text of the key."""
        memset(&self.record, 0, sizeof(self.record))
        self.id, self.name = id.encode(), name.encode()
        self.host, self.host_header = host.encode(), host_header.encode()
        self.path = (path or "/").encode()
        self.record.peer_key = peer_key_hash(peer_key)
        self.record.connect_timeout_ms = connect_timeout_ms
        self.record.read_timeout_ms = read_timeout_ms
        self.record.write_timeout_ms = write_timeout_ms
        self.record.port = port
        self.record.retries = retries
        self.record.protocol = protocol
        self.record.is_upstream = is_upstream


cdef class PreparedRoute:
    def __cinit__(self, *, str id, str name, uint16_t https_redirect_status, uint8_t protocols, uint8_t flags):
        """Names are those of RouteRecord."""
        memset(&self.record, 0, sizeof(self.record))
        self.id, self.name = id.encode(), name.encode()
        self.record.https_redirect_status = https_redirect_status
        self.record.protocols = protocols
        self.record.flags = flags


cdef class ConfigurationBuilder(_Builder):
    """Builds a configuration file: call the add methods, then `build`."""

    def __cinit__(self):
        memset(&self.settings, 0, sizeof(LiveSettings))
        self.services = bytearray()
        self.routes = bytearray()
        self.trusted_ranges = bytearray()
        self.plugins = bytearray()
        self.packed = bytearray()
        self.steps, self.plans = {}, {}
        self.global_plan = None
        self.router_index = b""
        self.plugin_count = 0
        self.service_count = self.route_count = self.trusted_count = 0

    def live_settings(
        self, *, uint64_t client_max_body_size, uint32_t client_body_buffer_size, uint32_t client_header_timeout_ms,
        uint32_t client_body_timeout_ms, uint32_t keepalive_timeout_ms, uint32_t keepalive_requests,
        uint32_t upstream_pool_size, uint32_t upstream_max_requests, uint32_t upstream_idle_timeout_ms,
        uint32_t send_timeout_ms, uint32_t lingering_timeout_ms, uint32_t max_request_line, uint32_t max_request_head,
        uint32_t plugin_body_limit, uint32_t retry_budget_percent, uint32_t retry_budget_min, bint trusted_all,
        str real_ip_header, uint8_t real_ip_kind, bint real_ip_recursive, uint8_t sent_headers, uint8_t error_default_type,
        bint access_log, uint8_t log_level, bint allow_debug_header, bytes debug_token=None,
    ) -> None:
        """Set LiveSettings; names and units are those of the record."""
        cdef LiveSettings* record = &self.settings
        record.client_max_body_size = client_max_body_size
        record.client_body_buffer_size = client_body_buffer_size
        record.client_header_timeout_ms = client_header_timeout_ms
        record.client_body_timeout_ms = client_body_timeout_ms
        record.keepalive_timeout_ms = keepalive_timeout_ms
        record.keepalive_requests = keepalive_requests
        record.upstream_pool_size = upstream_pool_size
        record.upstream_max_requests = upstream_max_requests
        record.upstream_idle_timeout_ms = upstream_idle_timeout_ms
        record.send_timeout_ms = send_timeout_ms
        record.lingering_timeout_ms = lingering_timeout_ms
        record.max_request_line = max_request_line
        record.max_request_head = max_request_head
        record.plugin_body_limit = plugin_body_limit
        record.retry_budget_percent = retry_budget_percent
        record.retry_budget_min = retry_budget_min
        record.trusted_all = trusted_all
        record.real_ip_header = self.strings.put(real_ip_header.encode())
        record.real_ip_kind = real_ip_kind
        record.real_ip_recursive = real_ip_recursive
        record.sent_headers = sent_headers
        record.error_default_type = error_default_type
        record.access_log = access_log
        record.log_level = log_level
        record.allow_debug_header = allow_debug_header
        record.has_debug_token = debug_token is not None
        if debug_token is not None:
            if len(debug_token) != sizeof(record.debug_token):
                raise ValueError("the digest of the debug token has 32 bytes")
            memcpy(record.debug_token, <const char*> debug_token, sizeof(record.debug_token))

    def add_trusted_range(self, bytes address, uint8_t prefix_length) -> None:
        """`address`: 16 bytes, IPv4 mapped, host bits zero; `prefix_length` counts from the front of these 16 bytes."""
        cdef TrustedRange record
        if len(address) != 16 or prefix_length > 128:
            raise ValueError("a trusted range is 16 bytes and a prefix of at most 128 bits")
        memset(&record, 0, sizeof(record))
        memcpy(record.address, <const char*> address, 16)
        record.prefix_length = prefix_length
        append_bytes(self.trusted_ranges, &record, sizeof(record))
        self.trusted_count += 1

    def add_service(self, PreparedService service not None) -> int:
        """Returns its index."""
        cdef ServiceRecord record = service.record
        record.id = self.strings.put(service.id)
        record.name = self.strings.put(service.name)
        record.host = self.strings.put(service.host)
        record.host_header = self.strings.put(service.host_header)
        record.path = self.strings.put(service.path)
        append_bytes(self.services, &record, sizeof(record))
        self.service_count += 1
        return self.service_count - 1

    def add_plugin(
        self, *, str id, str name, str step, str instance_name, str route_id, str service_id, str consumer_id,
        bytes document, bytes config, uint32_t flags, uint32_t deadline_ms,
    ) -> int:
        """Add a plugin entity; scopes that it has not are empty, `step` is the name of its kind of step, `config` its
        packed configuration. Returns its index."""
        cdef PluginRecord record
        memset(&record, 0, sizeof(record))
        record.id, record.name = self.strings.put(id.encode()), self.strings.put(name.encode())
        record.instance_name = self.strings.put(instance_name.encode())
        record.route_id = self.strings.put(route_id.encode())
        record.service_id = self.strings.put(service_id.encode())
        record.consumer_id = self.strings.put(consumer_id.encode())
        record.document = self.strings.put(document)
        content = config + document
        record.config_hash = xxh64(<const uint8_t*> <const char*> content, <size_t> len(content), 0)
        record.config_offset, record.config_size = <uint32_t> len(self.packed), <uint32_t> len(config)
        record.step = self.steps.setdefault(step, len(self.steps))
        record.index = self.plugin_count
        record.flags = flags
        record.deadline_ms = deadline_ms
        self.packed += config + bytes((8 - len(config) % 8) % 8)
        append_bytes(self.plugins, &record, sizeof(record))
        self.plugin_count += 1
        return self.plugin_count - 1

    def add_plan(self, tuple steps not None, bint rewrites=False) -> int:
        """Add a plan, unless there is one with these steps: (name of the kind of step, index of the plugin or None,
        ((hash of a consumer's id, its id, index of the plugin), …)). Returns its number."""
        if len(steps) > MAX_STEPS:
            raise SnapshotError(f"more than {MAX_STEPS} plugins for one request")
        for step in steps:
            self.steps.setdefault(step[0], len(self.steps))
        return self.plans.setdefault((steps, rewrites), len(self.plans))

    cdef list place_plans(self):
        """Put the plans into the file; returns their offsets by number."""
        cdef PlanRecord plan
        cdef PlanStep record
        cdef ConsumerChoice choice
        choices, places = bytearray(), {}
        for steps, _ in self.plans:
            for step in steps:
                if step[2] not in places:
                    places[step[2]] = len(choices)
                    for consumer_hash, consumer_id, plugin in sorted(step[2]):
                        memset(&choice, 0, sizeof(choice))
                        choice.consumer_hash = consumer_hash
                        choice.consumer_id = self.strings.put(consumer_id.encode())
                        choice.plugin = plugin
                        append_bytes(choices, &choice, sizeof(choice))
        self.begin_sections()
        first_choice = self.section(choices)
        plans, offsets = bytearray(), []
        for steps, rewrites in self.plans:
            offsets.append(self.end + len(plans))
            memset(&plan, 0, sizeof(plan))
            plan.step_count, plan.rewrites = <uint32_t> len(steps), rewrites
            append_bytes(plans, &plan, sizeof(plan))
            for name, plugin, consumers in steps:
                memset(&record, 0, sizeof(record))
                record.step = self.steps[name]
                record.plugin = <uint32_t> NO_INDEX if plugin is None else <uint32_t> plugin
                record.choice_offset = first_choice + places[consumers]
                record.choice_count = <uint32_t> len(consumers)
                append_bytes(plans, &record, sizeof(record))
        self.section(plans)
        return offsets

    cdef int place_plugins(self, SnapshotHeader* header) except -1:
        cdef PluginRecord* plugins
        cdef RouteRecord* routes
        cdef uint32_t packed, index
        name_refs = bytearray()
        cdef StringRef reference
        for name in self.steps:
            reference = self.strings.put(name.encode())
            append_bytes(name_refs, &reference, sizeof(reference))
        offsets = self.place_plans()
        header.step_name_offset, header.step_name_count = self.section(name_refs), <uint32_t> len(self.steps)
        packed = self.section(self.packed)
        plugins = <PluginRecord*> PyByteArray_AS_STRING(self.plugins)
        for index in range(self.plugin_count):
            plugins[index].config_offset += packed
        header.plugin_offset, header.plugin_count = self.section(self.plugins), self.plugin_count
        routes = <RouteRecord*> PyByteArray_AS_STRING(self.routes)
        for index in range(self.route_count):
            if routes[index].plan_offset:
                routes[index].plan_offset = offsets[routes[index].plan_offset - 1]
        header.global_plan_offset = 0 if self.global_plan is None else offsets[self.global_plan]
        return 0

    def add_route(
        self, PreparedRoute route not None, service: int | None, uint32_t metrics_slot, plan: int | None = None,
    ) -> int:
        """Add a route of the service with index `service` (None: without a service), with a plan of add_plan(). Returns
        its index."""
        cdef RouteRecord record = route.record
        record.id = self.strings.put(route.id)
        record.name = self.strings.put(route.name)
        record.service = <uint32_t> NO_INDEX if service is None else <uint32_t> service
        record.metrics_slot = metrics_slot
        record.plan_offset = 0 if plan is None else <uint32_t> plan + 1      # its place is known in the end
        append_bytes(self.routes, &record, sizeof(record))
        self.route_count += 1
        return self.route_count - 1

    def build(self, *, uint64_t number, str configuration_hash) -> bytes:
        """The finished file. `configuration_hash`: 32 hex digits."""
        cdef SnapshotHeader header
        encoded = configuration_hash.encode("ascii")
        if len(encoded) != 32:
            raise ValueError("a configuration hash has 32 hex digits")
        if not self.router_index:
            raise SnapshotError("the router index is missing")
        memset(&header, 0, sizeof(header))
        memcpy(header.configuration_hash, <const char*> encoded, 32)
        self.place_plugins(&header)
        header.live_settings_offset = self.section((<const char*> &self.settings)[:sizeof(LiveSettings)])
        header.trusted_range_offset = self.section(self.trusted_ranges)
        header.trusted_range_count = self.trusted_count
        header.service_offset = self.section(self.services)
        header.service_count = self.service_count
        header.route_offset = self.section(self.routes)
        header.route_count = self.route_count
        header.router_offset = self.section(self.router_index)
        header.router_size = <uint32_t> len(self.router_index)
        return self.finish(&header, SNAPSHOT_CONFIGURATION, number)


include "snapshot_peers.pxi"


# --- for Python ------------------------------------------------------------------------------------------------------
def verify(bytes data) -> str | None:
    """What is wrong with a snapshot file, or None."""
    cdef const char* problem = snapshot_verify(<const char*> data, <uint64_t> len(data))
    return None if problem is NULL else problem.decode()


cdef str text_of(const SnapshotHeader* header, StringRef text):
    return (snapshot_text(header, text))[:text.length].decode("utf-8", "replace")


cdef dict describe_settings(const SnapshotHeader* header):
    described = dict(snapshot_settings(header)[0])
    del described["reserved"], described["debug_token"]
    described["real_ip_header"] = text_of(header, snapshot_settings(header).real_ip_header)
    return described


cdef dict describe_texts(const SnapshotHeader* header, record: dict, texts: tuple):
    """A record as a dict, with its StringRefs read."""
    cdef StringRef reference
    described = {name: value for name, value in record.items() if name != "reserved"}
    for name in texts:
        reference = record[name]
        described[name] = text_of(header, reference)
    return described


def describe(bytes data) -> dict:
    """The content of a snapshot file as plain data, for tests and /explain. Raises SnapshotError."""
    cdef const SnapshotHeader* header = <const SnapshotHeader*> <const char*> data
    cdef const TrustedRange* ranges
    cdef uint32_t index
    problem = verify(data)
    if problem is not None:
        raise SnapshotError(problem)
    described = {"kind": SnapshotKind(header.kind), "number": header.number, "size": header.size}
    if header.kind == SNAPSHOT_PEERS:
        described["sets"] = describe_peers(header)
        return described
    ranges = <const TrustedRange*> (<const uint8_t*> header + header.trusted_range_offset)
    described["configuration_hash"] = (<const char*> header.configuration_hash)[:32].decode()
    described["settings"] = describe_settings(header)
    described["trusted_ranges"] = [((<const char*> ranges[index].address)[:16], ranges[index].prefix_length)
                                   for index in range(header.trusted_range_count)]
    described["services"] = [
        describe_texts(header, snapshot_service(header, index)[0], ("id", "name", "host", "host_header", "path"))
        for index in range(header.service_count)]
    described["routes"] = [describe_texts(header, snapshot_route(header, index)[0], ("id", "name"))
                           for index in range(header.route_count)]
    for route in described["routes"]:
        if route["service"] == <uint32_t> NO_INDEX:
            route["service"] = None
    return described

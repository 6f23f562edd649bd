from libc.stdint cimport uint8_t, uint32_t

from native.connection cimport ADDRESS_TEXT, EXCHANGE_LOCAL
from native.crypto cimport LONGEST_DIGEST, SHA256, Octets, digest, equal_octets
from native.headers cimport HEADER_DEBUG_TOKEN, HeaderField
from native.snapshot cimport PluginRecord, StringRef, snapshot_text
from native.text cimport put, put_number, put_text

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int family, const void* address, char* text, uint32_t size)

cdef extern from "sys/socket.h" nogil:
    const int AF_INET
    const int AF_INET6

cdef enum:
    EXPLAIN_ROOM = 4096          # bytes of the whole field
    PLUGIN_ROOM = 3072           # where the list of plugins is cut off
    ID_LENGTH = 36
    LONGEST_NAME = 64            # of a plugin
    DIGEST_LENGTH = 32


cdef bint carries_token(Exchange* exchange) noexcept nogil:
    """Compares digests: they have one length, and say nothing about each other."""
    cdef const uint8_t* head
    cdef const HeaderField* field
    cdef Octets value
    cdef uint8_t[LONGEST_DIGEST] given
    cdef uint32_t i
    if not exchange.settings.has_debug_token or exchange.client.input == NULL:
        return False
    head = &exchange.client.input.data[0] + exchange.client.input.start
    for i in range(exchange.request.header_count):
        field = &exchange.request.headers[i]
        if field.known == HEADER_DEBUG_TOKEN:
            value.data = head + field.value_offset
            value.length = field.value_length
            digest(SHA256, &value, 1, given)
            return equal_octets(given, exchange.settings.debug_token, DIGEST_LENGTH)
    return False


cdef uint32_t explain_room(Exchange* exchange) noexcept nogil:
    return EXPLAIN_ROOM if exchange.settings.has_debug_token and carries_token(exchange) else 0


cdef void put_configured(Exchange* exchange, Buffer* out, StringRef text, uint32_t longest) noexcept nogil:
    """An id, or the name of a plugin; whatever is not visible ASCII becomes "?"."""
    cdef const uint8_t* source = <const uint8_t*> snapshot_text(exchange.configuration.base, text)
    cdef uint8_t byte
    cdef uint32_t i
    for i in range(text.length if text.length < longest else longest):
        byte = source[i] if 33 <= source[i] <= 126 else 63
        put(out, &byte, 1)


cdef void put_scope(Buffer* out, const PluginRecord* plugin) noexcept nogil:
    cdef bint any = False
    if plugin.route_id.length:
        put_text(out, b"route")
        any = True
    if plugin.service_id.length:
        put_text(out, b"+service" if any else b"service")
        any = True
    if plugin.consumer_id.length:
        put_text(out, b"+consumer" if any else b"consumer")
        any = True
    if not any:
        put_text(out, b"global")


cdef void put_plugins(Exchange* exchange, Buffer* out) noexcept nogil:
    """The configurations that were asked for: those whose turn came, and those that see the response."""
    cdef const PluginRecord* plugin
    cdef uint32_t limit = out.end + PLUGIN_ROOM
    cdef uint32_t i
    cdef bint first = True
    if exchange.plan == NULL:
        return
    for i in range(exchange.plan.step_count):
        plugin = exchange.chosen[i]
        if plugin == NULL:
            continue
        put_text(out, b"; plugins=" if first else b",")
        first = False
        if out.end > limit:
            put_text(out, b"...")
            return
        put_configured(exchange, out, plugin.name, LONGEST_NAME)
        put_text(out, b":")
        put_scope(out, plugin)
        put_text(out, b":")
        put_configured(exchange, out, plugin.id, ID_LENGTH)


cdef void put_target(Exchange* exchange, Buffer* out) noexcept nogil:
    cdef char[ADDRESS_TEXT] text
    if exchange.peer == NULL:
        return
    if inet_ntop(AF_INET6 if exchange.peer.family == 6 else AF_INET, exchange.peer.address, text, ADDRESS_TEXT) == NULL:
        return
    put_text(out, b"; target=[" if exchange.peer.family == 6 else b"; target=")
    put_text(out, text)
    put_text(out, b"]:" if exchange.peer.family == 6 else b":")
    put_number(out, exchange.peer.port)
    put_text(out, b"; tries=")
    put_number(out, exchange.tries + 1)


cdef void put_explain_field(Exchange* exchange, Buffer* out) noexcept nogil:
    if not carries_token(exchange):
        return
    put_text(out, b"X-Sluicegate-Explain: route=")
    if exchange.route != NULL:
        put_configured(exchange, out, exchange.route.id, ID_LENGTH)
    else:
        put_text(out, b"none")
    if exchange.service != NULL:
        put_text(out, b"; service=")
        put_configured(exchange, out, exchange.service.id, ID_LENGTH)
    put_plugins(exchange, out)
    put_text(out, b"; answered=")
    if exchange.answered_by != NULL:
        put_configured(exchange, out, exchange.answered_by.name, LONGEST_NAME)
    elif exchange.flags & EXCHANGE_LOCAL:
        put_text(out, b"gateway")
    else:
        put_text(out, b"upstream")
    put_target(exchange, out)
    put_text(out, b"\r\n")

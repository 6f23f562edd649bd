from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcmp, memcpy, strlen

from native.headers cimport HEADER_X_FORWARDED_FOR, HeaderField, same_name
from native.snapshot cimport (
    LiveSettings,
    REAL_IP_X_FORWARDED_FOR,
    TrustedRange,
    snapshot_text,
)
from native.connection cimport ADDRESS_TEXT

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int family, const void* source, char* out, uint32_t size)
    int inet_pton(int family, const char* source, void* out)
    const int AF_INET, AF_INET6


cdef void format_peer(Downstream* client) noexcept nogil:
    client.peer_text[0] = 0
    if client.family == 4:
        inet_ntop(AF_INET, client.address, client.peer_text, ADDRESS_TEXT)
    elif client.family == 6:
        inet_ntop(AF_INET6, client.address, client.peer_text, ADDRESS_TEXT)
    else:
        # a unix socket has no address; nginx prints "unix:"
        memcpy(client.peer_text, b"unix:\0", 6)
    client.peer_text_length = <uint8_t> strlen(client.peer_text)


cdef bint address_trusted(const SnapshotHeader* snapshot, uint8_t family, const uint8_t* address) noexcept nogil:
    cdef uint8_t mapped[16]
    cdef const TrustedRange* ranges = \
        <const TrustedRange*> (<const uint8_t*> snapshot + snapshot.trusted_range_offset)
    cdef uint32_t i, whole, rest
    cdef uint8_t mask
    if snapshot.trusted_range_count == 0 or family == 0:
        return False
    if family == 4:
        for i in range(10):
            mapped[i] = 0
        mapped[10] = 0xff
        mapped[11] = 0xff
        memcpy(&mapped[12], address, 4)
    else:
        memcpy(mapped, address, 16)
    for i in range(snapshot.trusted_range_count):
        whole = ranges[i].prefix_length / 8
        rest = ranges[i].prefix_length % 8
        if memcmp(mapped, ranges[i].address, whole) != 0:
            continue
        if rest == 0:
            return True
        mask = <uint8_t> (0xff << (8 - rest))
        if (mapped[whole] & mask) == (ranges[i].address[whole] & mask):
            return True
    return False


cdef bint parse_address(const uint8_t* text, uint32_t length, uint8_t* family, uint8_t* address,
                        uint16_t* port) noexcept nogil:
    """An address as it stands in X-Forwarded-For: IPv4[:port], IPv6 or [IPv6][:port]."""
    cdef char buffer[ADDRESS_TEXT + 16]
    cdef uint32_t end = length
    cdef uint32_t i
    cdef uint32_t colons = 0
    cdef uint32_t colon = 0
    cdef uint32_t number = 0
    port[0] = 0
    while length and (text[0] == 32 or text[0] == 9):
        text += 1
        length -= 1
    while length and (text[length - 1] == 32 or text[length - 1] == 9):
        length -= 1
    if length == 0 or length >= sizeof(buffer):
        return False
    end = length
    if text[0] == 91:                                   # "["
        for i in range(1, length):
            if text[i] == 93:
                break
        else:
            return False
        end = i - 1
        colon = i + 1
        text += 1
        colon -= 1
        length -= 1
        if colon < length:
            if text[colon] != 58:
                return False
        else:
            colon = 0
    else:
        for i in range(length):
            if text[i] == 58:
                colons += 1
                colon = i
        if colons == 1:
            end = colon
        else:
            colon = 0
    if colon:
        for i in range(colon + 1, length):
            if not 48 <= text[i] <= 57:
                return False
            number = number * 10 + (text[i] - 48)
            if number > 65535:
                return False
        port[0] = <uint16_t> number
    memcpy(buffer, text, end)
    buffer[end] = 0
    if inet_pton(AF_INET, buffer, address) == 1:
        family[0] = 4
        return True
    if inet_pton(AF_INET6, buffer, address) == 1:
        family[0] = 6
        return True
    return False


cdef void use_address(Exchange* exchange, uint8_t family, const uint8_t* address, uint16_t port) noexcept nogil:
    inet_ntop(AF_INET if family == 4 else AF_INET6, address, exchange.client_text, ADDRESS_TEXT)
    exchange.client_text_length = <uint8_t> strlen(exchange.client_text)
    exchange.client_port = port
    exchange.client_family = family
    memcpy(exchange.client_octets, address, 4 if family == 4 else 16)


cdef void read_forwarded_for(Exchange* exchange) noexcept nogil:
    """X-Forwarded-For from the right: the last address, or with real_ip_recursive the last one that is not trusted."""
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef const HeaderField* field
    cdef int32_t i = exchange.request.header_count
    cdef int64_t start, end
    cdef uint8_t family
    cdef uint8_t address[16]
    cdef uint16_t port
    cdef const uint8_t* value
    while i > 0:
        i -= 1
        field = &exchange.request.headers[i]
        if field.known != HEADER_X_FORWARDED_FOR:
            continue
        value = head + field.value_offset
        end = field.value_length
        while end >= 0:
            start = end
            while start > 0 and value[start - 1] != 44:
                start -= 1
            if not parse_address(value + start, <uint32_t> (end - start), &family, address, &port):
                return
            use_address(exchange, family, address, port)
            if not exchange.settings.real_ip_recursive \
                    or not address_trusted(exchange.configuration.base, family, address):
                return
            end = start - 1


cdef void find_client_address(Exchange* exchange) noexcept nogil:
    cdef Downstream* client = exchange.client
    cdef const LiveSettings* settings = exchange.settings
    cdef const SnapshotHeader* snapshot = exchange.configuration.base
    cdef const HeaderField* field
    cdef const uint8_t* head
    cdef const uint8_t* name
    cdef uint8_t family
    cdef uint8_t address[16]
    cdef uint16_t port
    cdef uint32_t i
    memcpy(exchange.client_text, client.peer_text, client.peer_text_length)
    exchange.client_text_length = client.peer_text_length
    exchange.client_port = client.peer_port
    exchange.client_family = client.family
    memcpy(exchange.client_octets, client.address, sizeof(client.address))
    client.peer_trusted = 0
    if snapshot.trusted_range_count == 0:
        return
    client.peer_trusted = address_trusted(snapshot, client.family, client.address)
    if not client.peer_trusted:
        return
    if settings.real_ip_kind == REAL_IP_X_FORWARDED_FOR:
        read_forwarded_for(exchange)
        return
    head = &client.input.data[0] + client.input.start
    name = <const uint8_t*> snapshot_text(snapshot, settings.real_ip_header)
    for i in range(exchange.request.header_count):
        field = &exchange.request.headers[i]
        if field.name_length == settings.real_ip_header.length \
                and same_name(head + field.name_offset, name, field.name_length):
            if parse_address(head + field.value_offset, field.value_length, &family, address, &port):
                use_address(exchange, family, address, port)
            return

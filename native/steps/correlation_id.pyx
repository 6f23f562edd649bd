"""correlation-id: every request has a header by which it can be found again (gateway/plugins/correlation_id.py).

A value that the client sends is kept. Requests that never reach the access phase (no route matches, or a plugin with a
higher priority answers) get their value when the response is made.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from native.clock cimport wall_clock_ms
from native.connection cimport ADDRESS_TEXT, Exchange
from native.exchange_record cimport next_random
from native.fields cimport Head, Text, find_field, set_field, text_of
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport STEP_CONTINUE, StepFunctions, register_step, request_head, response_head, step_config
from native.snapshot cimport PluginRecord
from native.text cimport format_number

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void* buffer, size_t length, unsigned int flags)
    const unsigned int GRND_NONBLOCK

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <string.h>
    #include <sys/socket.h>
    typedef union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
        struct sockaddr_storage storage;
    } gateway_address;

    /* The local address as text ("unix:" for a unix socket) and its port. No system call that could block. */
    static void gateway_local_address(int fd, char *text, unsigned int room, unsigned int *port) {
        gateway_address address;
        socklen_t length = sizeof(address);
        *port = 0;
        strcpy(text, "unix:");
        if (getsockname(fd, &address.any, &length) != 0)
            return;
        if (address.any.sa_family == AF_INET) {
            inet_ntop(AF_INET, &address.ipv4.sin_addr, text, room);
            *port = ntohs(address.ipv4.sin_port);
        } else if (address.any.sa_family == AF_INET6) {
            /* an IPv4 connection to a socket that takes both */
            if (IN6_IS_ADDR_V4MAPPED(&address.ipv6.sin6_addr))
                inet_ntop(AF_INET, &address.ipv6.sin6_addr.s6_addr[12], text, room);
            else
                inet_ntop(AF_INET6, &address.ipv6.sin6_addr, text, room);
            *port = ntohs(address.ipv6.sin6_port);
        }
    }
    """
    void gateway_local_address(int fd, char* text, unsigned int room, unsigned int* port) noexcept nogil

cdef extern from "<unistd.h>" nogil:
    int getpid()

cdef enum:
    UUID_TEXT = 36
    ID_TEXT = 160                # the longest is a tracker with an IPv6 address
    RANDOM_POOL = 4096           # bytes taken from the kernel at a time: 256 ids

cpdef enum Generator:
    GENERATE_UUID = 0
    GENERATE_COUNTER = 1         # a UUID of this worker, "#", and a number
    GENERATE_TRACKER = 2         # address-port-pid-connection-request-time

ctypedef struct CorrelationIdConfig:
    PackedText header
    uint8_t generator            # Generator
    uint8_t echoes


def pack_config(*, str header, uint8_t generator, bint echoes) -> bytes:
    """`generator`: one of Generator."""
    cdef CorrelationIdConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(CorrelationIdConfig))
    config.header = packer.text(header)
    config.generator = generator
    config.echoes = echoes
    return packer.finish(&config)


# --- making values; the loop thread's ---------------------------------------------------------------------------------
cdef uint8_t[RANDOM_POOL] random_pool
cdef uint32_t random_left = 0
cdef char[UUID_TEXT] worker_uuid
cdef uint64_t worker_counter = 0


cdef void take_random(uint64_t* fallback, uint8_t* out, uint32_t length) noexcept nogil:
    """Bytes from the kernel's generator: who sees ids cannot tell the next ones. `fallback` is for a kernel that has
    none yet, which is one that has just begun to run."""
    global random_left
    cdef uint64_t word
    cdef int i
    if random_left < length:
        if getrandom(random_pool, RANDOM_POOL, GRND_NONBLOCK) != RANDOM_POOL:
            for i in range(0, RANDOM_POOL, 8):
                word = next_random(fallback)
                memcpy(random_pool + i, &word, 8)
        random_left = RANDOM_POOL
    random_left -= length
    memcpy(out, random_pool + random_left, length)


cdef void write_uuid(uint64_t* fallback, char* out) noexcept nogil:
    """A version 4 UUID (RFC 9562 §5.4)."""
    cdef const char* digits = b"0123456789abcdef"
    cdef uint8_t octets[16]
    cdef uint32_t i
    cdef uint32_t place = 0
    take_random(fallback, octets, sizeof(octets))
    octets[6] = (octets[6] & 0x0f) | 0x40
    octets[8] = (octets[8] & 0x3f) | 0x80
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            out[place] = 45                              # "-"
            place += 1
        out[place] = digits[octets[i] >> 4]
        out[place + 1] = digits[octets[i] & 15]
        place += 2


cdef uint32_t write_counted(uint64_t* fallback, char* out) noexcept nogil:
    global worker_counter
    if worker_counter == 0:
        write_uuid(fallback, worker_uuid)
    worker_counter += 1
    memcpy(out, worker_uuid, UUID_TEXT)
    out[UUID_TEXT] = 35                                  # "#"
    return UUID_TEXT + 1 + format_number(worker_counter, <uint8_t*> out + UUID_TEXT + 1)


cdef uint32_t write_number(char* out, uint64_t number, char end) noexcept nogil:
    cdef uint32_t length = format_number(number, <uint8_t*> out)
    out[length] = end
    return length + 1


cdef uint32_t write_tracker(Exchange* exchange, char* out) noexcept nogil:
    """Kong's $server_addr-$server_port-$pid-$connection-$connection_requests-$msec."""
    cdef unsigned int port
    cdef int64_t now_ms = wall_clock_ms()
    cdef uint32_t length
    cdef uint32_t milliseconds, i
    gateway_local_address(exchange.client.endpoint.fd, out, ADDRESS_TEXT, &port)
    length = <uint32_t> strlen(out)
    out[length] = 45
    length += 1
    length += write_number(out + length, port, 45)
    length += write_number(out + length, <uint64_t> getpid(), 45)
    length += write_number(out + length, exchange.client.number, 45)
    length += write_number(out + length, exchange.client.requests, 45)
    length += write_number(out + length, <uint64_t> (now_ms // 1000), 46)
    milliseconds = <uint32_t> (now_ms % 1000)
    for i in range(3):
        out[length + 2 - i] = <char> (48 + milliseconds % 10)
        milliseconds = milliseconds // 10
    return length + 3


cdef uint32_t generate(Exchange* exchange, uint8_t generator, char* out) noexcept nogil:
    if generator == GENERATE_TRACKER:
        return write_tracker(exchange, out)
    if generator == GENERATE_COUNTER:
        return write_counted(exchange.worker.random, out)
    write_uuid(exchange.worker.random, out)
    return UUID_TEXT


# --- the step --------------------------------------------------------------------------------------------------------
cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const CorrelationIdConfig* config = <const CorrelationIdConfig*> step_config(exchange, plugin)
    cdef Text name = packed_text(config, config.header)
    cdef Head request = request_head(exchange)
    cdef Head response
    cdef char made[ID_TEXT]
    cdef Text value
    if not find_field(&request, <const char*> name.data, name.length, 0, &value) or value.length == 0:
        value = text_of(made, generate(exchange, config.generator, made))
        set_field(&request, <const char*> name.data, name.length, value.data, value.length)
    if config.echoes:
        exchange.notes[exchange.step] = <void*> config   # nothing is left for the response function
        response = response_head(exchange)
        set_field(&response, <const char*> name.data, name.length, value.data, value.length)
    return STEP_CONTINUE


cdef int respond(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const CorrelationIdConfig* config = <const CorrelationIdConfig*> step_config(exchange, plugin)
    cdef Text name
    cdef Head request, response
    cdef char made[ID_TEXT]
    cdef Text value
    if not config.echoes or exchange.notes[exchange.step] != NULL:
        return STEP_CONTINUE
    name = packed_text(config, config.header)
    request = request_head(exchange)
    response = response_head(exchange)
    if not find_field(&request, <const char*> name.data, name.length, 0, &value) or value.length == 0:
        value = text_of(made, generate(exchange, config.generator, made))
    set_field(&response, <const char*> name.data, name.length, value.data, value.length)
    return STEP_CONTINUE


cdef StepFunctions functions
functions.access = access
functions.response = respond
register_step("correlation_id", functions)

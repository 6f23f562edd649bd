"""See hash_inputs.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from native.arguments cimport Arguments, arguments_begin, arguments_parse
from native.cookies cimport request_cookie, send_cookie
from native.fields cimport Head, Text, find_field, same_text, text_of
from native.hashing cimport xxh64
from native.identities cimport record_text
from native.plan cimport request_head, request_query
from native.regex cimport REGEX_MAX_GROUPS, regex_group_number
from native.scratch cimport Scratch, scratch_begin
from native.snapshot cimport (
    HASH_CONSUMER,
    HASH_COOKIE,
    HASH_HEADER,
    HASH_IP,
    HASH_NONE,
    HASH_PATH,
    HASH_QUERY_ARGUMENT,
    HASH_URI_CAPTURE,
    NO_INDEX,
    PeerSet,
    StringRef,
    snapshot_text,
)
from native.uuid_text cimport UUID_TEXT, write_uuid

cdef enum:
    QUERY_SCRATCH = 16384        # decoded arguments; a longer query is hashed as it is
    MOST_VALUES = 100            # of one argument; Kong reads no more arguments
    LONGEST_GROUP_NAME = 127
    UNSET = 0xffffffff           # group of a regex that took no part

# One hash runs at a time: workers have one thread for requests.
cdef uint8_t[QUERY_SCRATCH] query_scratch


cdef inline Text peers_text(Exchange* exchange, StringRef text) noexcept nogil:
    return text_of(snapshot_text(exchange.peers.base, text), text.length)


cdef inline void add_text(uint64_t* hash, Text text) noexcept nogil:
    """Texts one after the other; where one ends and the next begins makes a difference."""
    hash[0] = xxh64(text.data, text.length, hash[0])


cdef bint hash_consumer(Exchange* exchange, uint64_t* hash) noexcept nogil:
    """The consumer, else the credential."""
    if exchange.consumer != NULL:
        add_text(hash, text_of(record_text(exchange.consumer, exchange.consumer.id), exchange.consumer.id.length))
        return True
    if exchange.credential != NULL and exchange.credential.id.length:
        add_text(hash, text_of(record_text(exchange.credential, exchange.credential.id), exchange.credential.id.length))
        return True
    return False


cdef bint hash_header(Exchange* exchange, Text name, uint64_t* hash) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text value
    cdef uint32_t nth = 0
    while find_field(&head, <const char*> name.data, name.length, nth, &value):
        add_text(hash, value)
        nth += 1
    return nth > 0


cdef void hash_cookie(Exchange* exchange, Text name, uint64_t* hash) noexcept nogil:
    cdef Text value
    cdef uint8_t made[UUID_TEXT]
    if not request_cookie(exchange, name, &value):
        write_uuid(exchange.worker.random, made)
        value = text_of(made, UUID_TEXT)
        send_cookie(exchange, name, value, peers_text(exchange, exchange.peer_set.cookie_path))
    add_text(hash, value)


cdef inline bint comes_before(Text one, Text other) noexcept nogil:
    cdef uint32_t common = min(one.length, other.length)
    cdef int order = memcmp(one.data, other.data, common) if common else 0
    return order < 0 or (order == 0 and one.length < other.length)


cdef bint hash_argument(Exchange* exchange, Text name, uint64_t* hash) noexcept nogil:
    """All values of a query argument, in the order of their bytes: in which order they come makes no difference."""
    cdef Arguments arguments
    cdef Scratch scratch
    cdef Text values[MOST_VALUES]
    cdef Text value
    cdef Text query = exchange.query_override
    cdef uint32_t count = 0
    cdef uint32_t i, place
    if query.data == NULL:
        query = request_query(exchange)
    if query.length == 0:
        return False
    scratch_begin(&scratch, query_scratch, QUERY_SCRATCH)
    arguments_begin(&arguments, &scratch)
    arguments_parse(&arguments, query)
    if arguments.overflow:
        add_text(hash, query)
        return True
    for i in range(arguments.count):
        if count == MOST_VALUES or not same_text(arguments.items[i].name, name):
            continue
        value = arguments.items[i].value
        place = count
        while place and comes_before(value, values[place - 1]):
            values[place] = values[place - 1]
            place -= 1
        values[place] = value
        count += 1
    for i in range(count):
        add_text(hash, values[i])
    return count > 0


cdef uint32_t capture_number(Exchange* exchange, Text name) noexcept nogil:
    """The group that a capture's name or number means, or UNSET."""
    cdef char text[LONGEST_GROUP_NAME + 1]
    cdef uint32_t number = 0
    cdef uint32_t i
    if name.length == 0 or name.length > LONGEST_GROUP_NAME:
        return UNSET
    for i in range(name.length):
        if not 48 <= name.data[i] <= 57:
            break
        number = min(number * 10 + name.data[i] - 48, <uint32_t> REGEX_MAX_GROUPS)
    else:
        return number
    memcpy(text, name.data, name.length)
    text[name.length] = 0
    number = regex_group_number(exchange.configuration.router.regexes[exchange.match.regex], text)
    return number if number else <uint32_t> UNSET


cdef bint hash_capture(Exchange* exchange, Text name, uint64_t* hash) noexcept nogil:
    cdef uint32_t number, start, end
    if exchange.match.capture_count == 0 or exchange.match.regex == NO_INDEX:
        return False
    number = capture_number(exchange, name)
    if number >= exchange.match.capture_count:
        return False
    start, end = exchange.match.captures[2 * number], exchange.match.captures[2 * number + 1]
    if start == UNSET or end < start or end > exchange.path_length:
        return False
    add_text(hash, text_of(exchange.path + start, end - start))
    return True


cdef bint hash_input(Exchange* exchange, uint8_t kind, Text name, uint64_t* hash) noexcept nogil:
    """False: the request has nothing of that kind."""
    if kind == HASH_CONSUMER:
        return hash_consumer(exchange, hash)
    if kind == HASH_IP:
        add_text(hash, text_of(exchange.client_text, exchange.client_text_length))
    elif kind == HASH_HEADER:
        return hash_header(exchange, name, hash)
    elif kind == HASH_COOKIE:
        hash_cookie(exchange, name, hash)
    elif kind == HASH_PATH:
        add_text(hash, text_of(exchange.path, exchange.path_length))
    elif kind == HASH_QUERY_ARGUMENT:
        return hash_argument(exchange, name, hash)
    elif kind == HASH_URI_CAPTURE:
        return hash_capture(exchange, name, hash)
    return kind != HASH_NONE


cdef uint64_t hash_of_request(Exchange* exchange) noexcept nogil:
    cdef const PeerSet* peer_set = exchange.peer_set
    cdef uint64_t hash = 0
    if not hash_input(exchange, peer_set.hash_on, peers_text(exchange, peer_set.hash_name), &hash) \
            and not hash_input(exchange, peer_set.hash_fallback, peers_text(exchange, peer_set.hash_fallback_name), &hash):
        add_text(&hash, text_of(NULL, 0))
    return hash

"""acl: groups of consumers that may, or may not, use what it is for (gateway/plugins/acl.py).

The groups of the configuration lie in a table by the hash that memberships carry in their records, too: looking a
consumer's groups up costs no hashing, and no walk over the configured ones.

*Authenticated groups* are those that a plugin with a higher priority has found in some other way (a token, a directory)
and has told in X-Authenticated-Groups; a field of that name that the client sends is gone by then.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from native.connection cimport EXCHANGE_AUTHENTICATED, Exchange
from native.fields cimport Head, Text, add_own_field, find_field, remove_field, text_of
from native.identities cimport (
    CONSUMER_GROUP,
    ConsumerRecord,
    GroupRecord,
    consumer_group,
    identity_hash,
    record_text,
)
from native.log cimport LOG_ERROR, log_error
from native.packed cimport PackedText, Packer
from native.plan cimport (
    STEP_CONTINUE,
    STEP_FAIL,
    StepFunctions,
    exchange_memory,
    register_step,
    request_head,
    respond_error,
    step_config,
)
from native.snapshot cimport PluginRecord

ctypedef struct GroupSlot:
    uint64_t hash                # as GroupRecord.name_hash
    PackedText name
    uint64_t used

ctypedef struct AclConfig:
    uint32_t slot_offset, slot_count         # GroupSlot; a power of two, at least half of them free
    uint8_t denies               # the groups may not pass, all others may
    uint8_t hide_groups
    uint8_t prefers_authenticated


def pack_config(*, list groups, bint denies, bint hide_groups, bint prefers_authenticated) -> bytes:
    """`groups`: those that may not pass, or else the only ones that may."""
    cdef AclConfig config
    cdef GroupSlot slot
    cdef const uint8_t* text
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(AclConfig))
    names = {group.encode() for group in groups}
    slot_count = 2
    while slot_count < 2 * len(names):
        slot_count *= 2
    slots = [bytes(sizeof(GroupSlot))] * slot_count
    taken = set()
    for name in sorted(names):
        memset(&slot, 0, sizeof(slot))
        text = <const uint8_t*> <const char*> name
        slot.hash = identity_hash(CONSUMER_GROUP, text, <uint32_t> len(name))
        slot.name = packer.octets(name)
        slot.used = 1
        at = slot.hash % slot_count
        while at in taken:
            at = (at + 1) % slot_count
        taken.add(at)
        slots[at] = (<const char*> &slot)[:sizeof(slot)]
    config.slot_offset = packer.array(b"".join(slots))
    config.slot_count = slot_count
    config.denies = denies
    config.hide_groups = hide_groups
    config.prefers_authenticated = prefers_authenticated
    return packer.finish(&config)


cdef bint is_listed(const AclConfig* config, uint64_t hash, const void* name, uint32_t length) noexcept nogil:
    cdef const GroupSlot* slots = <const GroupSlot*> (<const uint8_t*> config + config.slot_offset)
    cdef const GroupSlot* slot
    cdef uint32_t at = <uint32_t> hash & (config.slot_count - 1)
    while slots[at].used:
        slot = &slots[at]
        if slot.hash == hash and slot.name.length == length \
                and memcmp(<const uint8_t*> config + slot.name.offset, name, length) == 0:
            return True
        at = (at + 1) & (config.slot_count - 1)
    return False


# --- groups of the consumer ------------------------------------------------------------------------------------------
cdef bint consumer_listed(Exchange* exchange, const AclConfig* config) noexcept nogil:
    cdef const GroupRecord* group
    cdef uint32_t i
    for i in range(exchange.consumer.group_count):
        group = consumer_group(exchange.identities.base, exchange.consumer, i)
        if is_listed(config, group.name_hash, record_text(group, group.name), group.name.length):
            return True
    return False


cdef inline bint can_be_told(const GroupRecord* group) noexcept nogil:
    """Whether the name can stand in a header field."""
    cdef const uint8_t* name = <const uint8_t*> record_text(group, group.name)
    cdef uint32_t i
    for i in range(group.name.length):
        if name[i] < 32 or name[i] == 127:
            return False
    return True


cdef Text group_names(Exchange* exchange) noexcept nogil:
    """Comma-separated. `data` NULL: memory is out."""
    cdef const ConsumerRecord* consumer = exchange.consumer
    cdef const GroupRecord* group
    cdef uint8_t* names
    cdef uint32_t room = 0
    cdef uint32_t length = 0
    cdef uint32_t i
    if consumer.group_count == 0:
        return text_of(b"", 0)
    for i in range(consumer.group_count):
        room += consumer_group(exchange.identities.base, consumer, i).name.length + 2
    names = exchange_memory(exchange, room)
    if names == NULL:
        return text_of(NULL, 0)
    for i in range(consumer.group_count):
        group = consumer_group(exchange.identities.base, consumer, i)
        if not can_be_told(group):
            continue
        if length:
            memcpy(names + length, b", ", 2)
            length += 2
        memcpy(names + length, record_text(group, group.name), group.name.length)
        length += group.name.length
    return text_of(names, length)


cdef int tell_groups(Exchange* exchange, Head* head) noexcept nogil:
    cdef Text names = group_names(exchange)
    remove_field(head, b"X-Consumer-Groups", 17)
    if names.data == NULL or not add_own_field(head, b"X-Consumer-Groups", 17, names.data, names.length):
        log_error(exchange.worker, LOG_ERROR, exchange,
                  b"the groups of the consumer do not fit into a header field; hide_groups_header leaves them out",
                  <const char*> record_text(exchange.consumer, exchange.consumer.id), exchange.consumer.id.length)
        return STEP_FAIL
    return STEP_CONTINUE


# --- groups that another plugin has found ----------------------------------------------------------------------------
cdef bint authenticated_listed(const AclConfig* config, Text groups) noexcept nogil:
    cdef uint32_t place = 0
    cdef uint32_t start, end
    while place < groups.length:
        start = place
        while place < groups.length and groups.data[place] != c",":
            place += 1
        end = place
        place += 1
        while start < end and groups.data[start] <= 32:
            start += 1
        while end > start and groups.data[end - 1] <= 32:
            end -= 1
        if is_listed(config, identity_hash(CONSUMER_GROUP, groups.data + start, end - start), groups.data + start,
                     end - start):
            return True
    return False


# --- the step --------------------------------------------------------------------------------------------------------
cdef int refuse(Exchange* exchange) noexcept nogil:
    if exchange.flags & EXCHANGE_AUTHENTICATED:
        return respond_error(exchange, 403, b"You cannot consume this service")
    return respond_error(exchange, 401, b"Unauthorized")


cdef int admit_authenticated(Exchange* exchange, const AclConfig* config, Head* head, Text groups) noexcept nogil:
    if authenticated_listed(config, groups) == config.denies:
        return respond_error(exchange, 403, b"You cannot consume this service")
    if config.hide_groups:
        remove_field(head, b"X-Authenticated-Groups", 22)
    return STEP_CONTINUE


cdef int admit_consumer(Exchange* exchange, const AclConfig* config, Head* head) noexcept nogil:
    if exchange.consumer.group_count == 0 and not config.denies:
        return refuse(exchange)
    if consumer_listed(exchange, config) == config.denies:
        return respond_error(exchange, 403, b"You cannot consume this service")
    return STEP_CONTINUE if config.hide_groups else tell_groups(exchange, head)


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const AclConfig* config = <const AclConfig*> step_config(exchange, plugin)
    cdef Head head = request_head(exchange)
    cdef Text groups
    if exchange.consumer == NULL or config.prefers_authenticated:
        if find_field(&head, b"X-Authenticated-Groups", 22, 0, &groups):
            return admit_authenticated(exchange, config, &head, groups)
        if exchange.consumer == NULL:
            return refuse(exchange)
    return admit_consumer(exchange, config, &head)


cdef StepFunctions functions
functions.access = access
register_step("acl", functions)

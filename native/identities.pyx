"""Consumers, credentials and groups: putting the file together, checking it, finding what a key leads to."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from native.hashing cimport xxh64
from native.snapshot cimport (
    SNAPSHOT_FORMAT,
    SNAPSHOT_IDENTITIES,
    SNAPSHOT_MAGIC,
    snapshot_checksum,
    snapshot_verify,
)

from native.snapshot import SnapshotError

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/mman.h>
    #define PREFETCH(place) __builtin_prefetch(place)
    /* Fresh memory in large pages where the system has them, instead of a page fault for every 4 KiB. May fail. */
    static inline void want_large_pages(void* start, size_t size) {
        uintptr_t first = ((uintptr_t) start + 4095) & ~(uintptr_t) 4095;
        uintptr_t end = ((uintptr_t) start + size) & ~(uintptr_t) 4095;
        if (end > first) madvise((void*) first, end - first, MADV_HUGEPAGE);
    }
    """
    void PREFETCH(const void* place) noexcept nogil
    void want_large_pages(void* start, size_t size) noexcept nogil

cdef enum:
    LARGEST_FILE = 0xffffffff    # offsets have 32 bits
    LARGE = 4 * 1024 * 1024      # a file from this size on wants large pages
    AHEAD = 8                    # records that memory is asked for before their turn: the wait for it is most of the work


cdef uint64_t identity_hash(IdentityKind kind, const uint8_t* key, uint32_t length) noexcept nogil:
    return xxh64(key, length, <uint64_t> kind)


# --- finding ---------------------------------------------------------------------------------------------------------
cdef inline uint32_t first_slot(uint64_t hash, uint32_t count) noexcept nogil:
    return <uint32_t> (((hash >> 32) * count) >> 32)


cdef inline bint is_text(const void* record, RecordText text, const uint8_t* key, uint32_t length) noexcept nogil:
    return text.length == length and memcmp(record_text(record, text), key, length) == 0


cdef bint has_key(const IdentityRecord* record, IdentityKind kind, const uint8_t* key, uint32_t length) noexcept nogil:
    """Whether a record is found by this key; every hash has several records that it could belong to."""
    cdef const ConsumerRecord* consumer = <const ConsumerRecord*> record
    if kind == CONSUMER_ID:
        return record.kind == CONSUMER_ID and is_text(record, consumer.id, key, length)
    if kind == CONSUMER_USERNAME:
        return record.kind == CONSUMER_ID and is_text(record, consumer.username, key, length)
    if kind == CONSUMER_CUSTOM_ID:
        return record.kind == CONSUMER_ID and is_text(record, consumer.custom_id, key, length)
    return record.kind == kind and is_text(record, (<const CredentialRecord*> record).key, key, length)


cdef const IdentityRecord* find_record(const SnapshotHeader* snapshot, uint64_t hash, IdentityKind kind,
                                       const uint8_t* key, uint32_t length) noexcept nogil:
    cdef const IdentityIndex* index = snapshot_identities(snapshot)
    cdef const IdentitySlot* slots = <const IdentitySlot*> (<const uint8_t*> snapshot + index.slot_offset)
    cdef const IdentityRecord* record
    cdef uint32_t at = first_slot(hash, index.slot_count)
    cdef uint32_t _probe
    for _probe in range(index.slot_count):
        if slots[at].record == 0:
            return NULL
        if slots[at].tag == <uint32_t> hash:
            record = <const IdentityRecord*> (<const uint8_t*> snapshot + slots[at].record)
            if has_key(record, kind, key, length):
                return record
        at += 1
        if at == index.slot_count:
            at = 0
    return NULL


cdef const ConsumerRecord* find_consumer(const SnapshotHeader* snapshot, IdentityKind kind, const uint8_t* key,
                                         uint32_t length) noexcept nogil:
    if kind > CONSUMER_CUSTOM_ID or length == 0:
        return NULL
    return <const ConsumerRecord*> find_record(snapshot, identity_hash(kind, key, length), kind, key, length)


cdef const CredentialRecord* find_credential(const SnapshotHeader* snapshot, IdentityKind kind, const uint8_t* key,
                                             uint32_t length) noexcept nogil:
    if kind < KEY_AUTH:
        return NULL
    return <const CredentialRecord*> find_record(snapshot, identity_hash(kind, key, length), kind, key, length)


cdef bint is_in_group(const SnapshotHeader* snapshot, const ConsumerRecord* consumer, const uint8_t* name,
                      uint32_t length) noexcept nogil:
    cdef uint64_t hash = identity_hash(CONSUMER_GROUP, name, length)
    cdef const GroupRecord* group
    cdef uint32_t index
    for index in range(consumer.group_count):
        group = consumer_group(snapshot, consumer, index)
        if group.name_hash == hash and is_text(group, group.name, name, length):
            return True
    return False


# --- checking --------------------------------------------------------------------------------------------------------
cdef inline bint text_inside(const IdentityRecord* record, RecordText text) noexcept nogil:
    return text.length <= record.size and text.offset <= record.size - text.length


cdef bint record_sound(const IdentityRecord* record, uint32_t smallest) noexcept nogil:
    """`smallest`: bytes of the fixed fields, all of which lie inside the file."""
    cdef const ConsumerRecord* consumer = <const ConsumerRecord*> record
    cdef const CredentialRecord* credential = <const CredentialRecord*> record
    cdef const GroupRecord* group = <const GroupRecord*> record
    if record.size < smallest or record.size % 8:
        return False
    if smallest == sizeof(ConsumerRecord):
        return (record.kind == CONSUMER_ID and text_inside(record, consumer.id)
                and text_inside(record, consumer.username) and text_inside(record, consumer.custom_id))
    if smallest == sizeof(CredentialRecord):
        return (record.kind >= KEY_AUTH and text_inside(record, credential.consumer_id)
                and text_inside(record, credential.id) and text_inside(record, credential.key)
                and text_inside(record, credential.secret) and text_inside(record, credential.more)
                and text_inside(record, credential.name))
    return record.kind == CONSUMER_GROUP and text_inside(record, group.consumer_id) and text_inside(record, group.name)


cdef bint walk_records(const SnapshotHeader* snapshot, uint32_t offset, uint32_t end, uint32_t count,
                       uint32_t smallest, uint8_t* begins) noexcept nogil:
    """Whether `count` sound records fill the bytes from `offset` to `end`; marks where each begins, but for credentials
    that nothing may lead to."""
    cdef const IdentityRecord* record
    cdef uint32_t _number
    for _number in range(count):
        if end - offset < smallest:
            return False
        record = <const IdentityRecord*> (<const uint8_t*> snapshot + offset)
        if not record_sound(record, smallest) or record.size > end - offset:
            return False
        if smallest != sizeof(CredentialRecord) or (<const CredentialRecord*> record).consumer:
            begins[offset // 64] |= <uint8_t> (1 << (offset // 8 % 8))
        offset += record.size
    return offset == end


cdef inline bint is_begin(const uint8_t* begins, uint32_t offset, uint32_t first, uint32_t end) noexcept nogil:
    """Whether a record begins at `offset`, between `first` and `end`."""
    return first <= offset < end and offset % 8 == 0 and (begins[offset // 64] >> (offset // 8 % 8)) & 1


cdef inline bint list_sound(const SnapshotHeader* snapshot, const IdentityIndex* index, const uint8_t* begins,
                            uint32_t owner, uint32_t offset, uint32_t length, uint32_t first,
                            uint32_t end) noexcept nogil:
    """Whether a list of the consumer at `owner` lies among the lists and leads to records of this consumer between
    `first` and `end`."""
    cdef uint64_t lists_end = index.list_offset + <uint64_t> 4 * index.list_length
    cdef const uint32_t* places = <const uint32_t*> (<const uint8_t*> snapshot + offset)
    cdef const uint8_t* record
    cdef uint32_t at
    if length == 0:
        return True
    if offset < index.list_offset or offset % 4 or offset + <uint64_t> 4 * length > lists_end:
        return False
    for at in range(length):
        if not is_begin(begins, places[at], first, end):
            return False
        record = <const uint8_t*> snapshot + places[at]
        if first == index.group_offset:
            if (<const GroupRecord*> record).consumer != owner:
                return False
        elif (<const CredentialRecord*> record).consumer != owner:
            return False
    return True


cdef const char* verify_links(const SnapshotHeader* snapshot, const IdentityIndex* index,
                              const uint8_t* begins) noexcept nogil:
    """Whether what leads from one record to another does."""
    cdef const uint8_t* base = <const uint8_t*> snapshot
    cdef const IdentitySlot* slots = <const IdentitySlot*> (base + index.slot_offset)
    cdef const ConsumerRecord* consumer
    cdef const CredentialRecord* credential
    cdef uint32_t offset = index.consumer_offset
    cdef uint32_t at
    while offset < index.credential_offset:
        consumer = <const ConsumerRecord*> (base + offset)
        if not (list_sound(snapshot, index, begins, offset, consumer.credential_list, consumer.credential_count,
                           index.credential_offset, index.group_offset)
                and list_sound(snapshot, index, begins, offset, consumer.group_list, consumer.group_count,
                               index.group_offset, index.records_end)):
            return b"a list of a consumer leads elsewhere"
        offset += consumer.head.size
    while offset < index.group_offset:
        credential = <const CredentialRecord*> (base + offset)
        if credential.consumer and not is_begin(begins, credential.consumer, index.consumer_offset,
                                                index.credential_offset):
            return b"a credential leads to no consumer"
        offset += credential.head.size
    for at in range(index.slot_count):
        if slots[at].record == 0:
            continue
        if not is_begin(begins, slots[at].record, index.consumer_offset, index.group_offset):
            return b"a place of the table leads to no record"
    return NULL


cdef bint index_inside(const SnapshotHeader* snapshot) noexcept nogil:
    """Whether the sections follow each other inside the file."""
    cdef const IdentityIndex* index = snapshot_identities(snapshot)
    cdef uint64_t size = snapshot.size
    if snapshot.identities_offset < sizeof(SnapshotHeader) or snapshot.identities_offset % 8:
        return False
    if snapshot.identities_offset + sizeof(IdentityIndex) > size:
        return False
    return (snapshot.identities_offset + sizeof(IdentityIndex) <= index.consumer_offset
            and index.consumer_offset <= index.credential_offset <= index.group_offset <= index.records_end
            and index.consumer_offset % 8 == 0
            and index.records_end <= index.list_offset and index.list_offset % 8 == 0
            and index.list_offset + <uint64_t> 4 * index.list_length <= index.slot_offset
            and index.slot_offset % 8 == 0 and index.slot_count > 0
            and index.slot_offset + <uint64_t> sizeof(IdentitySlot) * index.slot_count <= size)


cdef const char* identities_verify(const SnapshotHeader* snapshot) noexcept nogil:
    cdef const IdentityIndex* index = snapshot_identities(snapshot)
    cdef const char* problem = NULL
    cdef uint8_t* begins
    if not index_inside(snapshot):
        return b"sections of the identities lie outside the file"
    begins = <uint8_t*> calloc(index.records_end // 64 + 1, 1)
    if begins is NULL:
        return b"no memory to check the identities"
    if not (walk_records(snapshot, index.consumer_offset, index.credential_offset, index.consumer_count,
                         sizeof(ConsumerRecord), begins)
            and walk_records(snapshot, index.credential_offset, index.group_offset, index.credential_count,
                             sizeof(CredentialRecord), begins)
            and walk_records(snapshot, index.group_offset, index.records_end, index.group_count,
                             sizeof(GroupRecord), begins)):
        problem = b"a record of the identities is not sound"
    else:
        problem = verify_links(snapshot, index, begins)
    free(begins)
    return problem


# --- records ---------------------------------------------------------------------------------------------------------
cdef bytes finished_record(void* fixed, uint32_t fixed_size, list texts, RecordText** places):
    """The bytes of a record: `fixed` with its size and `places` filled in, and `texts` behind it."""
    cdef uint64_t size = fixed_size
    cdef uint64_t offset = fixed_size
    cdef bytes text
    cdef uint32_t number = 0
    for text in texts:
        size += <uint64_t> len(text)
    size = (size + 7) // 8 * 8
    if size > LARGEST_FILE:
        raise SnapshotError("a record is larger than 4 GiB")
    cdef bytes record = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> size)
    cdef char* data = PyBytes_AS_STRING(record)
    memset(data + fixed_size, 0, size - fixed_size)
    for text in texts:
        places[number].offset = <uint32_t> offset
        places[number].length = <uint32_t> len(text)
        memcpy(data + offset, <const char*> text, <size_t> len(text))
        offset += <uint64_t> len(text)
        number += 1
    (<IdentityRecord*> fixed).size = <uint32_t> size
    memcpy(data, fixed, fixed_size)
    return record


cdef uint64_t hash_of(IdentityKind kind, bytes text):
    return identity_hash(kind, <const uint8_t*> <const char*> text, <uint32_t> len(text))


def consumer_record(*, str id not None, username: str | None, custom_id: str | None) -> bytes:
    """The record of a consumer."""
    cdef ConsumerRecord record
    cdef RecordText* places[3]
    texts = [id.encode(), (username or "").encode(), (custom_id or "").encode()]
    memset(&record, 0, sizeof(record))
    record.head.kind = CONSUMER_ID
    record.id_hash = hash_of(CONSUMER_ID, texts[0])
    record.username_hash = hash_of(CONSUMER_USERNAME, texts[1])
    record.custom_id_hash = hash_of(CONSUMER_CUSTOM_ID, texts[2])
    places[0], places[1], places[2] = &record.id, &record.username, &record.custom_id
    return finished_record(&record, sizeof(record), texts, places)


def credential_record(
    IdentityKind kind, *, str id not None, str consumer not None, str key not None, str secret="", str more="",
    str name="", uint8_t algorithm=0, uint8_t flags=0, int64_t expires_at=0,
) -> bytes:
    """The record of a credential of the consumer with the id `consumer`. `expires_at`: milliseconds since the epoch, 0
    for never."""
    cdef CredentialRecord record
    cdef RecordText* places[6]
    if kind < KEY_AUTH:
        raise ValueError("not a kind of credentials")
    texts = [consumer.encode(), id.encode(), key.encode(), secret.encode(), more.encode(), name.encode()]
    memset(&record, 0, sizeof(record))
    record.head.kind = kind
    record.head.algorithm = algorithm
    record.head.flags = flags
    record.key_hash = hash_of(kind, texts[2])
    record.consumer_hash = hash_of(CONSUMER_ID, texts[0])
    record.expires_at = expires_at
    places[0], places[1], places[2] = &record.consumer_id, &record.id, &record.key
    places[3], places[4], places[5] = &record.secret, &record.more, &record.name
    return finished_record(&record, sizeof(record), texts, places)


def group_record(*, str consumer not None, str name not None) -> bytes:
    """The record that says that the consumer with the id `consumer` is in the group `name`."""
    cdef GroupRecord record
    cdef RecordText* places[2]
    texts = [consumer.encode(), name.encode()]
    memset(&record, 0, sizeof(record))
    record.head.kind = CONSUMER_GROUP
    record.name_hash = hash_of(CONSUMER_GROUP, texts[1])
    record.consumer_hash = hash_of(CONSUMER_ID, texts[0])
    places[0], places[1] = &record.consumer_id, &record.name
    return finished_record(&record, sizeof(record), texts, places)


def known_records(list entities not None, list known not None, list records not None) -> tuple[list, list]:
    """What is known of each of `entities`: its record in `records` where it is (the same object as) an entity in
    `known`, else None; and the places of those without one.

    Both lists are in the order of a table: one that has changed stands where it stood, new ones at the end.
    """
    cdef list found = []
    cdef list missing = []
    cdef dict places = None
    cdef Py_ssize_t count = len(known)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t place
    cdef Py_ssize_t number = 0
    for entity in entities:
        if at < count and known[at] is entity:
            place = at
        elif at + 1 < count and known[at + 1] is entity:
            place = at + 1                               # one was taken out
        else:
            if places is None:
                places = {<size_t> <void*> one: index for index, one in enumerate(known)}
            place = places.get(<size_t> <void*> entity, -1)
        if place < 0:
            missing.append(number)
            found.append(None)
            at += 1
        else:
            found.append(records[place])
            at = place + 1
        number += 1
    return found, missing


# --- building --------------------------------------------------------------------------------------------------------
# What is filled while the GIL is not held. `sources` holds the bytes of the records.
ctypedef struct Assembly:
    const char** sources
    uint32_t* sizes
    uint32_t* counts                     # of lists: by number of consumer
    uint8_t* base
    IdentityIndex* index


cdef inline ConsumerRecord* consumer_at(Assembly* assembly, uint64_t hash, const void* record,
                                        RecordText identifier) noexcept nogil:
    return <ConsumerRecord*> find_record(<const SnapshotHeader*> assembly.base, hash, CONSUMER_ID,
                                         <const uint8_t*> record_text(record, identifier), identifier.length)


cdef inline void prepare_slot(Assembly* assembly, uint64_t hash) noexcept nogil:
    PREFETCH(<IdentitySlot*> (assembly.base + assembly.index.slot_offset) + first_slot(hash, assembly.index.slot_count))


cdef inline uint32_t skip_ahead(Assembly* assembly, uint32_t offset, uint32_t end) noexcept nogil:
    """The place of the record AHEAD records after the one at `offset`, or `end`."""
    cdef uint32_t _number
    for _number in range(AHEAD):
        if offset >= end:
            return end
        offset += (<IdentityRecord*> (assembly.base + offset)).size
    return offset


cdef void enter(Assembly* assembly, uint64_t hash, uint32_t offset) noexcept nogil:
    """Put a record into the table, behind all others with its first place."""
    cdef IdentitySlot* slots = <IdentitySlot*> (assembly.base + assembly.index.slot_offset)
    cdef uint32_t at = first_slot(hash, assembly.index.slot_count)
    while slots[at].record:
        at += 1
        if at == assembly.index.slot_count:
            at = 0
    slots[at].tag = <uint32_t> hash
    slots[at].record = offset


cdef void copy_records(Assembly* assembly, uint32_t count) noexcept nogil:
    cdef uint8_t* target = assembly.base + assembly.index.consumer_offset
    cdef uint32_t number
    for number in range(count):
        if number + AHEAD < count:
            PREFETCH(assembly.sources[number + AHEAD])
            PREFETCH(assembly.sources[number + AHEAD] + 64)
            PREFETCH(assembly.sources[number + AHEAD] + 128)
        memcpy(target, assembly.sources[number], assembly.sizes[number])
        target += assembly.sizes[number]


cdef void enter_consumers(Assembly* assembly) noexcept nogil:
    cdef uint32_t offset = assembly.index.consumer_offset
    cdef uint32_t end = assembly.index.credential_offset
    cdef uint32_t ahead = skip_ahead(assembly, offset, end)
    cdef ConsumerRecord* consumer
    while offset < end:
        if ahead < end:
            consumer = <ConsumerRecord*> (assembly.base + ahead)
            prepare_slot(assembly, consumer.id_hash)
            prepare_slot(assembly, consumer.username_hash)
            prepare_slot(assembly, consumer.custom_id_hash)
            ahead += consumer.head.size
        consumer = <ConsumerRecord*> (assembly.base + offset)
        enter(assembly, consumer.id_hash, offset)
        if consumer.username.length:
            enter(assembly, consumer.username_hash, offset)
        if consumer.custom_id.length:
            enter(assembly, consumer.custom_id_hash, offset)
        offset += consumer.head.size


cdef void enter_credentials(Assembly* assembly) noexcept nogil:
    """Credentials whose consumer is there are found by their keys, and counted at their consumers."""
    cdef uint32_t offset = assembly.index.credential_offset
    cdef uint32_t end = assembly.index.group_offset
    cdef uint32_t ahead = skip_ahead(assembly, offset, end)
    cdef CredentialRecord* credential
    cdef ConsumerRecord* consumer
    while offset < end:
        if ahead < end:
            credential = <CredentialRecord*> (assembly.base + ahead)
            prepare_slot(assembly, credential.consumer_hash)
            prepare_slot(assembly, credential.key_hash)
            ahead += credential.head.size
        credential = <CredentialRecord*> (assembly.base + offset)
        consumer = consumer_at(assembly, credential.consumer_hash, credential, credential.consumer_id)
        if consumer is not NULL:
            credential.consumer = <uint32_t> (<uint8_t*> consumer - assembly.base)
            consumer.credential_count += 1
            enter(assembly, credential.key_hash, offset)
        offset += credential.head.size


cdef void enter_groups(Assembly* assembly) noexcept nogil:
    cdef uint32_t offset = assembly.index.group_offset
    cdef GroupRecord* group
    cdef ConsumerRecord* consumer
    while offset < assembly.index.records_end:
        group = <GroupRecord*> (assembly.base + offset)
        consumer = consumer_at(assembly, group.consumer_hash, group, group.consumer_id)
        if consumer is not NULL:
            group.consumer = <uint32_t> (<uint8_t*> consumer - assembly.base)
            consumer.group_count += 1
        offset += group.head.size


cdef void place_lists(Assembly* assembly) noexcept nogil:
    """Give each consumer's lists their places; their lengths are counted anew while they are filled."""
    cdef uint32_t offset = assembly.index.consumer_offset
    cdef uint32_t place = assembly.index.list_offset
    cdef ConsumerRecord* consumer
    while offset < assembly.index.credential_offset:
        consumer = <ConsumerRecord*> (assembly.base + offset)
        consumer.credential_list = place
        place += 4 * consumer.credential_count
        consumer.group_list = place
        place += 4 * consumer.group_count
        consumer.credential_count = 0
        consumer.group_count = 0
        offset += consumer.head.size


cdef void fill_lists(Assembly* assembly) noexcept nogil:
    cdef uint32_t offset = assembly.index.credential_offset
    cdef CredentialRecord* credential
    cdef GroupRecord* group
    cdef ConsumerRecord* consumer
    while offset < assembly.index.group_offset:
        credential = <CredentialRecord*> (assembly.base + offset)
        if credential.consumer:
            consumer = <ConsumerRecord*> (assembly.base + credential.consumer)
            (<uint32_t*> (assembly.base + consumer.credential_list))[consumer.credential_count] = offset
            consumer.credential_count += 1
        offset += credential.head.size
    while offset < assembly.index.records_end:
        group = <GroupRecord*> (assembly.base + offset)
        if group.consumer:
            consumer = <ConsumerRecord*> (assembly.base + group.consumer)
            (<uint32_t*> (assembly.base + consumer.group_list))[consumer.group_count] = offset
            consumer.group_count += 1
        offset += group.head.size


cdef void assemble(Assembly* assembly, uint64_t number) noexcept nogil:
    cdef SnapshotHeader* header = <SnapshotHeader*> assembly.base
    cdef IdentityIndex* index = assembly.index
    copy_records(assembly, index.consumer_count + index.credential_count + index.group_count)
    enter_consumers(assembly)
    enter_credentials(assembly)
    enter_groups(assembly)
    place_lists(assembly)
    fill_lists(assembly)
    header.magic = SNAPSHOT_MAGIC
    header.format = SNAPSHOT_FORMAT
    header.kind = SNAPSHOT_IDENTITIES
    header.number = number
    header.checksum = snapshot_checksum(header, assembly.base + sizeof(SnapshotHeader),
                                        header.size - sizeof(SnapshotHeader))


cdef uint64_t take_sources(Assembly* assembly, uint32_t first, list records) except? 0:
    """Note where records lie; the list keeps them there. Returns their bytes together."""
    cdef uint64_t size = 0
    cdef bytes record
    for record in records:
        assembly.sources[first] = PyBytes_AS_STRING(record)
        assembly.sizes[first] = <uint32_t> PyBytes_GET_SIZE(record)
        size += assembly.sizes[first]
        first += 1
    return size


def build_identities(
    list consumers not None, list credentials not None, list groups not None, *, uint64_t number,
) -> bytes:
    """The identities file with this number, of records as the functions above make them. A credential or group of a
    consumer that is not among them has no effect. Raises SnapshotError when it would be larger than 4 GiB."""
    cdef Assembly assembly
    cdef IdentityIndex index
    cdef SnapshotHeader* header
    cdef uint64_t place, credentials_at, groups_at, records_end, lists_at, slots_at
    cdef uint64_t records = <uint64_t> len(consumers) + <uint64_t> len(credentials) + <uint64_t> len(groups)
    cdef uint64_t slots = (3 * <uint64_t> len(consumers) + <uint64_t> len(credentials)) * 3 // 2 + 8
    cdef uint64_t lists = <uint64_t> len(credentials) + <uint64_t> len(groups)
    cdef bytes data
    if records > LARGEST_FILE // sizeof(GroupRecord):
        raise SnapshotError("snapshot is larger than 4 GiB")
    memset(&assembly, 0, sizeof(assembly))
    memset(&index, 0, sizeof(index))
    assembly.sources = <const char**> malloc((records + 1) * sizeof(char*))
    assembly.sizes = <uint32_t*> malloc((records + 1) * sizeof(uint32_t))
    try:
        if assembly.sources is NULL or assembly.sizes is NULL:
            raise MemoryError
        place = sizeof(SnapshotHeader) + sizeof(IdentityIndex)
        credentials_at = place + take_sources(&assembly, 0, consumers)
        groups_at = credentials_at + take_sources(&assembly, <uint32_t> len(consumers), credentials)
        records_end = groups_at + take_sources(&assembly, <uint32_t> (len(consumers) + len(credentials)), groups)
        lists_at = records_end
        slots_at = (lists_at + 4 * lists + 7) // 8 * 8
        if slots_at + slots * sizeof(IdentitySlot) > LARGEST_FILE:
            raise SnapshotError("snapshot is larger than 4 GiB")
        index.consumer_offset, index.consumer_count = <uint32_t> place, <uint32_t> len(consumers)
        index.credential_offset, index.credential_count = <uint32_t> credentials_at, <uint32_t> len(credentials)
        index.group_offset, index.group_count = <uint32_t> groups_at, <uint32_t> len(groups)
        index.records_end = <uint32_t> records_end
        index.list_offset, index.list_length = <uint32_t> lists_at, <uint32_t> lists
        index.slot_offset, index.slot_count = <uint32_t> slots_at, <uint32_t> slots
        data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> (slots_at + slots * sizeof(IdentitySlot)))
        assembly.base = <uint8_t*> PyBytes_AS_STRING(data)
        if len(data) >= LARGE:
            want_large_pages(assembly.base, <size_t> len(data))
        memset(assembly.base, 0, place)
        memset(assembly.base + records_end, 0, <size_t> len(data) - records_end)
        header = <SnapshotHeader*> assembly.base
        header.size = <uint64_t> len(data)
        header.identities_offset = sizeof(SnapshotHeader)
        assembly.index = <IdentityIndex*> (assembly.base + sizeof(SnapshotHeader))
        memcpy(assembly.index, &index, sizeof(index))
        with nogil:
            assemble(&assembly, number)
        return data
    finally:
        free(assembly.sources)
        free(assembly.sizes)


# --- for Python ------------------------------------------------------------------------------------------------------
cdef str text_of(const void* record, RecordText text):
    return record_text(record, text)[:text.length].decode("utf-8", "replace")


cdef dict describe_credential(const SnapshotHeader* snapshot, const CredentialRecord* record):
    return {
        "kind": IdentityKind(record.head.kind), "id": text_of(record, record.id), "key": text_of(record, record.key),
        "secret": text_of(record, record.secret), "more": text_of(record, record.more),
        "name": text_of(record, record.name), "algorithm": record.head.algorithm, "flags": record.head.flags,
        "expires_at": record.expires_at, "consumer": text_of(consumer_of(snapshot, record),
                                                             consumer_of(snapshot, record).id),
    }


cdef class Identities:
    """An identities file as a worker sees it, for tests and /explain."""
    cdef bytes data
    cdef const SnapshotHeader* snapshot

    def __cinit__(self, bytes data not None):
        """Raises SnapshotError when the file is not sound."""
        problem = verify_identities(data)
        if problem is not None:
            raise SnapshotError(problem)
        self.data = data
        self.snapshot = <const SnapshotHeader*> <const char*> data

    @property
    def number(self) -> int:
        return self.snapshot.number

    @property
    def counts(self) -> tuple[int, int, int]:
        """Records of consumers, credentials and groups."""
        index = snapshot_identities(self.snapshot)
        return index.consumer_count, index.credential_count, index.group_count

    def consumer(self, IdentityKind kind, str key not None) -> dict | None:
        """What find_consumer() finds, with the consumer's credentials and groups."""
        encoded = key.encode()
        cdef const ConsumerRecord* found = find_consumer(
            self.snapshot, kind, <const uint8_t*> <const char*> encoded, <uint32_t> len(encoded))
        cdef uint32_t at
        if found is NULL:
            return None
        groups = [text_of(consumer_group(self.snapshot, found, at), consumer_group(self.snapshot, found, at).name)
                  for at in range(found.group_count)]
        credentials = [describe_credential(self.snapshot, consumer_credential(self.snapshot, found, at))
                       for at in range(found.credential_count)]
        return {"id": text_of(found, found.id), "username": text_of(found, found.username),
                "custom_id": text_of(found, found.custom_id), "groups": groups, "credentials": credentials}

    def credential(self, IdentityKind kind, str key not None) -> dict | None:
        """What find_credential() finds."""
        encoded = key.encode()
        cdef const CredentialRecord* found = find_credential(
            self.snapshot, kind, <const uint8_t*> <const char*> encoded, <uint32_t> len(encoded))
        return None if found is NULL else describe_credential(self.snapshot, found)

    def is_in_group(self, str consumer not None, str group not None) -> bool:
        """Whether the consumer with this id is in a group. KeyError for an unknown consumer."""
        encoded, name = consumer.encode(), group.encode()
        cdef const ConsumerRecord* found = find_consumer(
            self.snapshot, CONSUMER_ID, <const uint8_t*> <const char*> encoded, <uint32_t> len(encoded))
        if found is NULL:
            raise KeyError(consumer)
        return is_in_group(self.snapshot, found, <const uint8_t*> <const char*> name, <uint32_t> len(name))


def consumer_hash(str id not None) -> int:
    """ConsumerRecord.id_hash of the consumer with this id."""
    return hash_of(CONSUMER_ID, id.encode())


def verify_identities(bytes data not None) -> str | None:
    """What is wrong with an identities file, or None."""
    cdef const SnapshotHeader* snapshot = <const SnapshotHeader*> <const char*> data
    cdef const char* problem = snapshot_verify(snapshot, <uint64_t> len(data))
    if problem is NULL and snapshot.kind != SNAPSHOT_IDENTITIES:
        return "not an identities file"
    if problem is NULL:
        problem = identities_verify(snapshot)
    return None if problem is NULL else problem.decode()

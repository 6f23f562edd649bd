# Peers files: checking, writing and describing them; included by snapshot.pyx.

# --- checking --------------------------------------------------------------------------------------------------------
cdef inline bint peers_named(const SnapshotHeader* header, const PeerSet* peer_set, uint32_t offset,
                             uint32_t count) noexcept nogil:
    """Whether a section of peer numbers names peers that are there."""
    cdef const uint16_t* numbers = <const uint16_t*> (<const uint8_t*> header + offset)
    cdef uint32_t index
    for index in range(count):
        if numbers[index] >= peer_set.peer_count:
            return False
    return True


cdef const char* verify_balancing(const SnapshotHeader* header, const PeerSet* peer_set) noexcept nogil:
    """What algorithms need."""
    if not (text_inside(header, peer_set.hash_name) and text_inside(header, peer_set.hash_fallback_name)
            and text_inside(header, peer_set.cookie_path)):
        return b"text of a peer set lies outside the file"
    if not section_inside(header, peer_set.hash_offset, peer_set.hash_length, sizeof(uint16_t)):
        return b"hash table of a peer set lies outside the file"
    if not peers_named(header, peer_set, peer_set.hash_offset, peer_set.hash_length):
        return b"a hash table names a peer that is not there"
    if peer_set.rules_offset and not section_inside(header, peer_set.rules_offset, 1, sizeof(HealthRules)):
        return b"health rules of a peer set lie outside the file"
    if peer_set.slot >= GROUP_SLOTS:
        return b"a peer set has a place outside the shared memory"
    if peer_set.algorithm > BALANCE_STICKY or peer_set.hash_on > HASH_URI_CAPTURE \
            or peer_set.hash_fallback > HASH_URI_CAPTURE:
        return b"a peer set is balanced in an unknown way"
    if peer_set.algorithm == BALANCE_CONSISTENT_HASHING and peer_set.state == PEERS_READY and not peer_set.hash_length:
        return b"a peer set has no hash table"
    return NULL


cdef const char* verify_peer_set(const SnapshotHeader* header, const PeerSet* peer_set) noexcept nogil:
    cdef const Peer* peers
    cdef uint64_t weight = 0
    cdef uint32_t index
    if not (text_inside(header, peer_set.name) and text_inside(header, peer_set.host_header)):
        return b"text of a peer set lies outside the file"
    if not section_inside(header, peer_set.peer_offset, peer_set.peer_count, sizeof(Peer)):
        return b"peers lie outside the file"
    if not section_inside(header, peer_set.wheel_offset, peer_set.wheel_length, sizeof(uint16_t)):
        return b"wheel of a peer set lies outside the file"
    if peer_set.state > PEERS_NO_TARGETS:
        return b"a peer set has an unknown state"
    if peer_set.state == PEERS_READY and (peer_set.peer_count == 0 or peer_set.wheel_length == 0):
        return b"a ready peer set is empty"
    peers = <const Peer*> (<const uint8_t*> header + peer_set.peer_offset)
    for index in range(peer_set.peer_count):
        if not (text_inside(header, peers[index].host_header) and text_inside(header, peers[index].name)):
            return b"text of a peer lies outside the file"
        if peers[index].family != 4 and peers[index].family != 6:
            return b"a peer has an unknown address family"
        if peers[index].slot >= TARGET_SLOTS or peers[index].weight == 0:
            return b"a peer has no weight, or a place outside the shared memory"
        weight += peers[index].weight
    if weight != peer_set.total_weight:
        return b"the weights of a peer set are not the sum of its peers'"
    if not peers_named(header, peer_set, peer_set.wheel_offset, peer_set.wheel_length):
        return b"a wheel names a peer that is not there"
    return verify_balancing(header, peer_set)


cdef const char* verify_peers(const SnapshotHeader* header) noexcept nogil:
    cdef const PeerSlot* slots
    cdef const char* problem
    cdef uint32_t index, used = 0
    cdef uint32_t count = header.peer_slot_count
    if (count == 0 or count & (count - 1)
            or not section_inside(header, header.peer_slot_offset, count, sizeof(PeerSlot))):
        return b"peer table lies outside the file"
    slots = <const PeerSlot*> (<const uint8_t*> header + header.peer_slot_offset)
    for index in range(count):
        if slots[index].key == 0:
            continue
        used += 1
        if not section_inside(header, slots[index].set_offset, 1, sizeof(PeerSet)):
            return b"a peer set lies outside the file"
        problem = verify_peer_set(header, <const PeerSet*> (<const uint8_t*> header + slots[index].set_offset))
        if problem is not NULL:
            return problem
    for index in range(count):
        if slots[index].key and (<const PeerSet*> (<const uint8_t*> header + slots[index].set_offset)).index >= used:
            return b"a peer set has a number out of range"
    return NULL


# --- writing ---------------------------------------------------------------------------------------------------------
cdef bytes pack_rules(object rules):
    """A HealthRules of the fields named as there; the statuses are collections of numbers, `threshold` a percentage."""
    cdef HealthRules record
    cdef uint32_t status
    memset(&record, 0, sizeof(record))
    for status in rules.healthy_statuses:
        if status < 8 * sizeof(record.healthy_statuses):
            record.healthy_statuses[status // 8] |= <uint8_t> (1 << (status % 8))
    for status in rules.unhealthy_statuses:
        if status < 8 * sizeof(record.unhealthy_statuses):
            record.unhealthy_statuses[status // 8] |= <uint8_t> (1 << (status % 8))
    record.limits.successes = rules.successes
    record.limits.tcp_failures = rules.tcp_failures
    record.limits.timeouts = rules.timeouts
    record.limits.http_failures = rules.http_failures
    record.threshold = <uint32_t> round(rules.threshold * 1000)
    return (<const char*> &record)[:sizeof(record)]


cdef class PreparedPeerSet:
    def __cinit__(
        self, str key not None, *, str name, uint32_t state, peers=(), wheel=(), str host_header="", uint8_t algorithm=0,
        uint8_t hash_on=0, uint8_t hash_fallback=0, str hash_name="", str hash_fallback_name="", str cookie_path="",
        uint32_t hash_slots=0, uint32_t slow_start_ms=0, rules=None, uint32_t slot=0,
    ):
        """`peers`: (packed address of 4 or 16 bytes, port, weight, host header, name, slot, identity); `wheel`: numbers
        of peers; `hash_slots`: size of the hash table, which is made here; `rules`: see pack_rules; the others are
        named as in PeerSet."""
        cdef Peer peer
        cdef uint16_t turn
        memset(&self.record, 0, sizeof(self.record))
        self.key = key
        self.hash = peer_key_hash(key)
        self.name, self.host_header = name.encode(), host_header.encode()
        self.hash_name, self.hash_fallback_name = hash_name.encode(), hash_fallback_name.encode()
        self.cookie_path = cookie_path.encode()
        self.peers, self.wheel, self.texts = bytearray(), bytearray(), []
        candidates = []
        for address, port, weight, peer_header, peer_name, place, identity in peers:
            memset(&peer, 0, sizeof(peer))
            memcpy(peer.address, <const char*> <bytes> address, 16 if len(address) == 16 else 4)
            peer.family = 6 if len(address) == 16 else 4
            peer.port = port
            peer.weight = weight
            peer.slot = place
            peer.identity = identity
            append_bytes(self.peers, &peer, sizeof(peer))
            self.texts.append((peer_header.encode(), peer_name.encode()))
            candidates.append((identity, weight))
            self.record.total_weight += peer.weight
        for turn in wheel:
            append_bytes(self.wheel, &turn, sizeof(turn))
        self.hash_table = slot_table(candidates, hash_slots) if candidates and hash_slots else b""
        self.rules = b"" if rules is None else pack_rules(rules)
        self.record.state = state
        self.record.peer_count = <uint32_t> len(self.texts)
        self.record.wheel_length = <uint32_t> (len(self.wheel) // sizeof(turn))
        self.record.hash_length = <uint32_t> (len(self.hash_table) // sizeof(turn))
        self.record.algorithm = algorithm
        self.record.hash_on, self.record.hash_fallback = hash_on, hash_fallback
        self.record.slow_start_ms = slow_start_ms
        self.record.slot = slot


cdef uint32_t append_aligned(bytearray records, object more) except? 0xffffffff:
    """Append `more` at an 8-byte boundary; returns its place."""
    cdef uint32_t place = <uint32_t> len(records)
    records += more
    records += bytes((8 - len(records) % 8) % 8)
    return place


cdef class PeersBuilder(_Builder):
    """Builds a peers file: `add_set` for every host and upstream name, then `build`."""

    def __cinit__(self):
        self.sets = []
        self.keys = {}

    def add_set(self, PreparedPeerSet peer_set not None) -> None:
        """Add a set; its key must be new."""
        if peer_set.hash == 0 or peer_set.hash in self.keys:
            raise SnapshotError(f"peer key {peer_set.key!r} collides with {self.keys.get(peer_set.hash)!r}")
        self.keys[peer_set.hash] = peer_set.key
        self.sets.append(peer_set)

    cdef int place_records(self, bytearray records, bytearray peers, bytearray extras) except -1:
        """Fill `records` (PeerSet), `peers`, and `extras` (wheels, hash tables, rules), whose places still count from
        their own beginnings."""
        cdef PreparedPeerSet peer_set
        cdef PeerSet record
        cdef Peer* peer
        cdef bytes peer_header, peer_name
        cdef uint32_t index = 0
        for peer_set in self.sets:
            record = peer_set.record
            record.index = index
            record.name = self.strings.put(peer_set.name)
            record.host_header = self.strings.put(peer_set.host_header)
            record.hash_name = self.strings.put(peer_set.hash_name)
            record.hash_fallback_name = self.strings.put(peer_set.hash_fallback_name)
            record.cookie_path = self.strings.put(peer_set.cookie_path)
            record.peer_offset = <uint32_t> len(peers)
            peers += peer_set.peers
            peer = <Peer*> (PyByteArray_AS_STRING(peers) + record.peer_offset)
            for peer_header, peer_name in peer_set.texts:
                peer.host_header = self.strings.put(peer_header)
                peer.name = self.strings.put(peer_name)
                peer += 1
            record.wheel_offset = append_aligned(extras, peer_set.wheel)
            record.hash_offset = append_aligned(extras, peer_set.hash_table)
            record.rules_offset = append_aligned(extras, peer_set.rules)
            append_bytes(records, &record, sizeof(record))
            index += 1
        return 0

    cdef bytearray place_table(self, uint32_t set_offset, uint32_t* slot_count):
        """PeerSlot: where the set of each key lies."""
        cdef PreparedPeerSet peer_set
        cdef PeerSlot* slots
        cdef uint32_t index, at
        slot_count[0] = 8
        while slot_count[0] < 2 * <uint32_t> len(self.sets):
            slot_count[0] *= 2
        table = bytearray(slot_count[0] * sizeof(PeerSlot))
        slots = <PeerSlot*> PyByteArray_AS_STRING(table)
        for index in range(<uint32_t> len(self.sets)):
            peer_set = self.sets[index]
            at = <uint32_t> (peer_set.hash & (slot_count[0] - 1))
            while slots[at].key:
                at = (at + 1) & (slot_count[0] - 1)
            slots[at].key = peer_set.hash
            slots[at].set_offset = set_offset + index * <uint32_t> sizeof(PeerSet)
        return table

    def build(self, *, uint64_t number) -> bytes:
        """The finished file."""
        cdef SnapshotHeader header
        cdef PreparedPeerSet peer_set
        cdef PeerSet* record
        cdef uint32_t peer_offset, extra_offset, slot_count = 0
        memset(&header, 0, sizeof(header))
        records, peers, extras = bytearray(), bytearray(), bytearray()
        # all texts first: the pool must be complete before the first section is placed
        self.place_records(records, peers, extras)
        self.begin_sections()
        peer_offset = self.section(peers)
        extra_offset = self.section(extras)
        record = <PeerSet*> PyByteArray_AS_STRING(records)
        for peer_set in self.sets:
            record.peer_offset += peer_offset
            record.wheel_offset += extra_offset
            record.hash_offset += extra_offset
            record.rules_offset = record.rules_offset + extra_offset if peer_set.rules else 0
            record += 1
        table = self.place_table(self.section(records), &slot_count)
        header.peer_slot_offset = self.section(table)
        header.peer_slot_count = slot_count
        return self.finish(&header, SNAPSHOT_PEERS, number)


# --- for Python ------------------------------------------------------------------------------------------------------
cdef dict describe_rules(const HealthRules* rules):
    cdef int status
    limits = dict(rules.limits)
    return {
        "healthy_statuses": [status for status in range(1024) if rules.healthy_statuses[status // 8] >> status % 8 & 1],
        "unhealthy_statuses": [
            status for status in range(1024) if rules.unhealthy_statuses[status // 8] >> status % 8 & 1],
        **limits, "threshold": <double> rules.threshold / 1000,
    }


cdef dict describe_peer_set(const SnapshotHeader* header, const PeerSet* peer_set):
    cdef const uint8_t* base = <const uint8_t*> header
    cdef const Peer* peers = <const Peer*> (base + peer_set.peer_offset)
    cdef const uint16_t* wheel = <const uint16_t*> (base + peer_set.wheel_offset)
    cdef const uint16_t* table = <const uint16_t*> (base + peer_set.hash_offset)
    cdef uint32_t index
    found = []
    for index in range(peer_set.peer_count):
        size = 16 if peers[index].family == 6 else 4
        found.append({
            "address": (<const char*> peers[index].address)[:size], "port": peers[index].port,
            "weight": peers[index].weight, "host_header": text_of(header, peers[index].host_header),
            "name": text_of(header, peers[index].name), "slot": peers[index].slot, "identity": peers[index].identity,
        })
    return {
        "name": text_of(header, peer_set.name), "host_header": text_of(header, peer_set.host_header),
        "index": peer_set.index, "state": PeerSetState(peer_set.state), "peers": found,
        "wheel": [wheel[index] for index in range(peer_set.wheel_length)],
        "hash_table": [table[index] for index in range(peer_set.hash_length)],
        "algorithm": BalancingAlgorithm(peer_set.algorithm),
        "hash_on": HashInput(peer_set.hash_on), "hash_name": text_of(header, peer_set.hash_name),
        "hash_fallback": HashInput(peer_set.hash_fallback),
        "hash_fallback_name": text_of(header, peer_set.hash_fallback_name),
        "cookie_path": text_of(header, peer_set.cookie_path), "slow_start_ms": peer_set.slow_start_ms,
        "slot": peer_set.slot, "total_weight": peer_set.total_weight,
        "rules": describe_rules(<const HealthRules*> (base + peer_set.rules_offset)) if peer_set.rules_offset else None,
    }


cdef dict describe_peers(const SnapshotHeader* header):
    cdef const PeerSlot* slots = <const PeerSlot*> (<const uint8_t*> header + header.peer_slot_offset)
    cdef uint32_t index
    return {
        slots[index].key: describe_peer_set(
            header, <const PeerSet*> (<const uint8_t*> header + slots[index].set_offset))
        for index in range(header.peer_slot_count) if slots[index].key
    }


def find_peer_set(bytes data, str key) -> dict | None:
    """The peer set with this key in a peers file, found as a worker finds it."""
    cdef const SnapshotHeader* header = <const SnapshotHeader*> <const char*> data
    cdef const PeerSet* found
    problem = verify(data)
    if problem is not None or header.kind != SNAPSHOT_PEERS:
        raise SnapshotError(problem or "not a peers file")
    found = snapshot_peer_set(header, peer_key_hash(key))
    return None if found is NULL else describe_peer_set(header, found)

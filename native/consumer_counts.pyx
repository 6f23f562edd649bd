from libc.stdint cimport uint32_t, uint64_t

from native.atomics cimport fence_ordered, load_acquire, store_release
from native.hashing cimport xxh64
from native.shm cimport CONSUMER_SLOTS, ConsumerCount, ConsumerTable, SharedState, shared_control, shared_worker

cdef enum:
    MOST_READS = 8               # of a slot that changes hands while it is read

# --- writing: the worker's loop thread -------------------------------------------------------------------------------


cdef void take_slot(ConsumerTable* table, ConsumerCount* slot, uint64_t consumer_hash, uint64_t route_hash,
                    uint64_t outcome) noexcept nogil:
    """Make a slot somebody's. Odd while it changes, so that no reader takes half of the old for the new; a worker that
    is killed here leaves it odd, and the next one may take it."""
    cdef uint64_t version = slot.version | 1
    if slot.version == 0:
        store_release(&table.used, table.used + 1)
    store_release(&slot.version, version)
    fence_ordered()
    store_release(&slot.consumer_hash, consumer_hash)
    store_release(&slot.route_hash, route_hash)
    store_release(&slot.outcome, outcome)
    store_release(&slot.requests, 0)
    store_release(&slot.ingress_bytes, 0)
    store_release(&slot.egress_bytes, 0)
    store_release(&slot.version, version + 1)


cdef inline bint is_free(const ConsumerCount* slot) noexcept nogil:
    return slot.version == 0 or slot.version & 1 or load_acquire(&slot.retired) == slot.version


cdef inline bint belongs_to(const ConsumerCount* slot, const uint64_t* key) noexcept nogil:
    return slot.version != 0 and not slot.version & 1 and slot.consumer_hash == key[0] and slot.route_hash == key[1] \
        and slot.outcome == key[2]


cdef ConsumerCount* find_slot(ConsumerTable* table, const uint64_t* key) noexcept nogil:
    """The slot of these numbers, or one that is made theirs. NULL: there is none for them."""
    cdef uint32_t first = <uint32_t> xxh64(key, 3 * sizeof(uint64_t), 0)
    cdef ConsumerCount* free = NULL
    cdef ConsumerCount* slot
    cdef uint32_t at
    for at in range(CONSUMER_WINDOW):
        slot = &table.slots[(first + at) & (CONSUMER_SLOTS - 1)]
        if belongs_to(slot, key):
            return slot
        if free == NULL and is_free(slot):
            free = slot
        if slot.version == 0:
            break                                        # slots are never emptied: there is nothing behind it
    if free != NULL:
        take_slot(table, free, key[0], key[1], key[2])
    return free


cdef bint count_by_consumer(ConsumerTable* table, uint64_t consumer_hash, uint64_t route_hash, uint32_t status,
                            uint32_t source, uint64_t ingress_bytes, uint64_t egress_bytes) noexcept nogil:
    cdef uint64_t[3] key
    cdef ConsumerCount* slot
    key[0] = consumer_hash
    key[1] = route_hash
    key[2] = 2 * <uint64_t> status + source
    slot = find_slot(table, key)
    if slot == NULL:
        store_release(&table.overflows, table.overflows + 1)
        return False
    store_release(&slot.requests, slot.requests + 1)
    store_release(&slot.ingress_bytes, slot.ingress_bytes + ingress_bytes)
    store_release(&slot.egress_bytes, slot.egress_bytes + egress_bytes)
    return True


# --- reading: the control process ------------------------------------------------------------------------------------
cdef bint read_slot(ConsumerCount* slot, ConsumerCount* copy) noexcept nogil:
    """A slot as it was at one moment. False: nobody's."""
    cdef uint32_t _attempt
    for _attempt in range(MOST_READS):
        copy.version = load_acquire(&slot.version)
        if copy.version == 0 or copy.version & 1:
            return False
        copy.consumer_hash = load_acquire(&slot.consumer_hash)
        copy.route_hash = load_acquire(&slot.route_hash)
        copy.outcome = load_acquire(&slot.outcome)
        copy.requests = load_acquire(&slot.requests)
        copy.ingress_bytes = load_acquire(&slot.ingress_bytes)
        copy.egress_bytes = load_acquire(&slot.egress_bytes)
        fence_ordered()
        if load_acquire(&slot.version) == copy.version:
            return True
    return False


def any_consumer_counts(SharedState shared not None) -> bool:
    """Whether a worker has counted anything by consumer."""
    return any(load_acquire(&shared_worker(shared.base, <uint32_t> index).consumers.used) != 0
               for index in range(shared_control(shared.base).worker_limit))


def read_consumer_counts(SharedState shared not None, consumers, routes) -> dict:
    """What the workers together have counted by consumer: {(route's hash, consumer's hash, status, source): (requests,
    bytes received, bytes sent)}.

    `consumers` and `routes` are containers of the hashes of those that exist. What belongs to others is left out, and
    its slots may be used for something else from now on. Control process only.
    """
    cdef ConsumerTable* table
    cdef ConsumerCount* slot
    cdef ConsumerCount copy
    cdef uint32_t at
    found = {}
    for index in range(shared_control(shared.base).worker_limit):
        table = &shared_worker(shared.base, <uint32_t> index).consumers
        if load_acquire(&table.used) == 0:
            continue                                     # looking at the slots would make pages of them
        for at in range(CONSUMER_SLOTS):
            slot = &table.slots[at]
            if not read_slot(slot, &copy):
                continue
            if copy.consumer_hash not in consumers or copy.route_hash not in routes:
                store_release(&slot.retired, copy.version)
                continue
            if load_acquire(&slot.retired) == copy.version:
                store_release(&slot.retired, 0)            # it is there again
            key = (copy.route_hash, copy.consumer_hash, copy.outcome >> 1, copy.outcome & 1)
            requests, ingress, egress = found.get(key, (0, 0, 0))
            found[key] = (requests + copy.requests, ingress + copy.ingress_bytes, egress + copy.egress_bytes)
    return found


def consumer_overflows(SharedState shared not None) -> int:
    """Requests whose consumer found no slot, of all workers."""
    total = 0
    for index in range(shared_control(shared.base).worker_limit):
        total += load_acquire(&shared_worker(shared.base, <uint32_t> index).consumers.overflows)
    return total


def count_consumer(SharedState shared not None, uint32_t worker, *, uint64_t consumer, uint64_t route, uint32_t status,
                   uint32_t source=0, uint64_t ingress=0, uint64_t egress=0) -> bool:
    """Count a request as the worker with this index would. For tests of the readers."""
    if worker >= shared_control(shared.base).worker_limit:
        raise IndexError(f"no worker block {worker}")
    return count_by_consumer(
        &shared_worker(shared.base, worker).consumers, consumer, route, status, source, ingress, egress)

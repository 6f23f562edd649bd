from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from posix.unistd cimport write

# Who waits sets its bit and looks at the leader again; who has led takes itself away and then the bits: in this order,
# seen the same by all, nobody is forgotten.
from native.atomics cimport exchange_ordered, load_ordered, or_ordered, replace_ordered, store_ordered
from native.connection cimport EXCHANGE_PARKED
from native.loop cimport timer_clear, timer_set
from native.shm cimport FLIGHT_SIZE, FLIGHT_SLOTS, ControlWords, shared_worker, worker_lives

cdef enum:
    WAITER_WORDS = 4             # bits for MAX_WORKERS
    TAG_BITS = 24
    LOOK_EVERY_MS = 500          # that the leader still lives
    TRIES = 8

# Who leads, in one word: tag of what is fetched, index of the worker + 1 … see lead_word(). 0: nobody.
ctypedef struct Flight:
    uint64_t lead
    uint64_t barred              # until when (ms) nobody need wait, and the tag of what for
    uint64_t waiters[WAITER_WORDS]   # workers to wake, by bits
    uint64_t reserved[2]

assert sizeof(Flight) == FLIGHT_SIZE

ctypedef struct Waiting:
    Exchange* first              # that wait
    uint64_t number              # of the last flight that this worker led
    Exchange* over               # whose flight is over, and that are yet to be resumed


cdef inline Waiting* waiting_of(Worker* worker) noexcept nogil:
    return <Waiting*> worker.flights


cdef inline Flight* flight_of(Worker* worker, uint64_t hash) noexcept nogil:
    return <Flight*> (<uint8_t*> worker.control + worker.control.flights_offset) + (hash & (FLIGHT_SLOTS - 1))


cdef inline uint64_t tag_of(uint64_t hash) noexcept nogil:
    """The part of the hash that does not choose the place; not 0."""
    return ((hash >> (64 - TAG_BITS)) | 1) & ((1 << TAG_BITS) - 1)


cdef inline uint64_t lead_word(Worker* worker, uint64_t hash, uint64_t number) noexcept nogil:
    """Number of the flight (16 bits: the next one of the same worker is another one), start number of the worker's
    process (16), its index (8), tag (24)."""
    return (number & 0xffff) << 48 | (worker.block.starts & 0xffff) << 32 | <uint64_t> worker.index << TAG_BITS \
        | tag_of(hash)


cdef inline bint leader_lives(ControlWords* control, uint64_t lead) noexcept nogil:
    cdef uint32_t index = <uint32_t> (lead >> TAG_BITS) & 0xff
    cdef uint64_t starts
    if index >= control.worker_limit:
        return False
    starts = shared_worker(control, index).starts
    return starts & 0xffff == (lead >> 32) & 0xffff and worker_lives(control, index, starts)


# --- who waits in this worker ----------------------------------------------------------------------------------------
cdef bint flights_init(Worker* worker) noexcept nogil:
    worker.flights = calloc(1, sizeof(Waiting))
    return worker.flights != NULL


cdef void flights_clear(Worker* worker) noexcept nogil:
    free(worker.flights)
    worker.flights = NULL


cdef void link_waiting(Exchange** first, Exchange* exchange) noexcept nogil:
    exchange.previous_waiting = NULL
    exchange.next_waiting = first[0]
    if first[0] != NULL:
        first[0].previous_waiting = exchange
    first[0] = exchange


cdef void unlink_waiting(Exchange** first, Exchange* exchange) noexcept nogil:
    if exchange.previous_waiting != NULL:
        exchange.previous_waiting.next_waiting = exchange.next_waiting
    else:
        first[0] = exchange.next_waiting
    if exchange.next_waiting != NULL:
        exchange.next_waiting.previous_waiting = exchange.previous_waiting


cdef void set_look(Exchange* exchange) noexcept nogil:
    """The next time to look whether the leader lives, or the end of the waiting."""
    cdef uint64_t look = exchange.worker.loop.now_ms + LOOK_EVERY_MS
    timer_set(&exchange.worker.loop, &exchange.client.endpoint.timer,
              look if look < exchange.flight_deadline_ms else exchange.flight_deadline_ms)


cdef void end_waiting(Exchange* exchange) noexcept nogil:
    exchange.flight = 0
    exchange.flags &= ~<uint32_t> EXCHANGE_PARKED
    timer_clear(&exchange.client.endpoint.timer)


cdef void flight_leave(Exchange* exchange) noexcept nogil:
    cdef Waiting* waiting = waiting_of(exchange.worker)
    unlink_waiting(&waiting.over if exchange.woken else &waiting.first, exchange)
    end_waiting(exchange)


cdef inline bint is_over(Exchange* exchange) noexcept nogil:
    cdef uint64_t lead = load_ordered(&flight_of(exchange.worker, exchange.flight).lead)
    return lead != exchange.flight_lead or not leader_lives(exchange.worker.control, lead)


cdef void flight_expired(Exchange* exchange) noexcept nogil:
    if exchange.worker.loop.now_ms < exchange.flight_deadline_ms and not is_over(exchange):
        set_look(exchange)
        return
    flight_leave(exchange)
    exchange.woken = 1
    exchange.worker.resume_exchange(exchange)


cdef void flights_collect(Worker* worker) noexcept nogil:
    """In two steps: who is resumed may begin to wait again, or make others go away."""
    cdef Waiting* waiting = waiting_of(worker)
    cdef Exchange* exchange = waiting.first
    cdef Exchange* following
    while exchange != NULL:
        following = exchange.next_waiting
        if is_over(exchange):
            unlink_waiting(&waiting.first, exchange)
            link_waiting(&waiting.over, exchange)
            exchange.woken = 1
        exchange = following
    while waiting.over != NULL:
        exchange = waiting.over
        unlink_waiting(&waiting.over, exchange)
        end_waiting(exchange)
        worker.resume_exchange(exchange)


# --- flights ---------------------------------------------------------------------------------------------------------
cdef bint is_barred(Flight* flight, uint64_t hash, uint64_t now_ms) noexcept nogil:
    cdef uint64_t barred = load_ordered(&flight.barred)
    return barred & ((1 << TAG_BITS) - 1) == tag_of(hash) and barred >> TAG_BITS > now_ms


cdef FlightRole flight_join(Exchange* exchange, uint64_t hash, uint64_t deadline_ms) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef Flight* flight = flight_of(worker, hash)
    cdef uint64_t lead
    cdef int _try
    if is_barred(flight, hash, worker.loop.now_ms):
        return FLIGHT_ALONE
    for _try in range(TRIES):
        lead = load_ordered(&flight.lead)
        if lead == 0 or not leader_lives(worker.control, lead):
            waiting_of(worker).number += 1
            if replace_ordered(&flight.lead, lead, lead_word(worker, hash, waiting_of(worker).number)):
                return FLIGHT_LEADS
            continue
        if lead & ((1 << TAG_BITS) - 1) != tag_of(hash):
            return FLIGHT_ALONE                          # something else is fetched by the place
        if worker.loop.now_ms >= deadline_ms:
            return FLIGHT_ALONE
        or_ordered(&flight.waiters[worker.index // 64], <uint64_t> 1 << (worker.index % 64))
        if load_ordered(&flight.lead) != lead:
            continue
        exchange.flight = hash
        exchange.flight_lead = lead
        exchange.flight_deadline_ms = deadline_ms
        exchange.flags |= EXCHANGE_PARKED
        link_waiting(&waiting_of(worker).first, exchange)
        set_look(exchange)
        return FLIGHT_WAITS
    return FLIGHT_ALONE


cdef void wake_workers(Worker* worker, uint64_t bits, uint32_t first) noexcept nogil:
    cdef uint64_t one = 1
    cdef uint32_t index
    for index in range(64):
        if bits >> index & 1 and first + index < worker.loop_fd_count:
            if write(worker.loop_fds[first + index], &one, 8) < 0:
                pass                                     # its counter is full: it wakes up all the same


cdef void flight_end(Worker* worker, uint64_t hash, uint32_t barred_ms) noexcept nogil:
    cdef Flight* flight = flight_of(worker, hash)
    cdef uint64_t lead = load_ordered(&flight.lead)
    cdef uint64_t bits
    cdef uint32_t word
    if barred_ms:
        store_ordered(&flight.barred, (worker.loop.now_ms + barred_ms) << TAG_BITS | tag_of(hash))
    if lead << 16 != lead_word(worker, hash, 0) << 16 or not replace_ordered(&flight.lead, lead, 0):
        return
    for word in range(WAITER_WORDS):
        if load_ordered(&flight.waiters[word]):
            bits = exchange_ordered(&flight.waiters[word], 0)
            wake_workers(worker, bits, 64 * word)

"""See rendezvous.pxd."""

from libc.stdlib cimport free, malloc


cdef void fill_slot_table(const uint64_t* identities, const double* weights, uint32_t count,
                          uint16_t* winners, uint32_t slots) noexcept nogil:
    cdef uint64_t seed
    cdef uint32_t slot, index, winner
    cdef double draw, cost, lowest
    for slot in range(slots):
        seed = slot_seed(slot)
        winner = 0
        lowest = draw_cost(slot_draw(seed, identities[0]), weights[0])
        for index in range(1, count):
            draw = slot_draw(seed, identities[index])
            if not draw_may_win(draw, weights[index], lowest):
                continue
            cost = draw_cost(draw, weights[index])
            if cost < lowest:
                lowest, winner = cost, index
        winners[slot] = <uint16_t> winner


def slot_table(object candidates, uint32_t slots) -> bytes:
    """The winner of every slot as uint16, its place in `candidates`: (identity, weight above 0) each, 1 to 65535."""
    cdef uint32_t count = <uint32_t> len(candidates)
    cdef uint32_t index
    cdef uint64_t* identities = NULL
    cdef double* weights = NULL
    if not 0 < len(candidates) <= 0xffff:
        raise ValueError("a table has between 1 and 65535 candidates")
    table = bytearray(slots * sizeof(uint16_t))
    cdef uint16_t[::1] winners = memoryview(table).cast("H")
    try:
        identities = <uint64_t*> malloc(count * sizeof(uint64_t))
        weights = <double*> malloc(count * sizeof(double))
        if identities == NULL or weights == NULL:
            raise MemoryError
        for index in range(count):
            identity, weight = candidates[index]
            if not weight > 0:
                raise ValueError("a candidate has a weight above 0")
            identities[index], weights[index] = identity, weight
        if slots:
            with nogil:
                fill_slot_table(identities, weights, count, &winners[0], slots)
    finally:
        free(identities)
        free(weights)
    return bytes(table)

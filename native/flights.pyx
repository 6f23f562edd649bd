"""See flights.pxd."""


cdef bint flights_init(Worker* worker) noexcept nogil:
    return True


cdef void flights_clear(Worker* worker) noexcept nogil:
    pass


cdef FlightRole flight_join(Exchange* exchange, uint64_t hash, uint64_t deadline_ms) noexcept nogil:
    return FLIGHT_ALONE


cdef void flight_end(Worker* worker, uint64_t hash, uint32_t barred_ms) noexcept nogil:
    pass


cdef void flight_leave(Exchange* exchange) noexcept nogil:
    pass


cdef void flights_collect(Worker* worker) noexcept nogil:
    pass

"""See caching.pxd."""

from native.plan cimport STEP_CONTINUE


cdef int cache_received(Exchange* exchange) noexcept nogil:
    return STEP_CONTINUE


cdef void cache_body(Exchange* exchange, const void* data, uint64_t length) noexcept nogil:
    pass


cdef void cache_complete(Exchange* exchange) noexcept nogil:
    pass


cdef int cache_failed(Exchange* exchange, uint32_t status) noexcept nogil:
    return STEP_CONTINUE


cdef void cache_abandon(Exchange* exchange, bint finally_) noexcept nogil:
    pass

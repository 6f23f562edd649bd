"""See stored_response.pxd."""

from native.plan cimport STEP_CONTINUE


cdef bint store_fields(Exchange* exchange, Filling* filling, EntryHead* head, bint with_cookies) noexcept nogil:
    return False


cdef int respond_stored(Exchange* exchange, StoredEntry* entry, uint32_t status, uint64_t offset,
                        uint64_t length) noexcept nogil:
    return STEP_CONTINUE


cdef bint stored_field(Exchange* exchange, const StoredEntry* entry, const char* name, uint32_t name_length,
                       Text* value) noexcept nogil:
    return False


cdef bint build_stored_answer(Exchange* exchange) noexcept nogil:
    return False


cdef void release_stored(Exchange* exchange) noexcept nogil:
    pass

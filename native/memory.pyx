from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef extern from *:
    # set by setup.py: with the sanitizers nothing is recycled, so that they see every use after it was given back
    const bint GATEWAY_SANITIZED

cdef size_t BUFFER_HEAD = sizeof(Buffer) - 8


cdef Buffer* buffer_take(BufferStock* stock, uint32_t capacity) noexcept nogil:
    cdef Buffer* buffer
    if GATEWAY_SANITIZED:
        buffer = NULL
        if capacity <= LARGE_BUFFER:
            capacity = SMALL_BUFFER if capacity <= SMALL_BUFFER else LARGE_BUFFER
    elif capacity <= SMALL_BUFFER:
        buffer = stock.small
        if buffer != NULL:
            stock.small = buffer.next
            stock.small_free -= 1
        capacity = SMALL_BUFFER
    elif capacity <= LARGE_BUFFER:
        buffer = stock.large
        if buffer != NULL:
            stock.large = buffer.next
            stock.large_free -= 1
        capacity = LARGE_BUFFER
    else:
        buffer = NULL
    if buffer == NULL:
        buffer = <Buffer*> malloc(BUFFER_HEAD + capacity)
        if buffer == NULL:
            return NULL
        buffer.capacity = capacity
    buffer.next = NULL
    buffer.start = 0
    buffer.end = 0
    buffer.overflow = 0
    stock.in_use += 1
    return buffer


cdef void buffer_give(BufferStock* stock, Buffer* buffer) noexcept nogil:
    if buffer == NULL:
        return
    stock.in_use -= 1
    if GATEWAY_SANITIZED:
        free(buffer)
    elif buffer.capacity == SMALL_BUFFER and stock.small_free < SMALL_BUFFERS_KEPT:
        buffer.next = stock.small
        stock.small = buffer
        stock.small_free += 1
    elif buffer.capacity == LARGE_BUFFER and stock.large_free < LARGE_BUFFERS_KEPT:
        buffer.next = stock.large
        stock.large = buffer
        stock.large_free += 1
    else:
        free(buffer)


cdef void buffer_stock_clear(BufferStock* stock) noexcept nogil:
    cdef Buffer* buffer
    while stock.small != NULL:
        buffer = stock.small
        stock.small = buffer.next
        free(buffer)
    while stock.large != NULL:
        buffer = stock.large
        stock.large = buffer.next
        free(buffer)
    stock.small_free = 0
    stock.large_free = 0


cdef void slab_init(Slab* slab, size_t record_size, uint32_t records_per_chunk) noexcept nogil:
    slab.free = NULL
    slab.chunks = NULL
    slab.record_size = (record_size + 63) & ~(<size_t> 63)
    slab.records_per_chunk = records_per_chunk
    slab.in_use = 0


cdef void* slab_take(Slab* slab) noexcept nogil:
    cdef SlabChunk* chunk
    cdef SlabRecord* record
    cdef uint8_t* place
    cdef uint32_t i
    if GATEWAY_SANITIZED:
        record = <SlabRecord*> malloc(slab.record_size)
        if record != NULL:
            memset(record, 0xa5, slab.record_size)
            slab.in_use += 1
        return record
    if slab.free == NULL:
        chunk = <SlabChunk*> malloc(64 + slab.record_size * slab.records_per_chunk)
        if chunk == NULL:
            return NULL
        chunk.next = slab.chunks
        slab.chunks = chunk
        place = <uint8_t*> chunk + 64
        for i in range(slab.records_per_chunk):
            record = <SlabRecord*> (place + i * slab.record_size)
            record.next = slab.free
            slab.free = record
    record = slab.free
    slab.free = record.next
    slab.in_use += 1
    return record


cdef void slab_give(Slab* slab, void* record) noexcept nogil:
    slab.in_use -= 1
    if GATEWAY_SANITIZED:
        free(record)
        return
    (<SlabRecord*> record).next = slab.free
    slab.free = <SlabRecord*> record


cdef void slab_clear(Slab* slab) noexcept nogil:
    cdef SlabChunk* chunk
    while slab.chunks != NULL:
        chunk = slab.chunks
        slab.chunks = chunk.next
        free(chunk)
    slab.free = NULL

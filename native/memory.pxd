"""Per-worker memory: byte buffers in two sizes and slabs of equal records, both recycled through free lists.

One thread only (the loop thread). In the steady state nothing here calls malloc or free.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

cdef enum:
    SMALL_BUFFER = 8192          # holds nearly every head and small message whole
    LARGE_BUFFER = 69632         # 64 KiB of body and a head, or framing around 64 KiB
    SMALL_BUFFERS_KEPT = 4096    # free buffers kept for reuse; more go back to the heap
    LARGE_BUFFERS_KEPT = 256

# Bytes in [start, end) are unread; the producer appends at `end`.
ctypedef struct Buffer:
    Buffer* next                 # in a free list
    uint32_t capacity
    uint32_t start
    uint32_t end
    uint32_t overflow            # an append did not fit (text.pxd)
    uint8_t data[1]              # capacity bytes

ctypedef struct BufferStock:
    Buffer* small
    Buffer* large
    uint32_t small_free, large_free
    uint64_t in_use              # buffers handed out

# An empty buffer of at least `capacity` bytes, or NULL when memory is out.
cdef Buffer* buffer_take(BufferStock* stock, uint32_t capacity) noexcept nogil
# Give a buffer back; NULL is allowed.
cdef void buffer_give(BufferStock* stock, Buffer* buffer) noexcept nogil
cdef void buffer_stock_clear(BufferStock* stock) noexcept nogil

cdef inline uint32_t buffer_length(const Buffer* buffer) noexcept nogil:
    return buffer.end - buffer.start

cdef inline uint32_t buffer_room(const Buffer* buffer) noexcept nogil:
    return buffer.capacity - buffer.end

# Equal-sized records. A record's first pointer is overwritten while it lies in the free list.
ctypedef struct SlabRecord:
    SlabRecord* next

ctypedef struct SlabChunk:
    SlabChunk* next

ctypedef struct Slab:
    SlabRecord* free
    SlabChunk* chunks
    size_t record_size
    uint32_t records_per_chunk
    uint64_t in_use

cdef void slab_init(Slab* slab, size_t record_size, uint32_t records_per_chunk) noexcept nogil
# A record with undefined content, or NULL when memory is out.
cdef void* slab_take(Slab* slab) noexcept nogil
cdef void slab_give(Slab* slab, void* record) noexcept nogil
cdef void slab_clear(Slab* slab) noexcept nogil

"""Bytes in and out of a connection, whatever carries them: the only place that reads from or writes to one.

The functions take the Endpoint and keep its `readable` and `writable`, so that callers never conclude from a byte count
what the kernel still holds. TLS will hang its state on the Endpoint and be chosen here.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from native.loop cimport Endpoint
from native.sockets cimport iovec

# Bytes received, 0 at the end of the stream, or -errno; -EAGAIN when there is nothing for now.
cdef int64_t stream_receive(Endpoint* endpoint, uint8_t* data, uint32_t room) noexcept nogil
# Bytes taken, or -errno; -EAGAIN when nothing is taken for now. After a short count the endpoint is not writable.
cdef int64_t stream_send(Endpoint* endpoint, const void* data, uint32_t length) noexcept nogil
# The same for one to four pieces in one system call.
cdef int64_t stream_send_pieces(Endpoint* endpoint, const iovec* pieces, int count) noexcept nogil
# True when nothing waits to be received, the end of the stream included.
cdef bint stream_is_quiet(Endpoint* endpoint) noexcept nogil
# No more sending: the peer sees the end of the stream.
cdef void stream_end_sending(Endpoint* endpoint) noexcept nogil

from libc.errno cimport EAGAIN

from native.sockets cimport end_sending, is_quiet, receive, transmit, transmit_pieces


cdef int64_t stream_receive(Endpoint* endpoint, uint8_t* data, uint32_t room) noexcept nogil:
    cdef int64_t count = receive(endpoint.fd, data, room)
    if count == -EAGAIN:
        endpoint.readable = 0
    elif count > 0 and <uint32_t> count < room and not (endpoint.peer_closed or endpoint.failed):
        # a short read means that the socket is empty, unless the end of the stream is still to be read
        endpoint.readable = 0
    return count


cdef int64_t stream_send(Endpoint* endpoint, const void* data, uint32_t length) noexcept nogil:
    cdef int64_t count = transmit(endpoint.fd, data, length)
    if count == -EAGAIN or 0 <= count < length:
        endpoint.writable = 0
    elif count < 0:
        endpoint.failed = 1
    return count


cdef int64_t stream_send_pieces(Endpoint* endpoint, const iovec* pieces, int count) noexcept nogil:
    cdef int64_t sent
    cdef int64_t wanted = 0
    cdef int i
    if count == 1:
        return stream_send(endpoint, pieces[0].iov_base, <uint32_t> pieces[0].iov_len)
    for i in range(count):
        wanted += <int64_t> pieces[i].iov_len
    sent = transmit_pieces(endpoint.fd, pieces, count)
    if sent == -EAGAIN or 0 <= sent < wanted:
        endpoint.writable = 0
    elif sent < 0:
        endpoint.failed = 1
    return sent


cdef bint stream_is_quiet(Endpoint* endpoint) noexcept nogil:
    return is_quiet(endpoint.fd)


cdef void stream_end_sending(Endpoint* endpoint) noexcept nogil:
    end_sending(endpoint.fd)

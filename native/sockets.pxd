"""The system calls on sockets, with errno folded into the result: n >= 0, or -errno. EINTR is retried."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

# Bytes received (0: end of stream), or -errno (-EAGAIN: nothing there).
cdef int64_t receive(int fd, uint8_t* data, uint32_t room) noexcept nogil
# Bytes taken by the kernel, or -errno. Never raises SIGPIPE.
cdef int64_t transmit(int fd, const void* data, uint32_t length) noexcept nogil
# Same, for up to four pieces.
cdef int64_t transmit_pieces(int fd, const iovec* pieces, int count) noexcept nogil
# True when the stream still stands: nothing received and no end of stream waiting.
cdef bint is_quiet(int fd) noexcept nogil
# A non-blocking connection to an address, with Nagle's algorithm off. Returns the descriptor or -errno; `pending` is
# set while the handshake goes on.
cdef int connect_to(uint8_t family, const uint8_t* address, uint16_t port, bint* pending) noexcept nogil
# Accept one connection (non-blocking, close-on-exec) and its peer's address (IPv4-mapped IPv6 becomes IPv4; family 0
# for a unix socket). Returns the descriptor or -errno.
cdef int accept_from(int listener, uint8_t* family, uint8_t* address, uint16_t* port) noexcept nogil
# The pending error of a socket (SO_ERROR), 0 when there is none.
cdef int socket_error(int fd) noexcept nogil
cdef void set_no_delay(int fd) noexcept nogil
# Bytes handed to the kernel that the peer has not acknowledged yet.
cdef uint32_t unsent_bytes(int fd) noexcept nogil
# Let close() reset the connection: the kernel drops what the peer has not taken, and what it has taken cannot pass
# for everything.
cdef void close_with_reset(int fd) noexcept nogil
# No more sending on this socket; the peer sees the end of the stream.
cdef void end_sending(int fd) noexcept nogil

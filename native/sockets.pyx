from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.string cimport memcpy, memset
from posix.unistd cimport close

cdef extern from "<sys/socket.h>" nogil:
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct msghdr:
        void* msg_name
        void* msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void* data, size_t length, int flags)
    ssize_t send(int fd, const void* data, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int socket(int domain, int type, int protocol)
    int c_connect "connect" (int fd, const sockaddr* address, uint32_t length)
    int accept4(int fd, sockaddr* address, uint32_t* length, int flags)
    int getsockopt(int fd, int level, int name, void* value, uint32_t* length)
    int setsockopt(int fd, int level, int name, const void* value, uint32_t length)
    int c_shutdown "shutdown" (int fd, int how)
    cdef struct linger_option "linger":
        int l_onoff
        int l_linger
    const int SO_LINGER
    const int AF_INET, AF_INET6, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR
    const int MSG_NOSIGNAL, MSG_PEEK, MSG_DONTWAIT, SHUT_WR

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        unsigned char s6_addr[16]
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t htons(uint16_t number)
    uint16_t ntohs(uint16_t number)
    const int IPPROTO_TCP

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<linux/sockios.h>" nogil:
    const unsigned long SIOCOUTQ

cdef extern from "<netinet/tcp.h>" nogil:
    const int TCP_NODELAY


cdef int64_t receive(int fd, uint8_t* data, uint32_t room) noexcept nogil:
    cdef ssize_t count
    while True:
        count = recv(fd, data, room, 0)
        if count >= 0:
            return count
        if errno != EINTR:
            return -errno


cdef int64_t transmit(int fd, const void* data, uint32_t length) noexcept nogil:
    cdef ssize_t count
    while True:
        count = send(fd, data, length, MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno != EINTR:
            return -errno


cdef int64_t transmit_pieces(int fd, const iovec* pieces, int count) noexcept nogil:
    cdef msghdr message
    cdef ssize_t sent
    memset(&message, 0, sizeof(message))
    message.msg_iov = <void*> pieces
    message.msg_iovlen = count
    while True:
        sent = sendmsg(fd, &message, MSG_NOSIGNAL)
        if sent >= 0:
            return sent
        if errno != EINTR:
            return -errno


cdef bint is_quiet(int fd) noexcept nogil:
    cdef uint8_t byte
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN


cdef void set_no_delay(int fd) noexcept nogil:
    cdef int on = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))


cdef int connect_to(uint8_t family, const uint8_t* address, uint16_t port, bint* pending) noexcept nogil:
    cdef sockaddr_in v4
    cdef sockaddr_in6 v6
    cdef sockaddr* target
    cdef uint32_t length
    cdef int result
    cdef int fd = socket(AF_INET if family == 4 else AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    pending[0] = False
    if fd < 0:
        return -errno
    set_no_delay(fd)
    if family == 4:
        memset(&v4, 0, sizeof(v4))
        v4.sin_family = AF_INET
        v4.sin_port = htons(port)
        memcpy(&v4.sin_addr, address, 4)
        target = <sockaddr*> &v4
        length = sizeof(v4)
    else:
        memset(&v6, 0, sizeof(v6))
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(port)
        memcpy(&v6.sin6_addr, address, 16)
        target = <sockaddr*> &v6
        length = sizeof(v6)
    if c_connect(fd, target, length) == 0:
        return fd
    if errno == EINPROGRESS or errno == EINTR:
        pending[0] = True
        return fd
    result = -errno
    close(fd)
    return result


cdef int accept_from(int listener, uint8_t* family, uint8_t* address, uint16_t* port) noexcept nogil:
    cdef sockaddr_storage peer
    cdef sockaddr_in* v4 = <sockaddr_in*> &peer
    cdef sockaddr_in6* v6 = <sockaddr_in6*> &peer
    cdef uint32_t length = sizeof(peer)
    cdef uint8_t* text
    cdef uint32_t i
    cdef int fd
    peer.ss_family = 0
    while True:
        fd = accept4(listener, <sockaddr*> &peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            break
        if errno != EINTR:
            return -errno
    memset(address, 0, 16)
    port[0] = 0
    family[0] = 0
    if peer.ss_family == AF_INET:
        family[0] = 4
        memcpy(address, &v4.sin_addr, 4)
        port[0] = ntohs(v4.sin_port)
    elif peer.ss_family == AF_INET6:
        text = <uint8_t*> &v6.sin6_addr
        port[0] = ntohs(v6.sin6_port)
        for i in range(10):
            if text[i] != 0:
                break
        else:
            if text[10] == 0xff and text[11] == 0xff:
                family[0] = 4
                memcpy(address, text + 12, 4)
                return fd
        family[0] = 6
        memcpy(address, text, 16)
    return fd


cdef int socket_error(int fd) noexcept nogil:
    cdef int error = 0
    cdef uint32_t length = sizeof(error)
    if getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0:
        return errno
    return error


cdef uint32_t unsent_bytes(int fd) noexcept nogil:
    cdef int count = 0
    if ioctl(fd, SIOCOUTQ, &count) != 0 or count < 0:
        return 0
    return <uint32_t> count


cdef void close_with_reset(int fd) noexcept nogil:
    cdef linger_option option
    option.l_onoff = 1
    option.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof(option))


cdef void end_sending(int fd) noexcept nogil:
    c_shutdown(fd, SHUT_WR)

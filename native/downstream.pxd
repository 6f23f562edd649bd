"""Clients' connections: accepting them, collecting heads, keep-alive, and closing without losing the last bytes sent."""

from libc.stdint cimport uint32_t

from native.connection cimport Downstream, Worker

# Make the worker accept from its listeners.
cdef void start_accepting(Worker* worker) noexcept nogil
# Accept who waits already, then close the listening sockets: who comes later is refused at once, unless another process
# has the socket too and accepts from it.
cdef void close_listeners(Worker* worker) noexcept nogil
# Close now. The exchange, if any, must have been detached before.
cdef void client_close(Downstream* client) noexcept nogil
# A connection without a socket, in the middle of an exchange and otherwise like `client`: for requests that go on without
# one. NULL: memory is out.
cdef Downstream* open_without_socket(Worker* worker, const Downstream* client) noexcept nogil
# Half-close, read what still comes for a while, then close (RFC 9112 §9.6).
cdef void client_linger(Downstream* client) noexcept nogil
cdef void set_client_state(Downstream* client, int state) noexcept nogil
# The exchange of this connection has ended (worker.exchange_finished).
cdef void exchange_finished(Downstream* client) noexcept nogil
# Make sure that client.input has `room` free bytes; what it holds keeps its offset from input.start. False: no memory.
cdef bint ensure_input_room(Downstream* client, uint32_t room) noexcept nogil
cdef void free_closed_clients(Worker* worker) noexcept nogil
# Close the connections on which nothing is going on.
cdef void close_idle_clients(Worker* worker) noexcept nogil

"""The response header X-Sluicegate-Explain: how a request was served, for one that carries the debug token.

    route=<id>; service=<id>; plugins=<name>:<scope>:<id>,…; answered=<who>; target=<address>; tries=<failed tries>

Nothing in it is secret, or text that a client has sent. What does not fit into its room is left out.
"""

from libc.stdint cimport uint32_t

from native.connection cimport Exchange
from native.memory cimport Buffer

# Bytes that put_explain_field() may write; 0 when it writes nothing.
cdef uint32_t explain_room(Exchange* exchange) noexcept nogil
# Append the field when the request carries the token that the settings have.
cdef void put_explain_field(Exchange* exchange, Buffer* out) noexcept nogil

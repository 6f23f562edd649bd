"""Who the client is: the peer's address, or what a trusted proxy says about it (Kong's trusted_ips, real_ip_*)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from native.connection cimport Downstream, Exchange
from native.snapshot cimport SnapshotHeader

# Fill peer_text from the connection's address.
cdef void format_peer(Downstream* client) noexcept nogil
# True when the (IPv4 or IPv6) address lies in one of the snapshot's trusted ranges.
cdef bint address_trusted(const SnapshotHeader* snapshot, uint8_t family, const uint8_t* address) noexcept nogil
# Set client.peer_trusted, exchange.client_text, client_octets, client_family and client_port: the peer, or the address
# named by real_ip_header when the peer is trusted.
cdef void find_client_address(Exchange* exchange) noexcept nogil

"""Sets of IP address ranges: a radix trie of four bits a step, packed into a configuration.

A node tells for each of the sixteen next four bits whether all addresses with them are in the set, or whether a child
knows more. The children of a node lie side by side, so that a bitmap and one number find them: a node is eight bytes,
and ten thousand ranges are some hundred KiB. A lookup takes at most 8 steps for IPv4 and 32 for IPv6.

Ranges within ::ffff:0:0/96 are kept as the IPv4 ranges that they stand for, so that a client that comes as an
IPv4-mapped IPv6 address is found in the ranges of both families.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from native.packed cimport Packer

ctypedef struct RangeNode:
    uint16_t covered             # bit n: all addresses with n as their next four bits are in the set
    uint16_t children            # bit n: a child knows more
    uint32_t first_child         # index of the first of them

# Offsets from the configuration's first byte; 0: no ranges of that family.
ctypedef struct AddressSet:
    uint32_t ipv4_offset
    uint32_t ipv6_offset

# Whether the address (`family` 4 or 6, in network order) lies in one of the ranges. Any other family lies in none.
cdef bint address_in_set(const void* config, const AddressSet* ranges, uint8_t family,
                         const uint8_t* address) noexcept nogil

# Put the trie of "address" and "address/bits" texts into a packed configuration. ValueError: one is neither.
cdef AddressSet pack_addresses(Packer packer, list texts) except *

"""Building and searching tries of address ranges; see address_ranges.pxd."""

import socket

from libc.string cimport memcmp

cdef extern from *:
    int popcount "__builtin_popcount"(unsigned int bits) noexcept nogil

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* source, void* out)
    const int AF_INET, AF_INET6

cdef const char* MAPPED_PREFIX = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
cdef enum:
    MAPPED_LENGTH = 12           # bytes of ::ffff:0:0/96
    MOST_DIGITS = 3              # of a prefix length


# --- searching -------------------------------------------------------------------------------------------------------
cdef inline uint32_t four_bits(const uint8_t* address, uint32_t step) noexcept nogil:
    return address[step >> 1] >> 4 if step & 1 == 0 else address[step >> 1] & 15


cdef bint trie_has(const RangeNode* nodes, const uint8_t* address, uint32_t steps) noexcept nogil:
    cdef const RangeNode* node = nodes
    cdef uint32_t step, bit
    for step in range(steps):
        bit = <uint32_t> 1 << four_bits(address, step)
        if node.covered & bit:
            return True
        if not node.children & bit:
            return False
        node = nodes + node.first_child + popcount(node.children & (bit - 1))
    return False


cdef inline const RangeNode* nodes_at(const void* config, uint32_t offset) noexcept nogil:
    return <const RangeNode*> (<const uint8_t*> config + offset)


cdef bint address_in_set(const void* config, const AddressSet* ranges, uint8_t family,
                         const uint8_t* address) noexcept nogil:
    if family == 4:
        return ranges.ipv4_offset != 0 and trie_has(nodes_at(config, ranges.ipv4_offset), address, 8)
    if family != 6:
        return False
    if ranges.ipv6_offset != 0 and trie_has(nodes_at(config, ranges.ipv6_offset), address, 32):
        return True
    return ranges.ipv4_offset != 0 and memcmp(address, MAPPED_PREFIX, MAPPED_LENGTH) == 0 \
        and trie_has(nodes_at(config, ranges.ipv4_offset), address + MAPPED_LENGTH, 8)


# --- building --------------------------------------------------------------------------------------------------------
cdef object parse_range(str text):
    """(address, number of bits that count), the others zero. ValueError: it is no range."""
    cdef uint8_t address[16]
    host, slash, given = text.partition("/")
    encoded = host.encode("ascii")
    if slash and not (given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS):
        raise ValueError(f"not a range of addresses: {text}")
    cdef int size = 0
    if inet_pton(AF_INET, encoded, address) == 1:
        size = 4
    elif inet_pton(AF_INET6, encoded, address) == 1:
        size = 16
    bits = int(given) if slash else 8 * size
    if size == 0 or bits > 8 * size:
        raise ValueError(f"not a range of addresses: {text}")
    octets = (<char*> address)[:size]
    if size == 16 and bits >= 8 * MAPPED_LENGTH and octets.startswith(MAPPED_PREFIX[:MAPPED_LENGTH]):
        octets = octets[MAPPED_LENGTH:]
        bits -= 8 * MAPPED_LENGTH
    unused = 8 * len(octets) - bits
    return (int.from_bytes(octets, "big") >> unused << unused).to_bytes(len(octets), "big"), bits


cdef list without_nested(ranges):
    """In order of their addresses, and none inside another."""
    cdef list kept = []
    last = None                  # of those that are kept: what all addresses in it begin with
    unused = 0
    for address, bits in sorted(ranges):
        number = int.from_bytes(address, "big")
        if number >> unused == last:
            continue
        unused = 8 * len(address) - bits
        last = number >> unused
        kept.append((address, bits))
    return kept


cdef bytes build_trie(list ranges):
    """Nodes, level by level. `ranges` are in order and disjoint."""
    cdef list level = [(0, len(ranges))], following
    cdef bytes addresses = b"".join([found[0] for found in ranges])
    cdef bytes lengths = bytes([found[1] for found in ranges])
    cdef const uint8_t* address = addresses
    cdef const uint8_t* bits = lengths
    cdef uint32_t width = <uint32_t> (len(addresses) // len(ranges))
    cdef uint32_t step = 0, node_count = 1, low, high, end, number
    cdef bytearray nodes = bytearray()
    cdef RangeNode node
    while level:
        following = []
        for low, high in level:
            node.covered = 0
            node.children = 0
            node.first_child = node_count
            while low < high:
                number = four_bits(address + low * width, step)
                end = low + 1
                if bits[low] <= 4 * (step + 1):
                    node.covered |= <uint16_t> (((1 << (1 << (4 * (step + 1) - bits[low]))) - 1) << number)
                else:
                    while end < high and four_bits(address + end * width, step) == number:
                        end += 1
                    node.children |= <uint16_t> (1 << number)
                    following.append((low, end))
                    node_count += 1
                low = end
            nodes += (<char*> &node)[:sizeof(RangeNode)]
        level = following
        step += 1
    return bytes(nodes)


cdef AddressSet pack_addresses(Packer packer, list texts) except *:
    cdef AddressSet packed
    ranges = {parse_range(text) for text in texts}
    ipv4 = without_nested([found for found in ranges if len(found[0]) == 4])
    ipv6 = without_nested([found for found in ranges if len(found[0]) == 16])
    packed.ipv4_offset = packer.array(build_trie(ipv4)) if ipv4 else 0
    packed.ipv6_offset = packer.array(build_trie(ipv6)) if ipv6 else 0
    return packed


# --- for Python ------------------------------------------------------------------------------------------------------
cdef class AddressRanges:
    """A packed set of ranges, searched by the code of the request path. For tests."""
    cdef bytes packed
    cdef AddressSet ranges

    def __init__(self, list texts):
        packer = Packer(sizeof(AddressSet))
        self.ranges = pack_addresses(packer, texts)
        self.packed = packer.finish(&self.ranges)

    def __contains__(self, str address) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        cdef bytes octets = socket.inet_pton(family, address)
        cdef const uint8_t* start = self.packed
        return address_in_set(start, &self.ranges, 4 if len(octets) == 4 else 6, octets)

    @property
    def size(self) -> int:
        """Bytes of the packed set."""
        return len(self.packed)

"""Writing packed configurations; see packed.pxd."""

from libc.string cimport memcpy

cdef uint32_t ALIGNMENT = 8


cdef class Packer:
    def __cinit__(self, uint32_t struct_size):
        self.struct_size = struct_size
        self.data = bytearray(struct_size)

    cdef PackedText text(self, str text) except *:
        return self.octets(text.encode())

    cdef PackedText octets(self, bytes octets) except *:
        cdef PackedText place
        place.offset = <uint32_t> len(self.data)
        place.length = <uint32_t> len(octets)
        self.data += octets
        self.data.append(0)
        return place

    cdef uint32_t array(self, bytes records) except 0:
        self.data += bytes((ALIGNMENT - len(self.data) % ALIGNMENT) % ALIGNMENT)
        offset = len(self.data)
        self.data += records
        return <uint32_t> offset

    cdef bytes finish(self, const void* config):
        cdef uint8_t* start = self.data
        # the struct was reserved when the packer was made
        memcpy(start, config, self.struct_size)
        return bytes(self.data)

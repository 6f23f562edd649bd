"""Requests counted by route, consumer and outcome: a table of bounded size in each worker's shared memory.

The worker's loop writes it, the control process reads it when it is scraped; neither waits for the other. A slot is
looked for in a short window behind its place, so finding one that is not there costs no more than finding one. A
worker gives a slot to somebody else only after the control process has said that nobody wants its numbers any more
(its consumer or its route is gone): numbers that are shown never fall.
"""

from libc.stdint cimport uint32_t, uint64_t

from native.shm cimport ConsumerTable

cdef enum:
    CONSUMER_WINDOW = 32         # slots that are looked at

# Count a request. False: no slot is free or retired; the caller counts it without its consumer.
cdef bint count_by_consumer(ConsumerTable* table, uint64_t consumer_hash, uint64_t route_hash, uint32_t status,
                            uint32_t source, uint64_t ingress_bytes, uint64_t egress_bytes) noexcept nogil

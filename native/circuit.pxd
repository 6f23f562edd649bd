"""Circuit breakers: what the workers of a node know together of the requests to a service or target that failed.

A circuit is *closed* while requests succeed. After so many failures in a row it is *open*: requests are refused at once.
After a while it is *half open*: a few requests are let through, and what becomes of them closes or opens it again. All of
a circuit's state is one word, changed by compare-and-swap; a worker that is killed leaves nothing behind but probes that
do not come back, which are forgotten after the time that an open circuit stays open.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.shm cimport ControlWords

# One cache line.
ctypedef struct Circuit:
    uint64_t identity            # 0: free; XXH64 of plugin configuration and service or target
    uint64_t state               # see circuit.pyx
    uint64_t opened              # times it opened, ever
    uint64_t refused             # requests, ever
    uint64_t used_ms             # last use
    uint64_t reserved[3]

"""A request that is not served: what the data plane would do with it, found out by the data plane's own functions.

For /explain. Runs in the control process, over the snapshot files that the workers map, with an exchange that has no
connection. Nothing is written anywhere.
"""

from native.connection cimport Exchange, MappedSnapshot, Worker

cdef class DryRun:
    cdef bytes configuration, identities
    cdef MappedSnapshot mapped, mapped_identities
    cdef Worker* worker          # as far as routing looks at it
    cdef int begin(self, Exchange* exchange, bytes head, int family, bytes address) except -1
    cdef dict routed(self, Exchange* exchange)

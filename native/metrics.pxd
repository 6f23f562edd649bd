"""Counting a finished exchange into the worker's shared-memory block."""

from native.connection cimport Exchange

# Requests by route, status and source; bytes; latency histograms. A request without a route counts only in the totals.
cdef void count_exchange(Exchange* exchange) noexcept nogil

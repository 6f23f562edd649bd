"""Counting a finished exchange into the worker's shared-memory block."""

from native.connection cimport Exchange

# Requests by route, status and source; bytes; latency histograms. A request without a route counts only in the totals.
cdef void count_exchange(Exchange* exchange) noexcept nogil
# Before count_exchange: count it with its consumer, too. Nothing without a consumer, or when the table is full.
cdef void count_consumer_of(Exchange* exchange) noexcept nogil

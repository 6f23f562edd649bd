from libc.stdint cimport uint32_t, uint64_t

from native.connection cimport EXCHANGE_BY_CONSUMER, EXCHANGE_LOCAL
from native.consumer_counts cimport count_by_consumer
from native.hashing cimport xxh64
from native.shm cimport (
    BY_CONSUMER,
    CODE_SLOTS,
    KONG_BUCKETS,
    LATENCY_BUCKETS,
    ROUTE_METRIC_SLOTS,
    CodeCount,
    RouteMetrics,
)
from native.snapshot cimport snapshot_text

# Upper bounds in ms, as Kong's prometheus plugin has them (plugins.md).
cdef uint32_t[17] KONG_BOUNDS = [1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000]
cdef uint32_t[13] LATENCY_BOUNDS = [25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000]


cdef inline uint32_t bucket_of(const uint32_t* bounds, uint32_t count, uint64_t value) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if value <= bounds[i]:
            return i
    return count


cdef void count_code(RouteMetrics* metrics, uint32_t status, uint32_t source) noexcept nogil:
    """The pair's slot, taking a free one for a new pair; the last slot gathers what finds none."""
    cdef CodeCount* codes = metrics.codes
    cdef uint32_t i
    for i in range(CODE_SLOTS - 1):
        if codes[i].code == status and codes[i].source == source:
            codes[i].count += 1
            return
        if codes[i].code == 0:
            codes[i].source = source
            codes[i].code = status
            codes[i].count = 1
            return
    codes[CODE_SLOTS - 1].count += 1


cdef inline uint32_t source_of(Exchange* exchange) noexcept nogil:
    return 1 if exchange.flags & EXCHANGE_LOCAL else 0


cdef void count_consumer_of(Exchange* exchange) noexcept nogil:
    if exchange.consumer == NULL or exchange.route == NULL or exchange.status == 0:
        return
    if count_by_consumer(&exchange.worker.block.consumers, exchange.consumer.id_hash,
                         xxh64(snapshot_text(exchange.configuration.base, exchange.route.id),
                               exchange.route.id.length, 0),
                         exchange.status, source_of(exchange), exchange.request_bytes, exchange.response_bytes):
        exchange.flags |= EXCHANGE_BY_CONSUMER


cdef void count_exchange(Exchange* exchange) noexcept nogil:
    cdef uint64_t now = exchange.worker.loop.now_ms
    cdef uint64_t total = now - exchange.started_ms
    cdef uint64_t upstream = 0
    cdef uint64_t gateway
    cdef RouteMetrics* metrics
    cdef uint32_t slot
    exchange.worker.block.requests_total += 1
    if exchange.route == NULL or exchange.status == 0:
        return
    slot = exchange.route.metrics_slot
    if slot >= ROUTE_METRIC_SLOTS:
        slot = 0
    metrics = &exchange.worker.block.routes[slot]
    if exchange.flags & EXCHANGE_BY_CONSUMER:
        metrics.consumer_ingress_bytes += exchange.request_bytes
        metrics.consumer_egress_bytes += exchange.response_bytes
        count_code(metrics, exchange.status, BY_CONSUMER + source_of(exchange))
    else:
        metrics.ingress_bytes += exchange.request_bytes
        metrics.egress_bytes += exchange.response_bytes
        count_code(metrics, exchange.status, source_of(exchange))
    if exchange.head_received_ms:
        upstream = exchange.head_received_ms - exchange.balanced_ms
        metrics.upstream_latency[bucket_of(LATENCY_BOUNDS, LATENCY_BUCKETS - 1, upstream)] += 1
        metrics.upstream_latency_sum_ms += upstream
        gateway = exchange.balanced_ms - exchange.started_ms
    else:
        gateway = total
    metrics.kong_latency[bucket_of(KONG_BOUNDS, KONG_BUCKETS - 1, gateway)] += 1
    metrics.kong_latency_sum_ms += gateway
    metrics.request_latency[bucket_of(LATENCY_BOUNDS, LATENCY_BUCKETS - 1, total)] += 1
    metrics.request_latency_sum_ms += total

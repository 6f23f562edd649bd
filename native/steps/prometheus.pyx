"""prometheus: requests are counted by consumer (gateway/plugins/prometheus.py). By route they are in any case."""

from libc.stdint cimport uint32_t

from native.connection cimport Exchange
from native.metrics cimport count_consumer_of
from native.packed cimport Packer
from native.plan cimport StepFunctions, register_step, step_config
from native.snapshot cimport PluginRecord

ctypedef struct PrometheusConfig:
    uint32_t per_consumer


def pack_config(*, bint per_consumer) -> bytes:
    cdef PrometheusConfig config
    config.per_consumer = per_consumer
    return Packer(sizeof(PrometheusConfig)).finish(&config)


cdef void log(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    if (<const PrometheusConfig*> step_config(exchange, plugin)).per_consumer:
        count_consumer_of(exchange)


cdef StepFunctions functions
functions.log = log
register_step("prometheus", functions)

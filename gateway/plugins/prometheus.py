"""prometheus: which metrics of requests are counted and shown under /metrics."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.fields import Boolean
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition

from ._fields import ANY_PROTOCOL


class PrometheusConfig(Record, frozen=True, kw_only=True):
    """What is counted."""

    per_consumer: Annotated[bool | None, Boolean("Whether metrics tell the consumer.")] = False
    status_code_metrics: Annotated[bool | None, Boolean("Requests by status.")] = False
    ai_metrics: Annotated[bool | None, Boolean("Requests to language models; there are none.")] = False
    latency_metrics: Annotated[bool | None, Boolean("Latencies.")] = False
    bandwidth_metrics: Annotated[bool | None, Boolean("Bytes.")] = False
    upstream_health_metrics: Annotated[bool | None, Boolean("The health of targets.")] = False
    legacy_metrics: Annotated[
        bool | None,
        Boolean("Whether metrics are shown under their names of Kong 2, too; none: yes.", extension=True),
    ] = None


PLUGIN = PluginDefinition("prometheus", PrometheusConfig, priority=13, allowed_protocols=ANY_PROTOCOL)

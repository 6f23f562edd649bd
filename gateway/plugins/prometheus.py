"""prometheus: which metrics of requests stand on the metrics page, and whether they tell the consumer.

Workers count every request of a route anyway (native/metrics.pyx). A configuration of this plugin says what
is shown of the routes it applies to (gateway/telemetry/shown.py); only counting by consumer is work of its
own, done by the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gateway.entities.fields import Boolean
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition

from ._fields import ANY_PROTOCOL

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

SWITCHES = "; where none of the three kinds of metrics of requests is switched on, all are shown"


class PrometheusConfig(Record, frozen=True, kw_only=True):
    """What is shown."""

    per_consumer: Annotated[
        bool | None, Boolean("Whether requests and bytes are counted by consumer, too.")
    ] = False
    status_code_metrics: Annotated[bool | None, Boolean(f"Requests by status{SWITCHES}.")] = False
    ai_metrics: Annotated[bool | None, Boolean("Requests to language models; there are none.")] = False
    latency_metrics: Annotated[bool | None, Boolean(f"Latencies{SWITCHES}.")] = False
    bandwidth_metrics: Annotated[bool | None, Boolean(f"Bytes{SWITCHES}.")] = False
    upstream_health_metrics: Annotated[bool | None, Boolean("The health of targets.")] = False
    legacy_metrics: Annotated[
        bool | None,
        Boolean(
            "Whether what is shown stands there under its names of Kong 2, too. Without a value it does "
            "unless a kind of metrics is switched on, which is Kong 3's way.",
            extension=True,
        ),
    ] = None


def pack(config: PrometheusConfig, _plugin: Plugin) -> bytes:
    """What the step needs to know."""
    from native.steps.prometheus import pack_config

    return pack_config(per_consumer=bool(config.per_consumer))


PLUGIN = PluginDefinition(
    "prometheus", PrometheusConfig, priority=13, allowed_protocols=ANY_PROTOCOL, pack=pack
)

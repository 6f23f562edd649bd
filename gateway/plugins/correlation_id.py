"""correlation-id: every request has a header by which it can be found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gateway.entities.fields import Boolean, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import header_name_problem
from gateway.plugins import PluginDefinition
from native.steps import correlation_id

from ._fields import ANY_PROTOCOL

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

HEADER_NAME = "Kong-Request-ID"
GENERATORS = ("uuid", "uuid#counter", "tracker")


class CorrelationIdConfig(Record, frozen=True, kw_only=True):
    """The header, and how its value is made."""

    header_name: Annotated[str | None, Text("The name of the header.", rule=header_name_problem)] = (
        HEADER_NAME
    )
    generator: Annotated[
        str, Text("How values are made for requests without one.", required=True, one_of=GENERATORS)
    ] = "uuid#counter"
    echo_downstream: Annotated[bool, Boolean("Whether the client is told the value, too.", required=True)] = (
        False
    )


def pack(config: CorrelationIdConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/correlation_id.pyx reads."""
    generators = {
        "uuid": correlation_id.Generator.GENERATE_UUID,
        "uuid#counter": correlation_id.Generator.GENERATE_COUNTER,
        "tracker": correlation_id.Generator.GENERATE_TRACKER,
    }
    return correlation_id.pack_config(
        header=config.header_name or HEADER_NAME,
        generator=generators[config.generator],
        echoes=config.echo_downstream,
    )


PLUGIN = PluginDefinition(
    "correlation-id", CorrelationIdConfig, priority=100001, allowed_protocols=ANY_PROTOCOL, pack=pack
)

"""correlation-id: every request has a header by which it can be found again."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.fields import Boolean, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import header_name_problem
from gateway.plugins import PluginDefinition

from ._fields import ANY_PROTOCOL

GENERATORS = ("uuid", "uuid#counter", "tracker")


class CorrelationIdConfig(Record, frozen=True, kw_only=True):
    """The header, and how its value is made."""

    header_name: Annotated[str | None, Text("The name of the header.", rule=header_name_problem)] = (
        "Kong-Request-ID"
    )
    generator: Annotated[
        str, Text("How values are made for requests without one.", required=True, one_of=GENERATORS)
    ] = "uuid#counter"
    echo_downstream: Annotated[bool, Boolean("Whether the client is told the value, too.", required=True)] = (
        False
    )


PLUGIN = PluginDefinition(
    "correlation-id", CorrelationIdConfig, priority=100001, allowed_protocols=ANY_PROTOCOL
)

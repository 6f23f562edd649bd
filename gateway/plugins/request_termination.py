"""request-termination: requests are answered here."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.fields import Boolean, Integer, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import control_character_problem, header_name_problem
from gateway.plugins import PluginDefinition


class RequestTerminationConfig(Record, frozen=True, kw_only=True):
    """The answer, and which requests get it."""

    status_code: Annotated[int | None, Integer("The status.", between=(100, 599))] = 503
    message: Annotated[str | None, Text("The message, in the form of the gateway's own answers.")] = None
    content_type: Annotated[str | None, Text("The type of `body`.", rule=control_character_problem)] = None
    body: Annotated[str | None, Text("The body, instead of a message.")] = None
    echo: Annotated[bool, Boolean("Whether the answer shows the request.", required=True)] = False
    trigger: Annotated[
        str | None,
        Text(
            "A header or query argument: only requests with it are answered here.", rule=header_name_problem
        ),
    ] = None

    def problem(self) -> str | None:
        """One kind of answer."""
        if self.message and (self.content_type or self.body):
            return "message cannot be used with content_type or body"
        if self.content_type and not self.body:
            return "content_type requires a body"
        if self.echo and (self.content_type or self.body):
            return "echo cannot be used with content_type and body"
        return None


PLUGIN = PluginDefinition("request-termination", RequestTerminationConfig, priority=2)

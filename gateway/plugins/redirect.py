"""redirect: requests are sent elsewhere."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.fields import Boolean, Integer, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import url_problem
from gateway.plugins import PluginDefinition


class RedirectConfig(Record, frozen=True, kw_only=True):
    """Where to, and how."""

    status_code: Annotated[int, Integer("The status of the answer.", required=True, between=(100, 599))] = 301
    location: Annotated[str, Text("The URL to go to.", required=True, rule=url_problem)]
    keep_incoming_path: Annotated[bool | None, Boolean("Whether path and query of the request are kept.")] = (
        False
    )


PLUGIN = PluginDefinition("redirect", RedirectConfig, priority=779)

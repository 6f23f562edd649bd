"""request-size-limiting: requests with large bodies are refused."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.fields import Boolean, Integer, Text
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition

UNITS = ("megabytes", "kilobytes", "bytes")


class RequestSizeLimitingConfig(Record, frozen=True, kw_only=True):
    """How large a body may be."""

    allowed_payload_size: Annotated[int | None, Integer("The limit, in `size_unit`.")] = 128
    size_unit: Annotated[str, Text("The unit of the limit.", required=True, one_of=UNITS)] = "megabytes"
    require_content_length: Annotated[
        bool, Boolean("Whether a request must tell its size (Content-Length).", required=True)
    ] = False


PLUGIN = PluginDefinition("request-size-limiting", RequestSizeLimitingConfig, priority=951)

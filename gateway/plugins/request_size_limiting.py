"""request-size-limiting: requests with large bodies are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gateway.entities.fields import Boolean, Integer, Text
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition
from native.steps import request_size_limiting

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

UNITS = {"megabytes": 1024 * 1024, "kilobytes": 1024, "bytes": 1}
"""Their sizes in bytes."""
DEFAULT_SIZE = 128
NO_LIMIT = 2**63
"""Bytes that no body has."""


class RequestSizeLimitingConfig(Record, frozen=True, kw_only=True):
    """How large a body may be."""

    allowed_payload_size: Annotated[int | None, Integer("The limit, in `size_unit`.")] = DEFAULT_SIZE
    size_unit: Annotated[str, Text("The unit of the limit.", required=True, one_of=tuple(UNITS))] = (
        "megabytes"
    )
    require_content_length: Annotated[
        bool, Boolean("Whether a request must tell its size (Content-Length).", required=True)
    ] = False


def pack(config: RequestSizeLimitingConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/request_size_limiting.pyx reads."""
    size = DEFAULT_SIZE if config.allowed_payload_size is None else max(config.allowed_payload_size, 0)
    return request_size_limiting.pack_config(
        limit=min(size * UNITS[config.size_unit], NO_LIMIT), requires_length=config.require_content_length
    )


PLUGIN = PluginDefinition("request-size-limiting", RequestSizeLimitingConfig, priority=951, pack=pack)

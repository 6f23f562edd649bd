"""redirect: requests are sent elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from gateway.entities.fields import Boolean, Integer, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import status_problem, url_problem
from gateway.plugins import PluginDefinition
from native.steps import redirect

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin


class RedirectConfig(Record, frozen=True, kw_only=True):
    """Where to, and how."""

    status_code: Annotated[
        int, Integer("The status of the answer.", required=True, between=(100, 599), rule=status_problem)
    ] = 301
    location: Annotated[str, Text("The URL to go to.", required=True, rule=url_problem)]
    keep_incoming_path: Annotated[bool | None, Boolean("Whether path and query of the request are kept.")] = (
        False
    )


def pack(config: RedirectConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/redirect.pyx reads."""
    location, fragment = config.location, ""
    if config.keep_incoming_path:
        parts = urlsplit(location)
        location = f"{parts.scheme}://{parts.netloc}"
        fragment = f"#{parts.fragment}" if parts.fragment else ""
    return redirect.pack_config(
        location=location,
        fragment=fragment,
        status=config.status_code,
        keeps_path=bool(config.keep_incoming_path),
    )


PLUGIN = PluginDefinition("redirect", RedirectConfig, priority=779, pack=pack)

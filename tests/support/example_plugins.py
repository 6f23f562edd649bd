"""Plugins to try the loading of plugins with: the real ones come with later issues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from gateway.entities.fields import Anything, Boolean, Errors, Number, Set, Text
from gateway.entities.record import Record, RecordCheck
from gateway.entities.record_checks import add_entity_error
from gateway.plugins import PluginDefinition


class NoConfig(Record, frozen=True, kw_only=True):
    """Nothing to configure."""


class KeyConfig(Record, frozen=True, kw_only=True):
    """A part of key-auth's configuration."""

    realm: Annotated[str | None, Text("The realm.")] = None
    key_names: Annotated[list[str], Set("Names.", required=True, elements=Text("A name."))] = []  # noqa: RUF012


class SomeLimit:
    """rate-limiting's rule that there is a limit."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if all(values.get(name) is None for name in ("minute", "day")):
            add_entity_error(
                errors, "at least one of these fields must be non-empty: 'config.minute', 'config.day'"
            )


class LimitConfig(Record, frozen=True, kw_only=True):
    """A part of rate-limiting's configuration."""

    record_checks: ClassVar[tuple[RecordCheck, ...]] = (SomeLimit(),)

    minute: Annotated[float | None, Number("Requests a minute.", between=(1, 1000))] = None
    day: Annotated[float | None, Number("Requests a day.")] = None


class IdConfig(Record, frozen=True, kw_only=True):
    """A part of correlation-id's configuration."""

    echo_downstream: Annotated[bool | None, Boolean("Whether the client sees the id.")] = None


class TransformerConfig(Record, frozen=True, kw_only=True):
    """A part of response-transformer's configuration."""

    add: Annotated[dict[str, Any] | None, Anything("What is added.")] = None


AUTHENTICATION = frozenset(("route", "service"))

EXAMPLES = (
    PluginDefinition("key-auth", KeyConfig, AUTHENTICATION),
    PluginDefinition("basic-auth", NoConfig, AUTHENTICATION),
    PluginDefinition("rate-limiting", LimitConfig),
    PluginDefinition("correlation-id", IdConfig),
    PluginDefinition("response-transformer", TransformerConfig),
)

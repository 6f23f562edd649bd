"""acl: groups of consumers that may, or may not, use what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gateway.entities.fields import Boolean
from gateway.entities.record import Record
from gateway.entities.record_checks import AtLeastOneOf, OnlyOneOf
from gateway.plugins import PluginDefinition
from native.steps.acl import pack_config

from ._fields import NO_CONSUMER, texts_field

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

LISTS = ("config.allow", "config.deny")


class AclConfig(Record, frozen=True, kw_only=True):
    """One of the two lists."""

    allow: Annotated[list[str] | None, texts_field("Groups that may pass; no others may.", "A group.")] = None
    deny: Annotated[
        list[str] | None, texts_field("Groups that may not pass; all others may.", "A group.")
    ] = None
    hide_groups_header: Annotated[
        bool, Boolean("Whether the upstream is not told the groups of the consumer.", required=True)
    ] = False
    always_use_authenticated_groups: Annotated[
        bool,
        Boolean(
            "Whether groups that an authentication plugin has found count even when there is a consumer.",
            required=True,
        ),
    ] = False


def pack(config: AclConfig, _plugin: Plugin) -> bytes:
    """What the step reads."""
    return pack_config(
        groups=config.deny or config.allow or [],
        denies=bool(config.deny),
        hide_groups=config.hide_groups_header,
        prefers_authenticated=config.always_use_authenticated_groups,
    )


PLUGIN = PluginDefinition(
    "acl", AclConfig, NO_CONSUMER, priority=950, checks=(OnlyOneOf(LISTS), AtLeastOneOf(LISTS)), pack=pack
)

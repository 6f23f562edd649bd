"""basic-auth: consumers are known by a user name and a password (RFC 7617)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from gateway.entities.fields import Text
from gateway.entities.record import Record
from gateway.entities.value_checks import control_character_problem
from gateway.plugins import PluginDefinition
from native.steps.basic_auth import pack_config

from ._authentication import challenge
from ._fields import ANONYMOUS, HIDE_CREDENTIALS, NO_CONSUMER

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin


class BasicAuthConfig(Record, frozen=True, kw_only=True):
    """What becomes of the credential and of requests without one."""

    anonymous: Annotated[str | None, ANONYMOUS] = None
    hide_credentials: Annotated[bool, HIDE_CREDENTIALS] = False
    realm: Annotated[
        str,
        Text("The realm that WWW-Authenticate names.", required=True, rule=control_character_problem),
    ] = "service"


def pack(config: BasicAuthConfig, _plugin: Plugin) -> bytes:
    """What the step reads."""
    return pack_config(
        anonymous=config.anonymous or "",
        challenge=challenge("Basic", config.realm),
        hide_credentials=config.hide_credentials,
    )


PLUGIN = PluginDefinition("basic-auth", BasicAuthConfig, NO_CONSUMER, priority=1100, pack=pack)

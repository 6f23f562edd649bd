"""key-auth: consumers are known by a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Array, Boolean, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import header_name_problem
from gateway.plugins import PluginDefinition
from native.steps.key_auth import pack_config

from ._authentication import challenge
from ._fields import ANONYMOUS, HIDE_CREDENTIALS, NO_CONSUMER, REALM, RUN_ON_PREFLIGHT

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin


class KeyAuthConfig(Record, frozen=True, kw_only=True):
    """Where the key is looked for."""

    key_names: Annotated[
        list[str],
        Array(
            "The names of headers, query arguments and body fields that may hold the key.",
            required=True,
            elements=Text("A name.", rule=header_name_problem),
        ),
    ] = msgspec.field(default_factory=lambda: ["apikey"])
    hide_credentials: Annotated[bool, HIDE_CREDENTIALS] = False
    anonymous: Annotated[str | None, ANONYMOUS] = None
    key_in_header: Annotated[bool, Boolean("Whether a header may hold the key.", required=True)] = True
    key_in_query: Annotated[bool, Boolean("Whether the query may hold the key.", required=True)] = True
    key_in_body: Annotated[bool, Boolean("Whether a form or JSON body may hold the key.", required=True)] = (
        False
    )
    run_on_preflight: Annotated[bool, RUN_ON_PREFLIGHT] = True
    realm: Annotated[str | None, REALM] = None


def pack(config: KeyAuthConfig, _plugin: Plugin) -> bytes:
    """What the step reads."""
    return pack_config(
        key_names=config.key_names,
        anonymous=config.anonymous or "",
        challenge=challenge("Key", config.realm),
        in_header=config.key_in_header,
        in_query=config.key_in_query,
        in_body=config.key_in_body,
        hide_credentials=config.hide_credentials,
        run_on_preflight=config.run_on_preflight,
    )


PLUGIN = PluginDefinition("key-auth", KeyAuthConfig, NO_CONSUMER, priority=1250, pack=pack)

"""hmac-auth: consumers are known by the signature of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Array, Boolean, Number, Text
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition
from native.steps.hmac_auth import pack_config

from ._authentication import challenge
from ._fields import ANONYMOUS, HIDE_CREDENTIALS, NO_CONSUMER, REALM, texts_field

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

CLOCK_SKEW = 300
ALGORITHMS = ("hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512")


class HmacAuthConfig(Record, frozen=True, kw_only=True):
    """What must be signed, and how."""

    hide_credentials: Annotated[bool, HIDE_CREDENTIALS] = False
    clock_skew: Annotated[float | None, Number("Seconds that the date of a request may be off.", gt=0)] = (
        CLOCK_SKEW
    )
    anonymous: Annotated[str | None, ANONYMOUS] = None
    validate_request_body: Annotated[
        bool, Boolean("Whether the body must have the digest that its header tells.", required=True)
    ] = False
    enforce_headers: Annotated[
        list[str] | None, texts_field("Headers that must be signed.", "The name of a header.")
    ] = msgspec.field(default_factory=list)
    algorithms: Annotated[
        list[str] | None,
        Array("Algorithms that may be used.", elements=Text("An algorithm.", one_of=ALGORITHMS)),
    ] = msgspec.field(default_factory=lambda: list(ALGORITHMS))
    realm: Annotated[str | None, REALM] = None


def pack(config: HmacAuthConfig, _plugin: Plugin) -> bytes:
    """What the step reads."""
    return pack_config(
        anonymous=config.anonymous or "",
        challenge=challenge("hmac", config.realm),
        enforced=config.enforce_headers or [],
        algorithms=config.algorithms or list(ALGORITHMS),
        clock_skew=CLOCK_SKEW if config.clock_skew is None else config.clock_skew,
        hide_credentials=config.hide_credentials,
        checks_body=config.validate_request_body,
    )


PLUGIN = PluginDefinition("hmac-auth", HmacAuthConfig, NO_CONSUMER, priority=1030, pack=pack)

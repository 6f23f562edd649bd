"""jwt: consumers are known by a JSON Web Token that they signed (RFC 7519).

native/steps/jwt.pyx finds tokens and knows those that it has seen; `_jwt_handler` verifies the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Boolean, Integer, Number, Set, Text
from gateway.entities.record import Record
from gateway.entities.record_checks import Conditional
from gateway.entities.value_checks import url_problem
from gateway.plugins import PluginDefinition
from gateway.plugins._authentication import challenge as challenge_text
from native.steps.jwt import pack_config

from ._fields import ANONYMOUS, NO_CONSUMER, REALM, RUN_ON_PREFLIGHT, any_piece
from ._jwt_rules import rules_of

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin


class JwtConfig(Record, frozen=True, kw_only=True):
    """Where a token is looked for and what it must tell."""

    uri_param_names: Annotated[
        list[str] | None,
        Set("Query arguments that may hold the token.", elements=Text("A name."), pieces=any_piece),
    ] = msgspec.field(default_factory=lambda: ["jwt"])
    cookie_names: Annotated[
        list[str] | None, Set("Cookies that may hold the token.", elements=Text("A name."), pieces=any_piece)
    ] = msgspec.field(default_factory=list)
    key_claim_name: Annotated[
        str | None, Text("The claim, or header of the token, that names the credential.")
    ] = "iss"
    secret_is_base64: Annotated[bool, Boolean("Whether secrets are written in base64.", required=True)] = (
        False
    )
    claims_to_verify: Annotated[
        list[str] | None,
        Set("Claims that must be there and hold.", elements=Text("A claim.", one_of=("exp", "nbf"))),
    ] = None
    anonymous: Annotated[str | None, ANONYMOUS] = None
    run_on_preflight: Annotated[bool, RUN_ON_PREFLIGHT] = True
    maximum_expiration: Annotated[
        float | None,
        Number("Seconds that a token may still be valid for; 0: any.", between=(0, 31536000)),
    ] = 0
    header_names: Annotated[
        list[str] | None,
        Set("Headers that may hold the token, after `Bearer `.", elements=Text("A name."), pieces=any_piece),
    ] = msgspec.field(default_factory=lambda: ["authorization"])
    realm: Annotated[str | None, REALM] = None
    jwks_uri: Annotated[
        str | None,
        Text(
            "Where the public keys of an issuer are (RFC 7517) that has no credentials here.",
            rule=url_problem,
            extension=True,
        ),
    ] = None
    jwks_cache_ttl: Annotated[
        int | None,
        Integer(
            "Seconds that these keys are kept; none: 300. An unknown `kid` asks for them earlier.",
            between=(1, 86400),
            extension=True,
        ),
    ] = None
    jwks_audiences: Annotated[
        list[str] | None,
        Set(
            "One of these must be in `aud` of tokens that are verified with these keys; none: any.",
            elements=Text("An audience."),
            pieces=any_piece,
            extension=True,
        ),
    ] = None


def pack(config: JwtConfig, _: Plugin) -> bytes:
    """The configuration as its step reads it."""
    rules = rules_of(config)
    challenge = challenge_text("Bearer", config.realm)
    return pack_config(
        rules=rules.digest(),
        header_names=list(config.header_names or ()),
        query_names=list(config.uri_param_names or ()),
        cookie_names=list(config.cookie_names or ()),
        anonymous=config.anonymous or "",
        challenge=challenge,
        challenge_invalid=f'{challenge} error="invalid_token"',
        unknown=f"No credentials found for given '{rules.key_claim}'",
        run_on_preflight=config.run_on_preflight,
        key_set=rules.jwks_uri is not None,
    )


PLUGIN = PluginDefinition(
    "jwt",
    JwtConfig,
    NO_CONSUMER,
    priority=1450,
    pack=pack,
    handler="gateway.plugins._jwt_handler:JwtHandler",
    checks=(
        Conditional(
            "config.maximum_expiration",
            if_greater_than=0,
            then_field="config.claims_to_verify",
            then_contains="exp",
        ),
    ),
)

"""jwt: consumers are known by a JSON Web Token that they signed (RFC 7519)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.entities.fields import Boolean, Integer, Number, Set, Text
from gateway.entities.record import Record
from gateway.entities.record_checks import Conditional
from gateway.entities.value_checks import url_problem
from gateway.plugins import PluginDefinition

from ._fields import ANONYMOUS, NO_CONSUMER, REALM, RUN_ON_PREFLIGHT


class JwtConfig(Record, frozen=True, kw_only=True):
    """Where a token is looked for and what it must tell."""

    uri_param_names: Annotated[
        list[str] | None, Set("Query arguments that may hold the token.", elements=Text("A name."))
    ] = msgspec.field(default_factory=lambda: ["jwt"])
    cookie_names: Annotated[
        list[str] | None, Set("Cookies that may hold the token.", elements=Text("A name."))
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
        Set("Headers that may hold the token, after `Bearer `.", elements=Text("A name.")),
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


PLUGIN = PluginDefinition(
    "jwt",
    JwtConfig,
    NO_CONSUMER,
    priority=1450,
    checks=(
        Conditional(
            "config.maximum_expiration",
            if_greater_than=0,
            then_field="config.claims_to_verify",
            then_contains="exp",
        ),
    ),
)

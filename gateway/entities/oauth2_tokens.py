"""Tokens of the plugin oauth2."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.expiry import Expiring
from gateway.entities.fields import Foreign, Integer, Reference, Text
from gateway.entities.record import CreatedAt


class OAuth2Token(Expiring, frozen=True, kw_only=True):
    """An access token that a client application was given, with its refresh token (RFC 6749 §1.4, §1.5)."""

    type_name: ClassVar[str] = "oauth2_tokens"
    singular: ClassVar[str] = "oauth2_token"
    endpoint_key: ClassVar[str | None] = "access_token"
    cache_key: ClassVar[tuple[str, ...]] = ("access_token",)

    created_at: CreatedAt
    credential: Annotated[
        Reference,
        Foreign(
            "The application that has the token.",
            reference="oauth2_credentials",
            required=True,
            cascade=True,
        ),
    ]
    service: Annotated[
        Reference | None,
        Foreign("The only service the token is for.", reference="services", cascade=True),
    ] = None
    token_type: Annotated[
        str, Text("How the token is used; there is one way.", required=True, one_of=("bearer",))
    ] = "bearer"  # noqa: S105  # a kind of token, not one
    expires_in: Annotated[
        int, Integer("Seconds for which the access token is accepted; 0: forever.", required=True)
    ]
    access_token: Annotated[
        str,
        Text(
            "The access token; generated when not given.",
            required=False,
            unique=True,
            auto=True,
            encrypted=True,
        ),
    ]
    refresh_token: Annotated[
        str | None,
        Text("The token to get a new access token with.", required=False, unique=True, encrypted=True),
    ] = None
    authenticated_userid: Annotated[str | None, Text("The user who allowed it.", required=False)] = None
    scope: Annotated[str | None, Text("What the user allowed, separated by spaces.", required=False)] = None

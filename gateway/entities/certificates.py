"""Certificates: what the gateway shows to clients, or to upstream servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from gateway.entities.certificate_checks import (
    DifferentKeyTypes,
    MatchingKey,
    certificate_problem,
    private_key_problem,
)
from gateway.entities.child_names import ChildNames
from gateway.entities.fields import Field, Text
from gateway.entities.record import CreatedAt, Entity, RecordCheck, UpdatedAt
from gateway.entities.record_checks import AllOrNoneOf
from gateway.entities.value_checks import wildcard_server_name_problem


class Certificate(Entity, frozen=True, kw_only=True):
    """A certificate with its private key."""

    type_name: ClassVar[str] = "certificates"
    singular: ClassVar[str] = "certificate"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (
        AllOrNoneOf(("cert_alt", "key_alt")),
        MatchingKey("cert", "key", "certificate does not match key"),
        MatchingKey("cert_alt", "key_alt", "alternative certificate does not match key"),
        DifferentKeyTypes(("cert", "cert_alt")),
    )
    shorthands: ClassVar[Mapping[str, Field]] = {
        "snis": ChildNames(
            "The server names the certificate is for.",
            elements=Text("A server name.", rule=wildcard_server_name_problem),
            type_name="snis",
        )
    }

    created_at: CreatedAt
    updated_at: UpdatedAt
    cert: Annotated[
        str,
        Text("The certificate (chain), PEM.", required=True, referenceable=True, rule=certificate_problem),
    ]
    key: Annotated[
        str,
        Text(
            "The private key, PEM.",
            required=True,
            referenceable=True,
            encrypted=True,
            rule=private_key_problem,
        ),
    ]
    cert_alt: Annotated[
        str | None,
        Text("A second certificate, of another key type.", referenceable=True, rule=certificate_problem),
    ] = None
    key_alt: Annotated[
        str | None,
        Text("The second certificate's key.", referenceable=True, encrypted=True, rule=private_key_problem),
    ] = None

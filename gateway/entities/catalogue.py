"""All types of entity, and how they hang together."""

from __future__ import annotations

from gateway.entities.acls import Acl
from gateway.entities.basicauth_credentials import BasicAuthCredential
from gateway.entities.ca_certificates import CaCertificate
from gateway.entities.certificates import Certificate
from gateway.entities.consumers import Consumer
from gateway.entities.expiry import Expiring
from gateway.entities.fields import Array, Text
from gateway.entities.hmacauth_credentials import HmacAuthCredential
from gateway.entities.jwt_secrets import JwtSecret
from gateway.entities.key_sets import KeySet
from gateway.entities.keyauth_credentials import KeyAuthCredential
from gateway.entities.keys import Key
from gateway.entities.oauth2_credentials import OAuth2Credential
from gateway.entities.oauth2_tokens import OAuth2Token
from gateway.entities.plugins import Plugin
from gateway.entities.record import Entity, shape_of
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.entities.snis import Sni
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.entities.vaults import Vault

# Every type stands after the types it refers to.
ENTITY_TYPES: dict[str, type[Entity]] = {
    kind.type_name: kind
    for kind in (
        CaCertificate,
        Certificate,
        Sni,
        Vault,
        KeySet,
        Key,
        Service,
        Route,
        Upstream,
        Target,
        Consumer,
        Plugin,
        KeyAuthCredential,
        BasicAuthCredential,
        JwtSecret,
        HmacAuthCredential,
        Acl,
        OAuth2Credential,
        OAuth2Token,
    )
}


def _children() -> dict[str, dict[str, str]]:
    children: dict[str, dict[str, str]] = {name: {} for name in ENTITY_TYPES}
    for name, kind in ENTITY_TYPES.items():
        for field_name, field in shape_of(kind).foreign.items():
            children[field.reference][name] = field_name
    return children


def _listed_by() -> dict[str, dict[str, str]]:
    listed: dict[str, dict[str, str]] = {name: {} for name in ENTITY_TYPES}
    for name, kind in ENTITY_TYPES.items():
        for field_name, field in shape_of(kind).fields.items():
            if isinstance(field, Array) and isinstance(field.elements, Text) and field.elements.reference:
                listed[field.elements.reference][name] = field_name
    return listed


CHILDREN: dict[str, dict[str, str]] = _children()
"""For each type the types that refer to it, and the field they do it with: `CHILDREN["services"]["routes"]`
is "service"."""

EXPIRING = tuple(name for name, kind in ENTITY_TYPES.items() if issubclass(kind, Expiring))
"""The types of which some live for a time only."""

LISTED_BY: dict[str, dict[str, str]] = _listed_by()
"""The same for fields that list ids: `LISTED_BY["ca_certificates"]["services"]` is "ca_certificates"."""

"""All types of entity, and how they hang together."""

from __future__ import annotations

from gateway.entities.acls import Acl
from gateway.entities.basicauth_credentials import BasicAuthCredential
from gateway.entities.ca_certificates import CaCertificate
from gateway.entities.certificates import Certificate
from gateway.entities.consumers import Consumer
from gateway.entities.expiry import Expiring
from gateway.entities.fields import Array, Foreign, Text
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

ENTITY_TYPES: dict[str, type[Entity]] = {}
"""All types by name; each stands after the types it refers to."""

CHILDREN: dict[str, dict[str, str]] = {}
"""For each type the types that refer to it, and the field they do it with: `CHILDREN["services"]["routes"]`
is "service"."""

LISTED_BY: dict[str, dict[str, str]] = {}
"""The same for fields that list ids: `LISTED_BY["ca_certificates"]["services"]` is "ca_certificates"."""

EXPIRING: list[str] = []
"""The types of which some live for a time only."""


def register(kind: type[Entity]) -> None:
    """Add a type. Everything else (checks, stores, Admin API, schemas, client, declarative files) looks here.
    Raises KeyError for one that refers to a type that is not there yet."""
    for field_name, field in shape_of(kind).fields.items():
        if isinstance(field, Foreign):
            CHILDREN[field.reference][kind.type_name] = field_name
        elif isinstance(field, Array) and isinstance(field.elements, Text) and field.elements.reference:
            LISTED_BY[field.elements.reference][kind.type_name] = field_name
    ENTITY_TYPES[kind.type_name] = kind
    CHILDREN[kind.type_name] = {}
    LISTED_BY[kind.type_name] = {}
    if issubclass(kind, Expiring):
        EXPIRING.append(kind.type_name)


for _kind in (
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
):
    register(_kind)

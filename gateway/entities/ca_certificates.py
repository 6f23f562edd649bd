"""CA certificates: whom the gateway trusts."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar

from cryptography.hazmat.primitives.serialization import Encoding

from gateway.entities.asymmetric_keys import certificates_of
from gateway.entities.certificate_checks import Authority, certificate_problem
from gateway.entities.fields import Text
from gateway.entities.record import CreatedAt, Entity, RecordCheck, UpdatedAt


def certificate_digest(text: str) -> str:
    """The SHA-256 of a valid certificate's DER form, in hex."""
    return hashlib.sha256(certificates_of(text)[0].public_bytes(Encoding.DER)).hexdigest()


class CaCertificate(Entity, frozen=True, kw_only=True):
    """The certificate of an authority."""

    type_name: ClassVar[str] = "ca_certificates"
    singular: ClassVar[str] = "ca_certificate"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (Authority(),)

    created_at: CreatedAt
    updated_at: UpdatedAt
    cert: Annotated[str, Text("The certificate, PEM.", required=True, rule=certificate_problem)]
    cert_digest: Annotated[str | None, Text("The SHA-256 of the certificate, in hex.", unique=True)] = None

    @classmethod
    def transform(cls, values: dict[str, Any]) -> None:
        values["cert_digest"] = certificate_digest(values["cert"])

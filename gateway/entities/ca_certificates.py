"""CA certificates: whom the gateway trusts."""

from __future__ import annotations

import hashlib
import ssl
from typing import Annotated, Any, ClassVar

from gateway.entities.fields import Text
from gateway.entities.record import CreatedAt, Entity, UpdatedAt
from gateway.entities.value_checks import certificate_problem


def single_certificate_problem(text: str) -> str | None:
    """Exactly one PEM certificate that can be decoded."""
    if problem := certificate_problem(text):
        return problem
    if text.count("-----BEGIN ") > 1:
        return "please submit only one certificate at a time"
    try:
        certificate_digest(text)
    except ValueError:
        return "invalid certificate: x509.new: bad base64 in the PEM block"
    return None


def certificate_digest(text: str) -> str:
    """The SHA-256 of the certificate's DER form, in hex; raises ValueError for a broken PEM block."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text.strip())).hexdigest()


class CaCertificate(Entity, frozen=True, kw_only=True):
    """The certificate of an authority."""

    type_name: ClassVar[str] = "ca_certificates"
    singular: ClassVar[str] = "ca_certificate"

    created_at: CreatedAt
    updated_at: UpdatedAt
    cert: Annotated[str, Text("The certificate, PEM.", required=True, rule=single_certificate_problem)]
    cert_digest: Annotated[str | None, Text("The SHA-256 of the certificate, in hex.", unique=True)] = None

    @classmethod
    def transform(cls, values: dict[str, Any]) -> None:
        values["cert_digest"] = certificate_digest(values["cert"])

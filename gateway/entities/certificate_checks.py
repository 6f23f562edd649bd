"""Rules about certificates and keys: those of single values answer the text of what is wrong, or None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.entities.asymmetric_keys import (
    certificates_of,
    has_expired,
    is_authority,
    private_key_of,
    public_bytes,
    public_key_of,
)
from gateway.entities.fields import Errors, is_vault_reference
from gateway.entities.record_checks import add_entity_error
from gateway.entities.value_checks import pem_label

ONE_AT_A_TIME = "please submit only one certificate at a time"
EXPIRED = 'certificate expired, "Not After" time is in the past'
NO_AUTHORITY = 'certificate does not appear to be a CA because it is missing the "CA" basic constraint'
SAME_TYPE = (
    "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided "
    "certificates were both of the same type"
)


def certificate_problem(text: str) -> str | None:
    """A PEM certificate, or a chain of them."""
    if not (pem_label(text) or "").endswith("CERTIFICATE"):
        return "invalid certificate: x509.new: no PEM block 'CERTIFICATE' found"
    try:
        certificates_of(text)
    except ValueError as problem:
        return f"invalid certificate: x509.new: {problem}"
    return None


def private_key_problem(text: str) -> str | None:
    """A PEM private key that needs no password."""
    if not (pem_label(text) or "").endswith("PRIVATE KEY"):
        return "invalid key: pkey.new: no PEM block 'PRIVATE KEY' found"
    try:
        private_key_of(text)
    except ValueError as problem:
        return f"invalid key: pkey.new: {problem}"
    return None


def public_key_problem(text: str) -> str | None:
    """A PEM public key, or a certificate with one."""
    if not (pem_label(text) or "").endswith(("PUBLIC KEY", "CERTIFICATE")):
        return "invalid key"
    try:
        public_key_of(text)
    except ValueError:
        return "invalid key"
    return None


def _can_be_read(values: Mapping[str, Any], errors: Mapping[Any, Errors], *names: str) -> bool:
    """Whether all of these fields have a valid text that is no reference to a vault."""
    return not any(
        name in errors or not isinstance(values.get(name), str) or is_vault_reference(values[name])
        for name in names
    )


@dataclass(frozen=True)
class MatchingKey:
    """A certificate is for its private key."""

    certificate: str
    key: str
    text: str

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.certificate, self.key)

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not _can_be_read(values, errors, *self.sources):
            return
        certificate = certificates_of(values[self.certificate])[0]
        key = private_key_of(values[self.key])
        if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
            add_entity_error(errors, self.text)


@dataclass(frozen=True)
class DifferentKeyTypes:
    """Two certificates have keys of different types."""

    sources: tuple[str, str]

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not _can_be_read(values, errors, *self.sources):
            return
        one, other = (certificates_of(values[name])[0].public_key() for name in self.sources)
        if type(one) is type(other):
            add_entity_error(errors, SAME_TYPE)


class Authority:
    """A single certificate of an authority, not expired."""

    sources = ("cert",)

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not _can_be_read(values, errors, "cert"):
            return
        certificates = certificates_of(values["cert"])
        if len(certificates) > 1:
            add_entity_error(errors, ONE_AT_A_TIME)
        elif has_expired(certificates[0], datetime.now(UTC)):
            add_entity_error(errors, EXPIRED)
        elif not is_authority(certificates[0]):
            add_entity_error(errors, NO_AUTHORITY)


class MatchingHalves:
    """A public key is that of the private key."""

    sources = ("private_key", "public_key")

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not _can_be_read(values, errors, *self.sources):
            return
        private, public = private_key_of(values["private_key"]), public_key_of(values["public_key"])
        if public_bytes(private.public_key()) != public_bytes(public):
            add_entity_error(errors, "public key does not match private key")

"""Certificates made for a test: self-signed ones, authorities, and what they sign."""

from __future__ import annotations

import datetime
import ipaddress
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PrivateKey: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey"
VALID_DAYS = 30


def key_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def new_key(kind: str = "ec") -> PrivateKey:
    """A private key: "ec" (fast to make) or "rsa"."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(
    name: str,
    key: PrivateKey,
    *,
    issuer: str | None = None,
    issuer_key: PrivateKey | None = None,
    is_authority: bool = False,
    days: int = VALID_DAYS,
) -> str:
    """A PEM certificate for a name (or address); self-signed without an issuer. `days` < 0: expired."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer or name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=abs(days) + 1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    )
    return builder.sign(issuer_key or key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def self_signed(name: str, kind: str = "ec") -> tuple[str, str]:
    """A certificate for a name and its private key, both PEM."""
    key = new_key(kind)
    return certificate(name, key), key_pem(key)


def authority(name: str = "Test CA") -> tuple[str, PrivateKey]:
    """The certificate of an authority (PEM) and its key."""
    key = new_key()
    return certificate(name, key, is_authority=True), key

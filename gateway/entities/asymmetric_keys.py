"""Certificates and keys as they are written in a configuration (PEM, JSON Web Keys), read with
`cryptography`.

Whatever is wrong with a text is told as ValueError; its message says what could not be done.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

# What `cryptography` raises for texts that it cannot read, whatever its documentation says.
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, OverflowError)

PublicKey: TypeAlias = Any
"""Of one of the kinds that `cryptography` has."""

LONGEST_RSA_TEXT = 2732
"""characters of a number of an RSA key in base64url: 16,384 bits, with longer ones OpenSSL does nothing"""

CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}
RAW_KEYS: Mapping[str, tuple[Callable[[bytes], PublicKey], Callable[[bytes], Any]]] = {
    "Ed25519": (
        ed25519.Ed25519PublicKey.from_public_bytes,
        ed25519.Ed25519PrivateKey.from_private_bytes,
    ),
    "Ed448": (ed448.Ed448PublicKey.from_public_bytes, ed448.Ed448PrivateKey.from_private_bytes),
    "X25519": (x25519.X25519PublicKey.from_public_bytes, x25519.X25519PrivateKey.from_private_bytes),
    "X448": (x448.X448PublicKey.from_public_bytes, x448.X448PrivateKey.from_private_bytes),
}
"""By the name of the curve (RFC 8037): how public and private keys are made of their bytes."""


def certificates_of(text: str) -> list[x509.Certificate]:
    """The certificates of a PEM text, at least one; their public keys can be read."""
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
        for certificate in certificates:
            certificate.public_key()
    except UNREADABLE as problem:
        raise ValueError("the certificate cannot be decoded") from problem
    return certificates


def private_key_of(text: str) -> PrivateKeyTypes:
    """The private key of a PEM text without a password."""
    try:
        # A key that belongs to its certificate is as good as the certificate: RSA keys are not proved again,
        # which would take a tenth of a second.
        return load_pem_private_key(text.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except UNREADABLE as problem:
        raise ValueError("the private key cannot be decoded, or needs a password") from problem


def public_key_of(text: str) -> PublicKey:
    """The public key of a PEM text: of a public key or of a certificate."""
    if "CERTIFICATE-----" in text:
        return certificates_of(text)[0].public_key()
    try:
        return load_pem_public_key(text.encode())
    except UNREADABLE as problem:
        raise ValueError("the public key cannot be decoded") from problem


def public_bytes(key: PublicKey) -> bytes:
    """What two public keys are equal in (SubjectPublicKeyInfo, DER)."""
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate may sign others (basic constraint CA)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False


def has_expired(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate is no longer valid; `now` with its time zone."""
    return certificate.not_valid_after_utc < now


def check_jwk(jwk: Mapping[str, Any]) -> None:
    """Raise ValueError when a JSON Web Key is no asymmetric key, or its private half belongs to another one
    (RFC 7517, 7518 §6, 8037)."""
    try:
        match jwk.get("kty"):
            case "RSA":
                _check_rsa(jwk)
            case "EC":
                _check_elliptic_curve(jwk)
            case "OKP":
                _check_raw(jwk)
            case other:
                raise ValueError(f"no key of an asymmetric algorithm: {other}")
    except UNREADABLE as problem:
        raise ValueError("not a valid key") from problem


def _check_rsa(jwk: Mapping[str, Any]) -> None:
    if any(len(str(jwk.get(name, ""))) > LONGEST_RSA_TEXT for name in ("n", "e", "d", "p", "q")):
        raise ValueError("the key is longer than any that can be used")
    modulus, exponent = _number(jwk, "n"), _number(jwk, "e")
    rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if "d" not in jwk:
        return
    _number(jwk, "d")
    if "p" in jwk and _number(jwk, "p") * _number(jwk, "q") != modulus:
        raise ValueError("the factors are those of another key")


def _check_elliptic_curve(jwk: Mapping[str, Any]) -> None:
    named = CURVES.get(str(jwk.get("crv")))
    if named is None:
        raise ValueError("unknown curve")
    curve = named()
    numbers = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), curve)
    numbers.public_key()
    if "d" not in jwk:
        return
    private = ec.derive_private_key(_number(jwk, "d"), curve)
    if private.public_key().public_numbers() != numbers:
        raise ValueError("the private key is that of another key")


def _check_raw(jwk: Mapping[str, Any]) -> None:
    makers = RAW_KEYS.get(str(jwk.get("crv")))
    if makers is None:
        raise ValueError("unknown curve")
    public, private = makers
    key = public(_bytes(jwk, "x"))
    if "d" in jwk and private(_bytes(jwk, "d")).public_key().public_bytes_raw() != key.public_bytes_raw():
        raise ValueError("the private key is that of another key")


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name), "big")


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str) or not text:
        raise ValueError(f"'{name}' is missing")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ValueError(f"'{name}' is not base64url") from problem

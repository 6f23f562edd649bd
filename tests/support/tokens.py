"""JSON Web Tokens for tests: good ones by PyJWT, and ones that PyJWT would not make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512"),
    *CURVES,
    *("PS256", "PS384", "PS512"),
    "EdDSA",
)
SECRET = "a secret that is long enough for all of the algorithms, even the one with 64 bytes"  # noqa: S105


@dataclass(frozen=True)
class KeyPair:
    """Keys of an algorithm; both are the secret for HS…"""

    algorithm: str
    private: Any
    public: str
    """PEM, or the secret"""

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        """A token with these claims."""
        return jwt.encode(claims, self.private, self.algorithm, headers or None)

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a member of a key set."""
        found = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {**{k: v for k, v in found.items() if k != "key_ops"}, **members}


def make_pair(algorithm: str) -> KeyPair:
    """A new pair; for HS… the secret is always the same."""
    if algorithm.startswith("HS"):
        return KeyPair(algorithm, SECRET, SECRET)
    if algorithm in CURVES:
        private: Any = ec.generate_private_key(CURVES[algorithm]())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, 2048)
    return KeyPair(algorithm, private, public_pem(private))


@cache
def pair(algorithm: str) -> KeyPair:
    """The pair that all tests of this process use."""
    return make_pair(algorithm)


def ed448_pair() -> KeyPair:
    """The other curve of EdDSA."""
    private = ed448.Ed448PrivateKey.generate()
    return KeyPair("EdDSA", private, public_pem(private))


def public_pem(private: Any) -> str:
    """The public key, as credentials have it."""
    return str(
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


# --- tokens that nobody should make ------------------------------------------------------------------
def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_hmac(
    header: dict[str, Any] | str | bytes, claims: dict[str, Any] | str | bytes, secret: bytes
) -> str:
    """A token with these very parts, signed with HS256."""
    signed = f"{encoded(as_bytes(header))}.{encoded(as_bytes(claims))}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def as_bytes(part: dict[str, Any] | str | bytes) -> bytes:
    """A part as JSON, if it is none yet."""
    if isinstance(part, dict):
        part = json.dumps(part)
    return part.encode() if isinstance(part, str) else part


def in_an_hour() -> int:
    """A good `exp`."""
    return int(time.time()) + 3600

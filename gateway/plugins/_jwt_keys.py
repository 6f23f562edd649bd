"""Signatures, by PyJWT. The algorithm is that of the credential or key: the token cannot choose another."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from gateway.entities.jwt_secrets import ALGORITHMS
from native.identities import JwtAlgorithm

from ._jwt_tokens import Token

ALGORITHM_NAMES = {int(algorithm): name for algorithm, name in zip(JwtAlgorithm, ALGORITHMS, strict=True)}
"""Names of algorithms by the number that credentials have in identities."""
if any(JwtAlgorithm(n).name != f"JWT_{name.upper()}" for n, name in ALGORITHM_NAMES.items()):
    raise AssertionError("the algorithms have other numbers in native/identities.pxd")

MOST_KEYS = 2048
"""Keys that are kept ready for use."""


class UnusableKey(Exception):
    """A credential whose key or secret cannot be used."""


def is_symmetric(algorithm: str) -> bool:
    return algorithm.startswith("HS")


def signed_by(token: Token, algorithm: str, material: bytes, *, is_base64: bool = False) -> bool:
    """Whether the token was signed with the key of a credential for `algorithm`.

    `material`: the secret, or a public key as PEM. `is_base64`: secrets are written in base64. Raises
    UnusableKey.
    """
    if token.algorithm != algorithm:
        return False
    key = _ready_key(algorithm, material, is_base64 and is_symmetric(algorithm))
    return jwt.get_algorithm_by_name(algorithm).verify(token.signed, key, token.signature)


@lru_cache(maxsize=MOST_KEYS)
def _ready_key(algorithm: str, material: bytes, is_base64: bool) -> Any:
    try:
        if is_base64:
            material = _decode_secret(material)
        return jwt.get_algorithm_by_name(algorithm).prepare_key(material)
    except (PyJWTError, ValueError, TypeError):
        raise UnusableKey from None


def _decode_secret(text: bytes) -> bytes:
    """Base64 of either alphabet, with or without padding, as people write it. Raises ValueError."""
    text = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)

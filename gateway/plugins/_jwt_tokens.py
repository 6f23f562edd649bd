"""Reading JSON Web Tokens (RFC 7515, compact serialisation; RFC 7519): strictly, before any key is looked at.

A token has exactly one spelling here: base64url without padding and with zeros in the bits that are left
over, no white space, JSON in UTF-8 that names every member once and has only numbers that are numbers.
Whatever another implementation behind the gateway might read differently is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.entities.jwt_secrets import ALGORITHMS


class TokenError(Exception):
    """A token that is refused; its text is what the client is told."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token in its parts. Nothing of it is verified."""

    algorithm: str
    """one of gateway.entities.jwt_secrets.ALGORITHMS"""
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    """what the signature is for"""
    signature: bytes


def read_token(text: bytes) -> Token:
    """The parts of a token. Raises TokenError, with Kong's words."""
    parts = text.split(b".", 2)
    if len(parts) < 3:
        raise TokenError("Bad token; invalid JSON")
    header, claims = _read_json(parts[0]), _read_json(parts[1])
    algorithm = header.get("alg") if isinstance(header, dict) else None
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenError("Bad token; invalid alg")
    if "crit" in header or header.get("b64", True) is not True:
        # RFC 7515 §4.1.11: what must be understood, and is not. RFC 7797 is for other payloads than claims.
        raise TokenError("Bad token; unsupported crit")
    if not isinstance(claims, dict):
        raise TokenError("Bad token; invalid claims")
    try:
        signature = _decode(parts[2])
    except ValueError:
        raise TokenError("Bad token; invalid signature") from None
    return Token(algorithm, header, claims, text[: len(parts[0]) + 1 + len(parts[1])], signature)


def _decode(segment: bytes) -> bytes:
    """Base64url that encodes to the same text again. Raises ValueError."""
    decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise ValueError("not the one spelling")
    return decoded


def _read_json(segment: bytes) -> Any:
    try:
        return json.loads(
            _decode(segment).decode(),
            object_pairs_hook=_unique_members,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except (ValueError, RecursionError, binascii.Error):
        raise TokenError("Bad token; invalid JSON") from None


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that no float can be")
    return value

"""What a configuration of the plugin jwt asks of a token besides its signature."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ._jwt_tokens import Token, TokenError

if TYPE_CHECKING:
    from .jwt import JwtConfig

DEFAULT_KEY_SET_TTL = 300
LATEST = 1 << 62
"""seconds; later is as good as never"""

Claim = Literal["exp", "nbf"]


class ClaimsError(Exception):
    """Claims that do not hold: by name, what is wrong with them, as the client is told."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Period:
    """From which second on a token holds, and from which on no longer. None: always; for ever."""

    begins: int | None
    expires: int | None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a configuration by which a token is verified, wherever it was found."""

    key_claim_name: str | None = "iss"
    secret_is_base64: bool = False
    claims_to_verify: frozenset[Claim] | None = None
    maximum_expiration: float | None = 0
    jwks_uri: str | None = None
    jwks_cache_ttl: int | None = None
    jwks_audiences: frozenset[str] | None = None

    @property
    def key_claim(self) -> str:
        return self.key_claim_name or "iss"

    @property
    def key_set_ttl(self) -> int:
        return self.jwks_cache_ttl or DEFAULT_KEY_SET_TTL

    def digest(self) -> bytes:
        """16 bytes that differ between any two rules by which a token could fare differently."""
        told = (
            self.key_claim,
            self.secret_is_base64,
            sorted(self.claims_to_verify or ()),
            float(self.maximum_expiration or 0),
            self.jwks_uri,
            self.key_set_ttl if self.jwks_uri else None,
            sorted(self.jwks_audiences or ()),
        )
        return hashlib.sha256(msgspec.json.encode(told)).digest()[:16]

    def credential_name(self, token: Token) -> str:
        """What a token names its credential by: a claim, else a header. Raises TokenError."""
        name = self.key_claim
        found = token.claims.get(name)
        if found is None or found is False:
            found = token.header.get(name)
        if found is None or found is False:
            raise TokenError(f"No mandatory '{name}' in claims")
        if not isinstance(found, str) or not found or not _is_text(found):
            raise TokenError(f"Invalid '{name}' in claims")
        return found

    def check(self, claims: Mapping[str, Any], now: int) -> Period:
        """Raises ClaimsError for claims that do not hold at this Unix second."""
        begins = expires = None
        problems: dict[str, str] = {}
        wanted = self.claims_to_verify or ()
        if "exp" in wanted:
            if (expires := _second(claims.get("exp"))) is None:
                problems["exp"] = "must be a number"
            elif expires <= now:
                problems["exp"] = "token expired"
        if "nbf" in wanted:
            if (begins := _second(claims.get("nbf"))) is None:
                problems["nbf"] = "must be a number"
            elif begins > now:
                problems["nbf"] = "token not valid yet"
        if problems:
            raise ClaimsError(problems)
        if self.maximum_expiration and self.maximum_expiration > 0:
            # Until this second it would have to hold for longer than is allowed.
            exp = claims.get("exp")
            earliest = _second(_clamped(exp) - self.maximum_expiration) if _is_number(exp) else None
            if earliest is None or earliest > now:
                raise ClaimsError({"exp": "exceeds maximum allowed expiration"})
            begins = earliest if begins is None else max(begins, earliest)
        return Period(begins, expires)

    def check_audience(self, claims: Mapping[str, Any]) -> None:
        """Of a token that an issuer's key set vouches for. Raises ClaimsError."""
        named = claims.get("aud")
        audiences = named if isinstance(named, list) else [named]
        if self.jwks_audiences and not any(
            isinstance(audience, str) and audience in self.jwks_audiences for audience in audiences
        ):
            raise ClaimsError({"aud": "not for this audience"})


def rules_of(config: Mapping[str, Any] | JwtConfig) -> Rules:
    """The rules of a plugin's configuration, as a document or checked."""
    return msgspec.convert(config, Rules, strict=False, from_attributes=True)


def _is_text(text: str) -> bool:
    """Whether it can be written in UTF-8: JSON may escape halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _second(value: Any) -> int | None:
    """The first whole second that is not before a number of seconds. None: it is no number."""
    return math.ceil(_clamped(value)) if _is_number(value) else None


def _clamped(value: Any) -> Any:
    """A number of seconds that native code can hold, too."""
    return max(-LATEST, min(LATEST, value))

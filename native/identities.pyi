from enum import IntEnum, IntFlag
from typing import Any

class IdentityKind(IntEnum):
    CONSUMER_ID = 1
    CONSUMER_USERNAME = 2
    CONSUMER_CUSTOM_ID = 3
    CONSUMER_GROUP = 4
    KEY_AUTH = 5
    BASIC_AUTH = 6
    HMAC_AUTH = 7
    JWT = 8
    OAUTH2 = 9

class JwtAlgorithm(IntEnum):
    JWT_HS256 = 1
    JWT_HS384 = 2
    JWT_HS512 = 3
    JWT_RS256 = 4
    JWT_RS384 = 5
    JWT_RS512 = 6
    JWT_ES256 = 7
    JWT_ES384 = 8
    JWT_ES512 = 9
    JWT_PS256 = 10
    JWT_PS384 = 11
    JWT_PS512 = 12
    JWT_EDDSA = 13

class CredentialFlag(IntFlag):
    SECRET_HASHED = 1
    CLIENT_PUBLIC = 2

class Identities:
    def __init__(self, data: bytes) -> None: ...
    @property
    def number(self) -> int: ...
    @property
    def counts(self) -> tuple[int, int, int]: ...
    def consumer(self, kind: IdentityKind, key: str) -> dict[str, Any] | None: ...
    def credential(self, kind: IdentityKind, key: str) -> dict[str, Any] | None: ...
    def is_in_group(self, consumer: str, group: str) -> bool: ...

def consumer_record(*, id: str, username: str | None, custom_id: str | None) -> bytes: ...
def credential_record(
    kind: IdentityKind,
    *,
    id: str,
    consumer: str,
    key: str,
    secret: str = "",
    more: str = "",
    name: str = "",
    algorithm: int = 0,
    flags: int = 0,
    expires_at: int = 0,
) -> bytes: ...
def group_record(*, consumer: str, name: str) -> bytes: ...
def known_records(
    entities: list[Any], known: list[Any], records: list[bytes]
) -> tuple[list[bytes | None], list[int]]: ...
def build_identities(
    consumers: list[bytes], credentials: list[bytes], groups: list[bytes], *, number: int
) -> bytes: ...
def consumer_hash(id: str) -> int: ...
def verify_identities(data: bytes) -> str | None: ...

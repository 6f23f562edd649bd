from enum import IntEnum

class JwtVerb(IntEnum):
    JWT_READ = 1
    JWT_VERIFY = 2

class JwtOutcome(IntEnum):
    JWT_REFUSED = 0
    JWT_NAMED = 1
    JWT_VERIFIED = 2
    JWT_UNAVAILABLE = 3

def pack_config(
    *,
    rules: bytes,
    header_names: list[str],
    query_names: list[str],
    cookie_names: list[str],
    anonymous: str,
    challenge: str,
    challenge_invalid: str,
    unknown: str,
    run_on_preflight: bool,
    key_set: bool,
) -> bytes: ...

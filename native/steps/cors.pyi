from enum import IntEnum

class OriginRule(IntEnum):
    ANY_ORIGIN = 0
    ONE_ORIGIN = 1
    LISTED_ORIGINS = 2

class OriginKind(IntEnum):
    PLAIN_ORIGIN = 0
    ORIGIN_PATTERN = 1
    HOST_PATTERN = 2

def pack_config(
    *,
    rule: int,
    origin: str,
    listed: list[tuple[int, str]],
    methods: str,
    headers: str,
    exposed_headers: str,
    max_age: str,
    credentials: bool,
    private_network: bool,
    preflight_continue: bool,
) -> bytes: ...
def normalized(origin: str) -> tuple[str, str]: ...

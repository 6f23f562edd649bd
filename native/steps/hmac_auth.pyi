def pack_config(
    *,
    anonymous: str,
    challenge: str,
    enforced: list[str],
    algorithms: list[str],
    clock_skew: float,
    hide_credentials: bool,
    checks_body: bool,
) -> bytes: ...

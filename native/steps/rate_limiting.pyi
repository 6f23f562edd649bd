def pack_config(
    *,
    scope: bytes,
    limits: list[tuple[int, float, str, str]],
    algorithm: int,
    burst: float,
    limit_by: int,
    name: str,
    place: int,
    status: int,
    message: str,
    fault_tolerant: bool,
    hidden: bool,
) -> bytes: ...

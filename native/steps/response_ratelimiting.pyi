def pack_config(
    *,
    scope: bytes,
    names: list[tuple[str, list[tuple[int, str, float, str, str]]]],
    header_name: str,
    limit_by: int,
    place: int,
    fault_tolerant: bool,
    hidden: bool,
    blocks: bool,
) -> bytes: ...

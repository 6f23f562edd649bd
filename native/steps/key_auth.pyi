def pack_config(
    *,
    key_names: list[str],
    anonymous: str,
    challenge: str,
    in_header: bool,
    in_query: bool,
    in_body: bool,
    hide_credentials: bool,
    run_on_preflight: bool,
) -> bytes: ...

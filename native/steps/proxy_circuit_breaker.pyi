from collections.abc import Iterable

def pack_config(
    *,
    seed: int,
    failures: int,
    timeout_ms: int,
    probes: int,
    statuses: Iterable[int],
    per_target: bool,
    counts_errors: bool,
    counts_timeouts: bool,
) -> bytes: ...

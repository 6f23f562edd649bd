from typing import Any

class DryRun:
    def __init__(self, configuration: bytes, identities: bytes) -> None: ...
    def route(
        self, head: bytes, *, family: int, address: bytes, port: int, tls: bool
    ) -> dict[str, Any]: ...
    def plan(
        self, route: int | None, consumer: str | None = None, known_from: int = 0
    ) -> list[dict[str, Any]]: ...

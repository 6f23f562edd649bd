from collections.abc import Mapping, Sequence
from typing import Any

Text = str | bytes

class Router:
    def __init__(self, data: bytes, earlier: Router | None = None) -> None: ...
    @property
    def shared_regexes(self) -> int: ...
    @property
    def regex_limits(self) -> int: ...
    def match(
        self,
        *,
        method: Text = "GET",
        host: Text = "",
        port: int = 80,
        path: Text = "/",
        query: Text = "",
        headers: Sequence[tuple[Text, Text]] = (),
        https: bool = False,
        sni: Text | None = None,
    ) -> dict[str, Any] | None: ...
    def benchmark(self, requests: Sequence[Mapping[str, Any]], rounds: int) -> float: ...

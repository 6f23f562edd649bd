from collections.abc import Collection, Iterable, Sequence

from native.snapshot import ConfigurationBuilder

def literal_prefix(pattern: str) -> str: ...
def split_port(host: str) -> tuple[str, int]: ...

class PreparedMatcher:
    def __init__(
        self,
        *,
        hosts: Iterable[str] = (),
        path: str = "",
        regex: str | None = None,
        methods: Iterable[str] = (),
        headers: Sequence[tuple[str, Collection[str]]] = (),
        queries: Sequence[tuple[str, Collection[str]]] = (),
        snis: Collection[str] = (),
    ) -> None: ...

class RouterIndexBuilder:
    def __init__(self, target: ConfigurationBuilder) -> None: ...
    def add(self, matcher: PreparedMatcher, route: int) -> int: ...
    def build(self) -> None: ...

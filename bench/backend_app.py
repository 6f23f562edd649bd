"""The stand-in backend when nginx is not installed: a Granian RSGI application with fixed bodies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_BODIES = {
    f"/{file.name}": file.read_bytes()
    for file in Path(os.environ.get("BENCH_BODIES", "/nonexistent")).glob("*")
}
_HEADERS = [("content-type", "application/json")]


async def app(scope: Any, protocol: Any) -> None:
    """GET one of the bodies; POST anywhere takes the whole body. Other paths get the small body too."""
    if scope.method == "POST":
        await protocol()
    protocol.response_bytes(200, _HEADERS, _BODIES.get(scope.path, _BODIES["/small"]))

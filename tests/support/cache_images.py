"""Stored responses and their images, for tests."""

from __future__ import annotations

import os
import time
from typing import Any

from native.cache_image import ImageStore
from native.shm import SharedState

KEY = "00112233445566778899aabbccddeeff" * 2
PLUGIN = "6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01"
FULL_KEY = f"/items/1\na=1\nhttp://shop.test:8000\nGET\n{PLUGIN} 0\nroute\n\n\n".encode()
HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: "1"\r\n\r\n'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def key_number(number: int) -> str:
    return f"{number:064x}"


def cache_memory() -> SharedState:
    """Shared memory with a cache, as the control process sees it."""
    shared = SharedState.create(1, cache_bytes=1 << 23)
    shared.control_pid = os.getpid()
    return shared


def image_of(
    key: str = KEY,
    body: bytes = b"hello",
    *,
    full_key: bytes = FULL_KEY,
    head: bytes = HEAD,
    keep_ms: int = 60_000,
    **options: Any,
) -> bytes:
    """The image of a response that was stored just now."""
    now = now_ms()
    store = ImageStore(cache_memory())
    options = {"stored_ms": now, "fresh_until_ms": now + keep_ms, **options}
    assert store.put(key, full_key, head, body, keep_until_ms=now + keep_ms, **options)
    image = store.image(key, full_key, now + keep_ms, now)
    assert image is not None
    return image

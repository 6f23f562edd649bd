"""Stored responses and their images, for tests."""

from __future__ import annotations

import time
from typing import Any

from native.cache_image import ImageStore
from native.shm import SharedState

KEY = "00112233445566778899aabbccddeeff" * 2
FULL_KEY = b"route|GET|/items"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"1\"\r\n\r\n"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def key_number(number: int) -> str:
    return f"{number:064x}"


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
    store = ImageStore(SharedState.create(1, cache_bytes=1 << 23))
    options = {"stored_ms": now, "fresh_until_ms": now + keep_ms, **options}
    assert store.put(key, full_key, head, body, keep_until_ms=now + keep_ms, **options)
    image = store.image(key, full_key, now + keep_ms, now)
    assert image is not None
    return image

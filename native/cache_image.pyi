from enum import IntEnum
from typing import TypedDict

from native.shm import SharedState

IMAGE_HEAD: int
LONGEST_IMAGE: int
FIRST_LEVEL_SECONDS: float

class SharedCacheVerb(IntEnum):
    VERB_FIND = 1
    VERB_STORE = 2
    VERB_VOID = 3

class SharedCacheAnswer(IntEnum):
    SHARED_MISSING = 0
    SHARED_FOUND = 1
    SHARED_DOWN = 2

class MarkKind(IntEnum):
    MARK_ADDRESS = 1
    MARK_TAG = 2

class ReadImage(TypedDict):
    key: str
    full_key: bytes
    status: int
    fields: list[tuple[bytes, bytes]]
    tags: list[bytes]
    body: bytes
    stored_ms: int
    keep_until_ms: int
    vary_count: int
    fresh_until_ms: int
    initial_age_ms: int

def read_image(data: bytes) -> ReadImage | None: ...
def read_full_key(data: bytes) -> bytes | None: ...
def split_question(payload: bytes) -> tuple[str, bytes]: ...
def read_fields(prelude: bytes, count: int) -> list[tuple[bytes, bytes]] | None: ...

class ImageStore:
    def __init__(self, shared: SharedState) -> None: ...
    def put(
        self,
        key: str,
        full_key: bytes,
        head: bytes,
        body: bytes,
        *,
        rest: bytes = b"",
        with_cookies: bool = False,
        **times: int,
    ) -> bool: ...
    def image(self, key: str, full_key: bytes, keep_until_ms: int, now_ms: int = 1) -> bytes | None: ...
    def take(
        self,
        image: bytes,
        key: str,
        full_key: bytes,
        *,
        now_ms: int = 1,
        life_ms: int = ...,
        with_cookies: bool = False,
        sequence: int | None = None,
        scope: int = 0,
        marks: tuple[int, ...] = (),
    ) -> bool: ...

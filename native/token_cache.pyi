from enum import IntEnum
from typing import TypedDict

from native.shm import SharedState

LONGEST_TOKEN: int
CLAIM_LENGTH: int

class TokenSource(IntEnum):
    TOKEN_OF_CREDENTIAL = 1
    TOKEN_OF_KEY_SET = 2

class Known(TypedDict):
    begins: int | None
    expires: int | None
    known_until: int | None
    credential: int
    source: TokenSource
    claim: bytes

# For tests and figures.
def store(
    shared: SharedState,
    token: bytes,
    *,
    rules: tuple[int, int] = (1, 2),
    begins: int | None = None,
    expires: int | None = None,
    known_until: int | None = None,
    credential: int = 0,
    source: TokenSource = ...,
    claim: bytes = b"",
    now: int = 1,
    words: int | None = None,
) -> bool: ...
def find(
    shared: SharedState, token: bytes, *, rules: tuple[int, int] = (1, 2), now: int = 1
) -> Known | None: ...
def words_of(token: bytes) -> int: ...
def scribble(shared: SharedState, word: int, value: int) -> None: ...

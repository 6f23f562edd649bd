"""The cache from Python: for the control process (Admin API, purges, metrics) and for tests.

Keys are 64 lower-case hex digits: the four words of a CacheKey in turn, each with its most significant digit
first. Times are Unix milliseconds. Views of the same owner are not used by two threads at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

from native.shm import SharedState

CACHE_BLOCK: int
MARK_PLACES: int
MAX_MARKS: int
CACHE_CONTROL: int

class StoredHead(TypedDict):
    """What EntryHead says (cache_store.pxd), and the full key."""

    key: str
    full_key: bytes
    sequence: int
    prelude_length: int
    body_length: int
    stored_ms: int
    keep_until_ms: int
    fresh_until_ms: int
    stale_while_revalidate_ms: int
    stale_if_error_ms: int
    initial_age_ms: int
    last_modified: int | None  # Unix seconds
    flags: int
    status: int
    field_count: int
    vary_count: int
    marks: list[int]
    scope: int

class StoredResponse(StoredHead):
    prelude: bytes
    body: bytes

class CacheView:
    """The store of a gateway as the control process sees it, or (`owner`, `incarnation`) as a worker does."""

    def __init__(
        self, shared: SharedState, owner: int | None = None, incarnation: int | None = None
    ) -> None: ...
    @property
    def longest(self) -> int:
        """Bytes that an entry may have, its head (232) and full key included; 0: there is no store."""
    def get(self, key: str, now_ms: int | None = None) -> StoredResponse | None:
        """The entry of a key, whatever its full key; None: there is none, or it is void or over. It does not
        count as a use. `now_ms`: None for the present."""
    def find(self, key: str, full_key: bytes, now_ms: int | None = None) -> StoredResponse | None:
        """As requests do: the full key must be the same, and it counts as a use."""
    def entries(self, now_ms: int | None = None) -> Iterator[StoredHead]:
        """All that could be found now, in no order. What comes and goes meanwhile may be seen or not."""
    def store(
        self,
        key: str,
        full_key: bytes,
        body: bytes,
        *,
        prelude: bytes = b"",
        sequence: int | None = None,
        keep_until_ms: int = ...,
        marks: Sequence[int] = (),
        **head: int,
    ) -> bool:
        """Store an entry in place of one with the same key. `sequence`: what sequence() said when its request
        began; None: now. `head`: other fields of StoredHead. False: too long, no room, purged meanwhile, or
        somebody holds the shard."""
    def sequence(self) -> int:
        """To ask for before a request is sent whose response is to be stored."""
    def mark_place(self, kind: int, text: bytes) -> int:
        """What stands for a tag or address in StoredHead.marks."""
    def mark(self, kind: int, text: bytes) -> None:
        """Void all entries whose request began before now and that carry this mark, however many."""
    def remove(self, key: str) -> bool:
        """Remove an entry, and keep a response from being stored whose request is under way. Whether there
        was one that could have been found."""
    def remove_matching(self, predicate: Callable[[StoredHead], bool]) -> int:
        """Remove all entries that a function chooses, and keep all responses from being stored whose requests
        are under way. How many; entries that were void count, those that were over do not."""
    def remove_prefix(self, prefix: bytes, scope: int | None = None) -> int:
        """The same for entries whose full key begins so (and that are of this scope)."""
    def purge_all(self) -> int:
        """Void everything, also what is under way. How many entries there were."""
    def statistics(self) -> dict[str, int]:
        """entries; bytes: of memory in use; size: bytes that entries can have; shards; longest; evictions:
        entries that went for want of room; emptied: shards emptied because a process died while writing;
        skipped: responses not stored for want of room or because of others; purged: responses not stored
        because of a purge meanwhile."""

# For tests and figures.
class HalfEntry:
    """An entry that is being written; `begun`: it could be begun."""

    begun: bool
    def __init__(self, view: CacheView, key: str, full_key: bytes, sequence: int | None = None) -> None: ...
    def append(self, data: bytes) -> bool: ...
    def publish(self, marks: Sequence[int] = (), **fields: int) -> bool: ...
    def discard(self) -> None: ...

class FoundEntry:
    """An entry that a request has found, pinned or not. KeyError: there is none."""

    size: int
    shown: StoredHead
    def __init__(self, view: CacheView, key: str, full_key: bytes, now_ms: int = 1) -> None: ...
    def pin(self) -> bool: ...
    def unpin(self) -> None: ...
    def read(self, offset: int = 0, length: int | None = None) -> bytes | None: ...
    def pieces(self, offset: int, length: int, room: int) -> list[bytes]: ...
    def freshen(self, **fields: int) -> bool: ...

def hold_shard(view: CacheView, key: str) -> bool: ...
def release_shard(view: CacheView, key: str) -> None: ...
def bucket_of_key(view: CacheView, key: str) -> tuple[int, int]: ...
def store_between_stops(
    view: CacheView,
    key: str,
    full_key: bytes,
    body: bytes,
    rest: bytes,
    sequence: int,
    give_up: bool = False,
) -> None: ...
def check_shards(view: CacheView) -> dict[str, int]: ...

class Hammer:
    """One of many processes that do at random what can be done with a store, and look at every byte.

    `board`: memory that they share, at least BOARD_WORDS 64-bit words; first the HAMMER_COUNTS."""

    def __init__(self, view: CacheView, board: memoryview, seed: int, longest: int = ...) -> None: ...
    def work(self, rounds: int) -> int:
        """0, or what was wrong: a number in cache_store_hammer.pxi."""
    def rest(self) -> None:
        """Discard what is begun, unpin what is pinned."""

BOARD_WORDS: int
HAMMER_COUNTS: tuple[str, ...]

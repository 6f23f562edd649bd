"""The store of responses: what is found is what was stored last and not purged; what is pinned stays."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.cache_store import (
    CACHE_BLOCK,
    MAX_MARKS,
    CacheView,
    FoundEntry,
    HalfEntry,
    bucket_of_key,
    check_shards,
    hold_shard,
    release_shard,
)
from native.shm import SharedState

MEGABYTE = 1 << 20
TAG = 1


def gateway_memory(size: int = MEGABYTE, workers: int = 4) -> SharedState:
    """The shared memory of a gateway whose control process and workers live."""
    shared = SharedState.create(workers, cache_bytes=size)
    shared.control_pid = 1
    for index in range(workers):
        shared.set_worker(index, pid=1, starts=1)
    return shared


@pytest.fixture
def shared() -> SharedState:
    return gateway_memory()


@pytest.fixture
def view(shared: SharedState) -> CacheView:
    return CacheView(shared, 0)


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def text_of(name: object, length: int) -> bytes:
    return random.Random(str(name)).randbytes(length)


def keep(view: CacheView, name: object, length: int = 100, **more: int) -> bool:
    return view.store(key_of(name), str(name).encode(), text_of(name, length), **more)


def body_of(view: CacheView, name: object) -> bytes | None:
    found = view.find(key_of(name), str(name).encode(), 1)
    return None if found is None else found["body"]


def die(shared: SharedState, index: int) -> None:
    """As the master does when a worker has died and another takes its block."""
    shared.set_worker(index, pid=0)
    shared.set_worker(index, starts=shared.worker(index)["starts"] + 1)
    shared.set_worker(index, pid=1)


def total(view: CacheView) -> int:
    return sum(check_shards(view).values())


# --- finding --------------------------------------------------------------------------------------
def test_nothing_is_found_at_first(view: CacheView) -> None:
    assert body_of(view, "a") is None
    assert view.get(key_of("a")) is None
    assert list(view.entries()) == []
    assert not view.remove(key_of("a"))
    assert view.purge_all() == 0


def test_finds_what_was_stored(view: CacheView) -> None:
    fields = {
        "stored_ms": 1,
        "keep_until_ms": 8_000_000_000_001,
        "fresh_until_ms": 3,
        "stale_while_revalidate_ms": 4,
        "stale_if_error_ms": 5,
        "initial_age_ms": 6,
        "last_modified": 7,
        "flags": 1 << 31,
        "status": 404,
        "field_count": 9,
        "vary_count": 10,
        "scope": 1 << 63,
    }
    assert view.store(key_of(1), b"full", b"body", prelude=b"prelude", marks=[1, 2], **fields)
    expected = fields | {"key": key_of(1), "full_key": b"full", "sequence": 0, "marks": [1, 2]}
    expected |= {"prelude_length": 7, "body_length": 4}
    assert list(view.entries()) == [expected]
    expected |= {"prelude": b"prelude", "body": b"body"}
    assert view.find(key_of(1), b"full") == expected
    assert view.get(key_of(1)) == expected


@pytest.mark.parametrize("shift", range(-2, 3))
def test_lengths_around_the_blocks(view: CacheView, shift: int) -> None:
    """Head, key, prelude and body end anywhere in a block; all blocks are given back."""
    for blocks in (1, 2, 3, 64, 300):
        length = blocks * CACHE_BLOCK + shift
        assert keep(view, blocks, length)
        assert body_of(view, blocks) == text_of(blocks, length)
        for key_length in (CACHE_BLOCK - 232 + shift, CACHE_BLOCK + shift, 5000):
            full_key = text_of("key", key_length)
            assert view.store(key_of("x"), full_key, b"body", prelude=b"p" * length)
            found = view.find(key_of("x"), full_key)
            assert found is not None
            assert (found["full_key"], found["prelude"], found["body"]) == (full_key, b"p" * length, b"body")
        view.purge_all()
        assert check_shards(view)["free"] == total(view)


def test_reads_from_anywhere(view: CacheView) -> None:
    text = text_of("a", 10_000)
    assert view.store(key_of("a"), b"a", text[100:], prelude=text[:100])
    entry = FoundEntry(view, key_of("a"), b"a")
    for offset in (0, 1, 99, 100, 790, 791, 792, 793, 5000, 9999, 10_000):
        for length in (0, 1, 1023, 1024, 1025, 10_000 - offset):
            if offset + length <= 10_000:
                assert entry.read(offset, length) == text[offset : offset + length]
                assert b"".join(entry.pieces(offset, length, 64)) == text[offset : offset + length]
    assert entry.read(0, 10_001) is None
    assert entry.read(10_001, 0) is None
    assert entry.pieces(9_999, 2, 64) == []


def test_neighbouring_blocks_are_one_piece(view: CacheView) -> None:
    assert keep(view, "a", 50_000)
    entry = FoundEntry(view, key_of("a"), b"a")
    assert entry.pin()
    assert entry.pieces(0, 50_000, 1) == [text_of("a", 50_000)]


def test_pieces_of_a_scattered_entry(view: CacheView) -> None:
    """No more pieces than there is room for."""
    names = range(600)
    assert all(keep(view, name, 0) for name in names)
    for name in names[::2]:
        view.remove(key_of(name))
    for name in range(1000, 1300):  # what is left of the memory, and the holes, have to do
        keep(view, name, 0)
    text = text_of("long", 20_000)
    for name in range(1000, 1300, 2):
        view.remove(key_of(name))
    assert view.store(key_of("long"), b"long", text)
    entry = FoundEntry(view, key_of("long"), b"long")
    assert entry.pin()
    assert b"".join(entry.pieces(0, 20_000, 64)) == text
    some = entry.pieces(500, 19_000, 3)
    assert len(some) == 3
    assert text[500:].startswith(b"".join(some))


def test_equal_hashes_are_not_equal_keys(view: CacheView) -> None:
    assert view.store(key_of("hash"), b"mine", b"my secret")
    assert view.find(key_of("hash"), b"your") is None
    assert view.find(key_of("hash"), b"min") is None
    assert view.find(key_of("hash"), b"mine ") is None
    assert view.store(key_of("hash"), b"your", b"your secret")
    assert view.find(key_of("hash"), b"mine") is None
    assert view.find(key_of("hash"), b"your")["body"] == b"your secret"


def test_every_byte_of_a_long_full_key_counts(view: CacheView) -> None:
    full_key = text_of("key", 2500)
    assert view.store(key_of("a"), full_key, b"body")
    for place in (0, 791, 792, 1815, 1816, 2499):
        other = bytearray(full_key)
        other[place] ^= 1
        assert view.find(key_of("a"), bytes(other)) is None
    assert view.find(key_of("a"), full_key) is not None


def test_replaces(view: CacheView) -> None:
    for version in range(50):
        assert view.store(key_of("a"), b"a", text_of(version, version * 500))
        assert body_of(view, "a") == text_of(version, version * 500)
    assert view.statistics()["entries"] == 1
    assert view.statistics()["evictions"] == 0
    check_shards(view)


def test_not_found_when_its_time_is_over(view: CacheView) -> None:
    assert keep(view, "a", keep_until_ms=1000)
    assert view.get(key_of("a"), 999) is not None
    assert view.find(key_of("a"), b"a", 999) is not None
    assert len(list(view.entries(999))) == 1
    assert view.get(key_of("a"), 1000) is None
    assert list(view.entries(1000)) == []
    assert view.find(key_of("a"), b"a", 1000) is None
    assert not view.remove(key_of("a"))


def test_freshens(view: CacheView) -> None:
    assert keep(view, "a", 5000, keep_until_ms=1000, status=203)
    entry = FoundEntry(view, key_of("a"), b"a")
    assert entry.pin()
    other = FoundEntry(view, key_of("a"), b"a")
    assert entry.freshen(keep_until_ms=2000, fresh_until_ms=1500, flags=3, status=500)
    assert entry.shown["fresh_until_ms"] == 1500
    assert entry.read() == text_of("a", 5000)
    assert other.read() is None, "it is told that the entry has changed"
    found = view.find(key_of("a"), b"a", 1999)
    assert found is not None
    assert (found["keep_until_ms"], found["flags"], found["status"]) == (2000, 3, 203)
    assert not other.freshen(keep_until_ms=3000)
    # it is still pinned
    assert view.remove(key_of("a")) is False, "its time is over by the clock"
    assert entry.read() == text_of("a", 5000)
    assert check_shards(view)["limbo"] == 6
    assert not entry.freshen(keep_until_ms=3000)


# --- room -----------------------------------------------------------------------------------------
def test_too_long(view: CacheView) -> None:
    most = view.longest - 232 - 1
    assert keep(view, "a", most)
    assert body_of(view, "a") == text_of("a", most)
    before = check_shards(view)
    assert not keep(view, "b", most + 1)
    assert not view.store(key_of("c"), bytes(most + 2), b"")
    entry = HalfEntry(view, key_of("d"), b"d")
    assert entry.append(bytes(most - 10))
    assert not entry.append(bytes(11))
    assert not entry.append(b"x"), "it was discarded"
    assert not entry.publish()
    assert check_shards(view) == before
    assert view.statistics()["skipped"] == 3


@pytest.mark.parametrize("size", [0, 4096, 100_000])
def test_without_memory_nothing_is_kept(size: int) -> None:
    view = CacheView(gateway_memory(size), 0)
    assert view.longest == 0
    assert not keep(view, "a")
    assert body_of(view, "a") is None
    assert view.get(key_of("a")) is None
    assert not view.remove(key_of("a"))
    assert view.purge_all() == view.remove_matching(lambda _: True) == view.sequence() == 0
    view.mark(TAG, b"a")
    assert set(view.statistics().values()) == {0}
    assert list(view.entries()) == []


@pytest.mark.parametrize(
    ("size", "workers", "shards"),
    [(1, 1, 1), (1, 4, 1), (1, 256, 1), (9, 4, 2), (64, 64, 15), (128, 16, 16), (4096, 16, 63)],
)
def test_regions_of_all_sizes(size: int, workers: int, shards: int) -> None:
    view = CacheView(gateway_memory(size * MEGABYTE, workers), 0)
    figures = view.statistics()
    assert figures["shards"] == shards
    assert figures["size"] > 0.70 * size * MEGABYTE
    assert figures["longest"] >= figures["size"] // shards // 2 - CACHE_BLOCK
    assert figures["longest"] >= min(size, 4) * MEGABYTE // 3
    length = figures["longest"] - 300
    assert keep(view, "long", length)
    assert body_of(view, "long") == text_of("long", length)


def test_what_is_used_stays(view: CacheView) -> None:
    """CLOCK: entries that are found again and again survive any number of others that are stored once."""
    names = [f"used {number}" for number in range(50)]
    assert all(keep(view, name, 1500) for name in names)
    for number in range(3000):
        assert keep(view, number, 1500)
        if number % 50 == 0:
            for name in names:
                body_of(view, name)
    gone = [name for name in names if body_of(view, name) != text_of(name, 1500)]
    assert len(gone) <= 3, "but where a bucket of the index happens to be full of them and of others"
    assert view.statistics()["evictions"] > 2000
    assert body_of(view, 0) is None
    check_shards(view)


def test_what_was_not_used_goes_first(view: CacheView) -> None:
    assert keep(view, "used", 1000)
    assert keep(view, "unused", 1000)
    body_of(view, "used")
    number = 0
    while body_of(view, "unused"):  # which is a use, too
        for _ in range(1000):
            number += 1
            assert keep(view, number, 1000)
        assert number < 5000
    assert number <= 2000


def test_a_look_by_the_admin_api_is_no_use(view: CacheView) -> None:
    assert keep(view, "seen", 1000)
    for number in range(700):
        assert keep(view, number, 1000)
        view.get(key_of("seen"))
    assert view.get(key_of("seen")) is None


def test_a_full_bucket_of_the_index(view: CacheView) -> None:
    """Nine entries of one bucket, which has eight words."""
    wanted = bucket_of_key(view, key_of(0))
    names = [name for name in range(10_000) if bucket_of_key(view, key_of(name)) == wanted][:30]
    assert len(names) > 12
    for number, name in enumerate(names):
        assert keep(view, name, 10)
        assert body_of(view, name) == text_of(name, 10)
        assert view.statistics()["entries"] == min(number + 1, 8)
        check_shards(view)
    assert view.statistics()["evictions"] == len(names) - 8


def test_entries_that_are_being_written_fill_the_store(view: CacheView) -> None:
    """They cannot be evicted; others are refused until one of them is through."""
    half = [HalfEntry(view, key_of(number), b"k") for number in range(4)]
    lengths = [200_000, 200_000, 200_000, 200_000]
    assert all(entry.append(bytes(length)) for entry, length in zip(half, lengths, strict=True))
    assert not keep(view, "other", 200_000)
    check_shards(view)
    half[0].discard()
    assert keep(view, "other", 200_000)
    assert half[1].publish()
    assert view.find(key_of(1), b"k")["body"] == bytes(200_000)
    half[2].discard()
    half[3].discard()
    half[3].discard()
    view.purge_all()
    assert check_shards(view)["free"] == total(view)


# --- pins -----------------------------------------------------------------------------------------
def fill(view: CacheView, entries: int = 600) -> None:
    for number in range(entries):
        assert keep(view, f"filling {number}", 2000)


@pytest.mark.parametrize("how", ["evicted", "replaced", "removed", "purged", "emptied"])
def test_what_is_pinned_keeps_its_bytes(shared: SharedState, view: CacheView, how: str) -> None:
    other = CacheView(shared, 1)
    assert keep(view, "a", 100_000)
    entry = FoundEntry(view, key_of("a"), b"a")
    assert entry.pin()
    actions: dict[str, Callable[[], object]] = {
        "evicted": lambda: None,
        "replaced": lambda: other.store(key_of("a"), b"a", bytes(90_000)),
        "removed": lambda: other.remove(key_of("a")),
        "purged": other.purge_all,
        "emptied": lambda: (hold_shard(other, key_of("a")), die(shared, 1)),
    }
    actions[how]()
    if how == "emptied":
        other = CacheView(shared, 1)
        assert other.statistics()["emptied"] == 1
    for _ in range(3):
        fill(other)
    if how != "replaced":
        assert body_of(other, "a") is None
    assert entry.read() == text_of("a", 100_000)
    assert b"".join(entry.pieces(0, 100_000, 64)) == text_of("a", 100_000)
    counted = check_shards(view)
    assert counted["limbo"] == 98
    entry.unpin()
    for _ in range(3):
        fill(other)
    assert check_shards(view)["limbo"] == 0


def test_a_reader_without_a_pin_notices(view: CacheView) -> None:
    assert keep(view, "a", 3000)
    entry = FoundEntry(view, key_of("a"), b"a")
    assert entry.read() == text_of("a", 3000)
    view.remove(key_of("a"))
    assert entry.read() is None
    assert not entry.pin()
    entry.unpin()
    fill(view)
    assert entry.read() is None


def test_pins_are_limited(view: CacheView) -> None:
    assert keep(view, "a")
    found = [FoundEntry(view, key_of("a"), b"a") for _ in range(3000)]
    pinned = [entry for entry in found if entry.pin()]
    assert 8 <= len(pinned) < 3000
    pinned[3].unpin()
    assert found[-1].pin()
    assert not found[-2].pin()
    assert pinned[0].pin(), "it is pinned already"


def test_the_pins_of_the_dead_do_not_count(shared: SharedState, view: CacheView) -> None:
    assert keep(view, "a", 100_000)
    dead = CacheView(shared, 1)
    assert FoundEntry(dead, key_of("a"), b"a").pin()
    view.remove(key_of("a"))
    fill(view, 1200)
    assert check_shards(view)["limbo"] == 98
    die(shared, 1)
    fill(view, 1200)
    assert check_shards(view)["limbo"] == 0


def test_a_new_worker_has_no_pins_of_the_one_before(shared: SharedState, view: CacheView) -> None:
    assert keep(view, "a", 100_000)
    assert FoundEntry(CacheView(shared, 1), key_of("a"), b"a").pin()
    view.remove(key_of("a"))
    die(shared, 1)
    CacheView(shared, 1)
    fill(view, 1200)
    assert check_shards(view)["limbo"] == 0


# --- deaths ---------------------------------------------------------------------------------------
def test_what_the_dead_were_writing_is_found_by_the_hand(shared: SharedState, view: CacheView) -> None:
    half = HalfEntry(CacheView(shared, 1), key_of("a"), b"a")
    assert half.append(bytes(300_000))
    shared.set_worker(1, pid=0)
    assert check_shards(view)["left_over"] == 294
    fill(view, 1000)
    assert check_shards(view)["left_over"] == 0


def test_what_the_dead_were_writing_is_taken_over(shared: SharedState, view: CacheView) -> None:
    alive = HalfEntry(view, key_of("b"), b"b")
    half = HalfEntry(CacheView(shared, 1), key_of("a"), b"a")
    assert half.append(bytes(300_000))
    die(shared, 1)
    CacheView(shared, 1)
    counted = check_shards(view)
    assert (counted["left_over"], counted["filling"]) == (0, 1)
    assert alive.publish()


def test_the_shard_of_a_dead_writer_is_emptied(shared: SharedState, view: CacheView) -> None:
    """Fillings of the living go on, their entries can be found."""
    assert all(keep(view, name, 1500) for name in range(50))
    half = HalfEntry(view, key_of("half"), b"half")
    assert half.append(b"one ")
    reader = FoundEntry(view, key_of(1), b"1")
    dead = CacheView(shared, 1)
    dying = HalfEntry(dead, key_of("dying"), b"dying")
    assert dying.append(bytes(5000))
    assert hold_shard(dead, key_of("a"))
    assert not keep(view, "a"), "who lives may be waiting for a processor"
    assert view.statistics()["skipped"] == 1
    assert body_of(view, 1) == text_of(1, 1500), "readers need no lock"
    shared.set_worker(1, pid=0)
    assert keep(view, "a", 1000)
    assert view.statistics()["emptied"] == 1
    assert [name for name in range(50) if body_of(view, name)] == []
    assert reader.read() is None
    assert half.append(b"two")
    assert half.publish()
    assert view.find(key_of("half"), b"half")["body"] == b"one two"
    assert body_of(view, "a") == text_of("a", 1000)
    counted = check_shards(view)
    assert (counted["filling"], counted["limbo"], counted["left_over"]) == (0, 0, 0)
    assert counted["used"] == 3


def test_who_empties_may_die_as_well(shared: SharedState, view: CacheView) -> None:
    assert keep(view, "a", 50_000)
    pinned = FoundEntry(view, key_of("a"), b"a")
    assert pinned.pin()
    for index in (1, 2, 3):
        assert hold_shard(CacheView(shared, index), key_of("a"))
        shared.set_worker(index, pid=0)
    assert keep(view, "b")
    assert view.statistics()["emptied"] == 3
    assert pinned.read() == text_of("a", 50_000)
    assert check_shards(view)["limbo"] == 50


def test_the_control_process_may_die_as_well(shared: SharedState, view: CacheView) -> None:
    control = CacheView(shared)
    assert hold_shard(control, key_of("a"))
    assert not keep(view, "a")
    shared.control_pid = 0
    assert keep(view, "a")
    shared.control_restarts += 1
    shared.control_pid = 1
    assert not hold_shard(control, key_of("a")), "who is taken for dead holds no lock"
    control = CacheView(shared)
    assert control.get(key_of("a")) is not None
    assert control.remove(key_of("a"))


def test_what_is_discarded_without_the_lock_comes_back(shared: SharedState, view: CacheView) -> None:
    half = HalfEntry(view, key_of("a"), b"a")
    assert half.append(bytes(100_000))
    other = CacheView(shared, 1)
    assert hold_shard(other, key_of("a"))
    half.discard()
    release_shard(other, key_of("a"))
    assert check_shards(view)["left_over"] == 98
    fill(view, 1200)
    counted = check_shards(view)
    assert (counted["left_over"], counted["filling"]) == (0, 0)


# --- purging --------------------------------------------------------------------------------------
def test_a_mark_voids_what_carries_it(view: CacheView) -> None:
    tags = [view.mark_place(TAG, b"tag %d" % number) for number in range(MAX_MARKS)]
    assert keep(view, "marked", marks=tags)
    assert keep(view, "other", marks=[view.mark_place(TAG, b"other")])
    assert keep(view, "none")
    view.mark(TAG, b"nobody's")
    assert body_of(view, "marked")
    assert view.mark_place(TAG, b"tag 23") != view.mark_place(TAG + 1, b"tag 23"), "kinds are different marks"
    view.mark(TAG, b"tag 23")
    assert body_of(view, "marked") is None
    assert view.get(key_of("marked")) is None
    assert {entry["full_key"] for entry in view.entries()} == {b"other", b"none"}
    assert body_of(view, "other")
    assert keep(view, "marked", marks=tags), "its request began later"
    assert body_of(view, "marked")
    with pytest.raises(ValueError, match="at most 24 marks"):
        keep(view, "too many", marks=[*tags, 1])


PURGES: dict[str, Callable[[CacheView], object]] = {
    "mark": lambda view: view.mark(TAG, b"tag"),
    "all": lambda view: view.purge_all(),
    "key": lambda view: view.remove(key_of("a")),
    "prefix": lambda view: view.remove_prefix(b"a"),
    "predicate": lambda view: view.remove_matching(lambda _: False),
}


@pytest.mark.parametrize("purge", PURGES)
def test_what_is_under_way_is_purged_as_well(view: CacheView, purge: str) -> None:
    marks = [view.mark_place(TAG, b"tag")]
    before = view.sequence()
    half = HalfEntry(view, key_of("a"), b"a")
    PURGES[purge](view)
    assert not half.publish(marks)
    assert view.get(key_of("a")) is None
    assert not keep(view, "a", sequence=before, marks=marks), "it was sent before"
    assert view.statistics()["purged"] == 2
    assert check_shards(view)["free"] == total(view)
    assert keep(view, "a", marks=marks)
    assert body_of(view, "a") == text_of("a", 100)


def test_purges_of_others_leave_alone_what_is_under_way(view: CacheView) -> None:
    half = HalfEntry(view, key_of("a"), b"a")
    view.mark(TAG, b"other tag")
    assert half.publish([view.mark_place(TAG, b"tag")])
    refused = 0
    for name in range(500):
        half = HalfEntry(view, key_of("a"), b"a")
        view.remove(key_of(name))
        refused += not half.publish()
    assert refused < 40, "keys share 64 places"


def test_purges_everything(view: CacheView) -> None:
    assert all(keep(view, name, 2000) for name in range(100))
    assert view.purge_all() == 100
    assert list(view.entries()) == []
    assert all(body_of(view, name) is None for name in range(100))
    assert view.statistics()["entries"] == view.statistics()["bytes"] == 0
    assert keep(view, 1)
    assert body_of(view, 1)


def test_removes_by_key(view: CacheView) -> None:
    assert all(keep(view, name, 2000) for name in range(10))
    assert view.remove(key_of(3))
    assert not view.remove(key_of(3))
    assert body_of(view, 3) is None
    assert all(body_of(view, name) for name in range(10) if name != 3)
    assert view.statistics()["entries"] == 9


def test_removes_by_prefix_and_scope(view: CacheView) -> None:
    for number in range(20):
        assert view.store(key_of(number), b"p" * 3000 + b"%02d" % number, b"", scope=number % 2)
    assert view.remove_prefix(b"p" * 3000 + b"1", scope=1) == 5
    assert view.remove_prefix(b"p" * 3001) == 0
    assert view.remove_prefix(b"p" * 3000 + b"1") == 5
    assert {entry["full_key"][-2:] for entry in view.entries()} == {b"%02d" % number for number in range(10)}


def test_removes_what_a_function_chooses(view: CacheView) -> None:
    assert all(keep(view, name, 100, status=200 + name) for name in range(10))
    assert view.remove_matching(lambda entry: entry["status"] > 206) == 3
    assert sorted(entry["status"] for entry in view.entries()) == list(range(200, 207))
    with pytest.raises(ZeroDivisionError):
        view.remove_matching(lambda entry: 1 // (entry["status"] - 203) > 5)
    assert keep(view, "after")


def test_what_cannot_be_asked(view: CacheView) -> None:
    for key in ("", "0" * 63, "0" * 65, "X" * 64, "0x" + "0" * 62, " " + "0" * 63):
        with pytest.raises(ValueError, match="64 lower-case hex digits"):
            view.get(key)
    with pytest.raises(TypeError, match="no field of an entry's head: colour"):
        keep(view, "a", colour=1)


# --- against a model ------------------------------------------------------------------------------
NAMES = st.integers(min_value=0, max_value=12)
LENGTHS = st.one_of(
    st.integers(0, 3000), st.sampled_from([0, 790, 792, 50_000, 100_000, 300_000, 448_000, 500_000])
)
STEPS = st.one_of(
    st.tuples(st.just("store"), NAMES, LENGTHS, st.integers(0, 3)),
    st.tuples(st.just("begin"), NAMES, LENGTHS, st.integers(0, 3)),
    st.tuples(st.just("publish"), st.integers(0, 5)),
    st.tuples(st.just("find"), NAMES),
    st.tuples(st.just("get"), NAMES),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("mark"), st.integers(0, 3)),
    st.tuples(st.just("prefix"), NAMES),
    st.tuples(st.just("all")),
    st.tuples(st.just("pin"), NAMES),
    st.tuples(st.just("unpin"), st.integers(0, 5)),
    st.tuples(st.just("kill")),
)


class Model:
    """A store beside a dictionary of what may be found. Misses are allowed, anything else must be right."""

    def __init__(self) -> None:
        self.shared = gateway_memory()
        self.view = CacheView(self.shared, 0)
        self.known: dict[int, tuple[bytes, int]] = {}
        self.half: list[tuple[HalfEntry, int, bytes, int, bool]] = []
        self.pinned: list[tuple[FoundEntry, bytes]] = []
        self.version = 0

    def check(self, name: int, found: bytes | None) -> None:
        assert found is None or (name in self.known and found == self.known[name][0])

    def store(self, name: int, length: int, tag: int) -> None:
        self.begin(name, length, tag)
        self.publish(len(self.half) - 1)

    def begin(self, name: int, length: int, tag: int) -> None:
        self.version += 1
        text = text_of(self.version, length)
        half = HalfEntry(self.view, key_of(name), str(name).encode())
        cut = length // 3
        if half.append(text[:cut]):
            half.append(text[cut:])
        self.half.append((half, name, text, tag, False))

    def publish(self, number: int) -> None:
        if number < len(self.half):
            half, name, text, tag, purged = self.half.pop(number)
            if half.publish([self.view.mark_place(TAG, b"%d" % tag)]):
                assert not purged
                self.known[name] = (text, tag)

    def purge(self, name: int | None = None, tag: int | None = None) -> None:
        """What is known of this name and tag (None: any) must not be found any more."""

        def is_meant(one: int, its_tag: int) -> bool:
            return name in (None, one) and tag in (None, its_tag)

        self.known = {one: known for one, known in self.known.items() if not is_meant(one, known[1])}
        self.half = [
            (half, one, text, its_tag, purged or is_meant(one, its_tag))
            for half, one, text, its_tag, purged in self.half
        ]

    def find(self, name: int) -> None:
        self.check(name, body_of(self.view, name))

    def get(self, name: int) -> None:
        found = self.view.get(key_of(name))
        self.check(name, None if found is None else found["body"])

    def remove(self, name: int) -> None:
        assert not self.view.remove(key_of(name)) or name in self.known
        self.purge(name=name)

    def mark(self, tag: int) -> None:
        self.view.mark(TAG, b"%d" % tag)
        self.purge(tag=tag)

    def prefix(self, name: int) -> None:
        self.view.remove_prefix(str(name).encode())
        for one in range(13):
            if str(one).startswith(str(name)):
                self.purge(name=one)

    def all(self) -> None:
        self.view.purge_all()
        self.purge()

    def pin(self, name: int) -> None:
        try:
            entry = FoundEntry(self.view, key_of(name), str(name).encode())
        except KeyError:
            return
        if entry.pin():
            self.pinned.append((entry, self.known[name][0]))

    def unpin(self, number: int) -> None:
        if number < len(self.pinned):
            entry, _ = self.pinned.pop(number)
            entry.unpin()

    def kill(self) -> None:
        """Another worker dies with the lock in its hand."""
        assert hold_shard(CacheView(self.shared, 1), key_of(0))
        die(self.shared, 1)

    def check_all(self) -> None:
        for entry, text in self.pinned:
            assert entry.read() == text
        for entry in self.view.entries():
            self.check(int(entry["full_key"]), self.view.get(entry["key"])["body"])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_like_a_dictionary(steps: list[tuple[str, *tuple[int, ...]]]) -> None:
    model = Model()
    for step, *values in steps:
        getattr(model, step)(*values)
        model.check_all()
    check_shards(model.view)
    for half, *_ in model.half:
        half.discard()
    for entry, _ in model.pinned:
        entry.unpin()
    model.all()
    for number in range(1200):  # the hand goes round
        keep(model.view, number, 1000)
    model.all()
    counted = check_shards(model.view)
    assert counted["free"] == sum(counted.values())

"""The cache of verified tokens: what is found is what was stored, whoever writes and whoever is killed."""

import hashlib
import os
import random
import signal
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.shm import SharedState
from native.token_cache import CLAIM_LENGTH, LONGEST_TOKEN, TokenSource, find, scribble, store, words_of

MEGABYTE = 1 << 20
SECOND = 1_700_000_000


@pytest.fixture
def shared() -> SharedState:
    return SharedState.create(1, token_cache_bytes=MEGABYTE)


def token(number: int, length: int = 200) -> bytes:
    return random.Random(number).randbytes(length // 2 + 1).hex().encode()[:length]


def keep(shared: SharedState, text: bytes, version: int = 0, **more) -> bool:
    """Store a token with facts that follow from its text and a version."""
    return store(shared, text, **facts_of(text, version), **more)


def facts_of(text: bytes, version: int = 0) -> dict:
    digest = hashlib.sha256(text + struct.pack("<Q", version)).digest()
    begins, expires, known_until, credential = struct.unpack("<IIIQ", digest[:20])
    return {
        "begins": begins,
        "expires": (1 << 40) + expires,
        "known_until": known_until,
        "credential": credential,
        "source": TokenSource(1 + digest[20] % 2),
        "claim": digest[: digest[21] % 30],
    }


# --- what is found --------------------------------------------------------------------------------
def test_nothing_is_known_at_first(shared: SharedState) -> None:
    assert find(shared, token(1)) is None


def test_finds_what_was_stored(shared: SharedState) -> None:
    for length in (1, 7, 8, 9, 319, 320, 321, 832, 833, 1856, 1857, LONGEST_TOKEN):
        text = token(length, length)
        assert keep(shared, text)
        assert find(shared, text) == facts_of(text)


def test_too_long_and_empty_tokens_are_not_kept(shared: SharedState) -> None:
    assert not keep(shared, token(1, LONGEST_TOKEN + 1))
    assert find(shared, token(1, LONGEST_TOKEN + 1)) is None
    assert not keep(shared, b"")
    assert find(shared, b"") is None


def test_without_memory_nothing_is_kept() -> None:
    for size in (0, 4096, 16384):  # not even a bucket of the shortest ones
        shared = SharedState.create(1, token_cache_bytes=size)
        assert not keep(shared, token(1))
        assert find(shared, token(1)) is None


def test_every_byte_of_a_token_counts(shared: SharedState) -> None:
    text = token(5, 133)
    assert keep(shared, text)
    for place in range(len(text)):
        other = bytearray(text)
        other[place] ^= 1
        assert find(shared, bytes(other)) is None
    assert find(shared, text[:-1]) is None
    assert find(shared, text + b"0") is None
    assert find(shared, text + b"\0") is None


def test_other_rules_do_not_know_it(shared: SharedState) -> None:
    assert keep(shared, token(1), rules=(5, 6))
    assert find(shared, token(1), rules=(5, 7)) is None
    assert find(shared, token(1), rules=(4, 6)) is None
    assert find(shared, token(1)) is None
    assert find(shared, token(1), rules=(5, 6)) == facts_of(token(1))


def test_the_same_token_under_two_rules(shared: SharedState) -> None:
    keep(shared, token(1), 1, rules=(5, 6))
    keep(shared, token(1), 2, rules=(7, 8))
    assert find(shared, token(1), rules=(5, 6)) == facts_of(token(1), 1)
    assert find(shared, token(1), rules=(7, 8)) == facts_of(token(1), 2)


def test_new_facts_take_the_place_of_old_ones(shared: SharedState) -> None:
    for version in range(20):
        keep(shared, token(1), version)
        assert find(shared, token(1)) == facts_of(token(1), version)


def test_two_gateways_hash_differently() -> None:
    """So that nobody outside can know which tokens meet in a bucket."""

    def survivors(shared: SharedState) -> list[int]:
        for number in range(3000):
            keep(shared, token(number))
        return [number for number in range(3000) if find(shared, token(number))]

    one, other = (survivors(SharedState.create(1, token_cache_bytes=MEGABYTE)) for _ in range(2))
    assert one != other


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=600), st.integers(0, 5), st.integers(0, 3))))
@settings(max_examples=100)
def test_like_a_dictionary_that_may_forget(steps: list[tuple[bytes, int, int]]) -> None:
    shared = SharedState.create(1, token_cache_bytes=MEGABYTE)
    stored: dict[tuple[bytes, int], int] = {}
    for text, version, rule in steps:
        assert keep(shared, text, version, rules=(rule, 0))
        stored[text, rule] = version
        assert find(shared, text, rules=(rule, 0)) == facts_of(text, version)
    for (text, rule), version in stored.items():
        assert find(shared, text, rules=(rule, 0)) in (None, facts_of(text, version))


# --- who stays ------------------------------------------------------------------------------------
def test_keeps_as_many_as_there_is_room_for(shared: SharedState) -> None:
    room = MEGABYTE // 4 // 530
    for number in range(room // 2):
        keep(shared, token(number))
    known = sum(find(shared, token(number)) is not None for number in range(room // 2))
    assert known > 0.95 * (room // 2)


def test_tokens_in_use_survive_a_flood_of_new_ones(shared: SharedState) -> None:
    used = [token(number) for number in range(40)]
    for text in used:
        keep(shared, text, now=SECOND)
        assert find(shared, text, now=SECOND)
    for number in range(20_000):  # forty times what there is room for
        second = SECOND + number // 1000
        keep(shared, token(1_000_000 + number), now=second)
        if number % 1000 == 0:
            for text in used:
                find(shared, text, now=second)
    assert [text for text in used if not find(shared, text)] == []


def test_what_nobody_uses_any_more_goes(shared: SharedState) -> None:
    keep(shared, token(1), now=SECOND)
    find(shared, token(1), now=SECOND)
    for number in range(20_000):
        keep(shared, token(1_000_000 + number), now=SECOND + 3600)
    assert find(shared, token(1)) is None


def test_an_expired_token_does_not_stay_for_being_asked_for(shared: SharedState) -> None:
    store(shared, token(1), expires=SECOND - 1, now=SECOND - 2)
    assert find(shared, token(1), now=SECOND) is not None
    for number in range(20_000):
        find(shared, token(1), now=SECOND + number)
        keep(shared, token(1_000_000 + number), now=SECOND + number)
    assert find(shared, token(1)) is None


def test_a_clock_that_was_put_back(shared: SharedState) -> None:
    keep(shared, token(1), now=SECOND)
    assert find(shared, token(1), now=SECOND - 100_000) == facts_of(token(1))
    assert find(shared, token(1), now=SECOND) == facts_of(token(1))


# --- half-written entries -------------------------------------------------------------------------
@pytest.mark.parametrize("length", [60, 1000])
def test_a_writer_that_stops_after_any_word_leaves_nothing_wrong(length: int) -> None:
    for words in range(words_of(token(1, length))):
        shared = SharedState.create(1, token_cache_bytes=4 * 20_000)  # one or two buckets
        one, other = token(1, length), token(2, length)
        keep(shared, one, 1)
        keep(shared, one, 2, words=words)  # over its old facts
        assert find(shared, one) in (None, facts_of(one, 1), facts_of(one, 2))
        for number in range(100):  # into every place, over other tokens
            keep(shared, token(1000 + number, length), 7)
            keep(shared, other, 3, words=words)
        for number in range(100):
            assert find(shared, token(1000 + number, length)) in (
                None,
                facts_of(token(1000 + number, length), 7),
            )
        assert find(shared, other) is None
        assert keep(shared, other, 4)
        assert find(shared, other) == facts_of(other, 4)


@given(st.data())
@settings(max_examples=60)
def test_words_that_went_astray_are_never_facts(data: st.DataObject) -> None:
    shared = SharedState.create(1, token_cache_bytes=65536)
    texts = [token(number, 120) for number in range(20)]
    for text in texts:
        keep(shared, text)
    word = st.integers(0, 65536 // 8 - 1)
    value = st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 3))
    for place, written in data.draw(st.lists(st.tuples(word, value), min_size=1, max_size=400)):
        scribble(shared, place, written)
    for text in texts:
        assert find(shared, text) in (None, facts_of(text))
        keep(shared, text, 1)
        assert find(shared, text) == facts_of(text, 1)


def forked(body) -> int:
    """A process that runs `body` until it is killed."""
    pid = os.fork()
    if not pid:
        try:
            body()
        finally:
            os._exit(1)
    return pid


def test_processes_that_write_the_same_places_and_are_killed() -> None:
    """Three of them write all the time; readers here see only facts that somebody stored."""
    shared = SharedState.create(1, token_cache_bytes=65536)  # few places, so that they meet
    texts = [token(number, 260) for number in range(60)]
    allowed = [[None, *(facts_of(text, version) for version in range(4))] for text in texts]

    def write() -> None:
        choice = random.Random(os.getpid())
        prepared = [[facts_of(text, version) for version in range(4)] for text in texts]
        while True:
            number = choice.randrange(len(texts))
            store(shared, texts[number], **choice.choice(prepared[number]))

    children = [forked(write) for _ in range(3)]
    seen = 0
    try:
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            victim = random.randrange(3)
            pause = time.monotonic() + random.random() * 0.02
            while time.monotonic() < pause:
                for text, possible in zip(texts, allowed, strict=True):
                    found = find(shared, text)
                    assert found in possible
                    seen += found is not None
            os.kill(children[victim], signal.SIGKILL)
            os.waitpid(children[victim], 0)
            children[victim] = forked(write)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert seen, "the readers met nothing"
    for text in texts:  # nothing is locked
        assert keep(shared, text, 9)
        assert find(shared, text) == facts_of(text, 9)


def test_a_claim_has_an_end(shared: SharedState) -> None:
    store(shared, token(1), claim=b"c" * CLAIM_LENGTH)
    found = find(shared, token(1))
    assert found is not None
    assert found["claim"] == b"c" * CLAIM_LENGTH

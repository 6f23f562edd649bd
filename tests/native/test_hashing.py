import random

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from native.hashing import xxh3_128_digest, xxh64_digest

SEEDS = st.integers(min_value=0, max_value=2**64 - 1)


def test_known_values():
    # from the specification's own examples, and of the sizes where another part of the algorithm sets in
    assert xxh64_digest(b"") == 0xEF46DB3751D8E999
    assert xxh64_digest(b"abc") == 0x44BC2CF5AD770999


def test_every_length_around_the_block_sizes():
    data = bytes(range(256)) * 2
    for length in range(200):
        assert xxh64_digest(data[:length], 7) == xxhash.xxh64_intdigest(data[:length], 7)


@given(st.binary(max_size=300), SEEDS)
def test_equals_the_reference_library(data, seed):
    assert xxh64_digest(data, seed) == xxhash.xxh64_intdigest(data, seed)


@given(st.binary(max_size=64), st.integers(min_value=0, max_value=15))
def test_alignment_does_not_matter(data, shift):
    memory = memoryview(bytes(shift) + data)[shift:]
    assert xxh64_digest(memory) == xxhash.xxh64_intdigest(data)


# --- XXH3 with 128 bits ---------------------------------------------------------------------------
def xxh3(data: bytes | memoryview, seed: int = 0) -> int:
    low, high = xxh3_128_digest(data, seed)
    return high << 64 | low


@pytest.mark.parametrize("seed", [0, 1, 7, 1 << 31, (1 << 32) + 5, 2**64 - 1])
def test_xxh3_of_every_length(seed):
    """Up to the third block of 1024; the algorithm changes at 0, 3, 8, 16, 128 and 240."""
    data = random.Random(3).randbytes(2100)
    for length in range(2100):
        assert xxh3(data[:length], seed) == xxhash.xxh3_128_intdigest(data[:length], seed), length


@given(st.binary(max_size=2000), SEEDS)
@example(b"", 0)
@example(bytes(240), 2**64 - 1)
@example(b"\xff" * 241, 2**64 - 1)
@example(b"\xff" * 1024, 1)
@example(b"\xff" * 1025, 1)
def test_xxh3_equals_the_reference_library(data, seed):
    assert xxh3(data, seed) == xxhash.xxh3_128_intdigest(data, seed)


@given(st.integers(min_value=0, max_value=2000), st.randoms(use_true_random=False), SEEDS)
def test_xxh3_of_long_random_texts(length, chance, seed):
    data = chance.randbytes(length)
    assert xxh3(data, seed) == xxhash.xxh3_128_intdigest(data, seed)


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=15))
def test_xxh3_alignment_does_not_matter(data, shift):
    memory = memoryview(bytes(shift) + data)[shift:]
    assert xxh3(memory) == xxhash.xxh3_128_intdigest(data)

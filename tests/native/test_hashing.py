import xxhash
from hypothesis import given
from hypothesis import strategies as st

from native.hashing import xxh64_digest

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

"""Images of stored responses: what comes back is what was stored, and nothing else comes back."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.cache_image import (
    IMAGE_HEAD,
    LONGEST_IMAGE,
    ImageStore,
    MarkKind,
    read_fields,
    read_full_key,
    read_image,
    split_question,
)
from native.cache_store import MAX_MARKS, CacheView
from native.hashing import xxh64_digest
from tests.support.cache_images import FULL_KEY, HEAD, KEY, cache_memory, key_number

NOW = 1_795_000_000_000
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_!#", min_size=1, max_size=20).map(str.encode)
VALUES = st.binary(max_size=60).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127))
NOT_STORED = {
    *(b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"keep-alive", b"te", b"trailer"),
    *(b"proxy-connection", b"age", b"set-cookie", b"set-cookie2", b"proxy-authenticate"),
}


class Pair:
    """A store that has a response, and another one that is to get it."""

    def __init__(self) -> None:
        self.source = ImageStore(cache_memory())
        self.target_memory = cache_memory()
        self.target = ImageStore(self.target_memory)
        self.view = CacheView(self.target_memory)

    def image(self, body: bytes = b"hello", head: bytes = HEAD, **options: int | bytes) -> bytes:
        options.setdefault("keep_until_ms", NOW + 60_000)
        assert self.source.put(KEY, FULL_KEY, head, body, **options)  # type: ignore[arg-type]
        image = self.source.image(KEY, FULL_KEY, NOW + 60_000, NOW)
        assert image is not None
        return image

    def takes(self, image: bytes, **options: int | str | bytes | tuple[int, ...]) -> bool:
        chosen = {"key": KEY, "full_key": FULL_KEY, "now_ms": NOW, **options}
        return self.target.take(image, **chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stores() -> Pair:
    return Pair()


def checked(image: bytes) -> bytes:
    """With a checksum that fits, as somebody may make it who writes into Redis."""
    return image[:8] + struct.pack("<Q", xxh64_digest(image[16:])) + image[16:]


def changed(image: bytes, offset: int, form: str, *values: int) -> bytes:
    packed = struct.pack(form, *values)
    return checked(image[:offset] + packed + image[offset + len(packed) :])


OFFSETS = {
    "body_length": 48,
    "stored_ms": 56,
    "keep_until_ms": 64,
    "fresh_until_ms": 72,
    "initial_age_ms": 96,
    "key_length": 116,
    "head_length": 120,
    "rest_length": 124,
}
"""of fields of ImageHead"""


@given(
    body=st.binary(max_size=5000),
    rest=st.binary(max_size=100),
    status=st.integers(200, 599),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=20),
)
def test_what_comes_back_is_what_was_stored(
    stores: Pair, body: bytes, rest: bytes, status: int, fields: list[tuple[bytes, bytes]]
) -> None:
    fields = [(name, value.strip(b" ")) for name, value in fields if name not in NOT_STORED]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    image = stores.image(
        body,
        b"HTTP/1.1 %d \r\n%b\r\n" % (status, lines),
        rest=rest,
        stored_ms=NOW - 7,
        fresh_until_ms=NOW + 5,
        stale_if_error_ms=NOW + 8,
        stale_while_revalidate_ms=NOW + 9,
        initial_age_ms=3,
        last_modified=NOW // 1000 - 1,
        flags=5,
        vary_count=2,
    )
    assert stores.takes(image, scope=77)
    stored = stores.view.get(KEY, NOW)
    assert stored is not None
    assert (stored["full_key"], stored["body"], stored["status"]) == (FULL_KEY, body, status)
    assert read_fields(stored["prelude"], stored["field_count"]) == fields
    assert stored["prelude"].endswith(rest)
    assert (stored["stored_ms"], stored["fresh_until_ms"], stored["initial_age_ms"]) == (NOW - 7, NOW + 5, 3)
    assert (stored["stale_if_error_ms"], stored["stale_while_revalidate_ms"]) == (NOW + 8, NOW + 9)
    assert (stored["last_modified"], stored["flags"], stored["vary_count"]) == (NOW // 1000 - 1, 5, 2)
    assert (stored["scope"], stored["keep_until_ms"]) == (77, NOW + 5000), "the first level keeps it shortly"
    read = read_image(image)
    assert read is not None
    assert (read["key"], read["full_key"], read["body"], read["status"]) == (KEY, FULL_KEY, body, status)
    assert (read["fields"], read["keep_until_ms"]) == (fields, NOW + 60_000)


def test_an_image_of_an_image_is_the_same(stores: Pair) -> None:
    image = stores.image(b"x" * 100_000)
    assert stores.takes(image)
    assert stores.target.image(KEY, FULL_KEY, NOW + 60_000, NOW) == image


def test_every_part_is_missed(stores: Pair) -> None:
    """No prefix of an image is one, and none with more behind it."""
    image = stores.image(b"body", rest=b"rest")
    CacheView(stores.target_memory).purge_all()
    for length in range(len(image)):
        assert not stores.takes(image[:length])
        assert not stores.takes(checked(image[:length]) if length >= 16 else b"")
    assert not stores.takes(image + b"x")
    assert not stores.takes(checked(image + b"x"))
    assert stores.view.get(KEY, NOW) is None
    assert stores.takes(image)


def test_every_changed_bit_is_noticed(stores: Pair) -> None:
    image = stores.image(b"body", rest=b"rest")
    stores.view.purge_all()
    for place in range(len(image)):
        for bit in range(8):
            broken = bytearray(image)
            broken[place] ^= 1 << bit
            assert not stores.takes(bytes(broken))
            assert read_image(bytes(broken)) is None
    assert stores.view.get(KEY, NOW) is None


@given(
    image=st.binary(max_size=400),
    place=st.integers(0, 500),
    patch=st.binary(min_size=1, max_size=16),
)
def test_whatever_lies_there_is_survived(stores: Pair, image: bytes, place: int, patch: bytes) -> None:
    """Also when the checksum fits: nothing is read beyond the end, and what becomes an entry can be read."""
    stores.takes(image)
    stores.takes(checked(image) if len(image) >= 16 else image)
    good = stores.image(b"body", rest=b"rest")
    place %= len(good)
    broken = checked(good[:place] + patch + good[place + len(patch) :])
    stores.view.remove(KEY)
    if stores.takes(broken):
        stored = stores.view.get(KEY, NOW)
        assert stored is not None
        assert stored["full_key"] == FULL_KEY
        assert read_fields(stored["prelude"], stored["field_count"]) is not None
    read_image(broken)
    read_full_key(broken)


@pytest.mark.parametrize("name", ["body_length", "key_length", "head_length", "rest_length"])
@pytest.mark.parametrize("value", [0, 1, 1 << 20, 2**31, 2**32 - 1])
def test_lengths_that_do_not_fit(stores: Pair, name: str, value: int) -> None:
    image = stores.image(b"body of a length", rest=b"rest of a length")
    form = "<Q" if name == "body_length" else "<I"
    assert not stores.takes(changed(image, OFFSETS[name], form, value))
    if name == "body_length":
        assert not stores.takes(changed(image, OFFSETS[name], form, 2**64 - 1))


@pytest.mark.parametrize("name", ["stored_ms", "fresh_until_ms", "initial_age_ms", "keep_until_ms"])
@pytest.mark.parametrize("value", [-1, -(2**63), 2**63 - 1, 2**53])
def test_times_that_are_none(stores: Pair, name: str, value: int) -> None:
    assert not stores.takes(changed(stores.image(), OFFSETS[name], "<q", value))


def test_it_must_be_what_was_asked_for(stores: Pair) -> None:
    image = stores.image()
    stores.view.purge_all()
    assert not stores.takes(image, key=key_number(1))
    assert not stores.takes(image, full_key=FULL_KEY + b"x")
    assert not stores.takes(image, full_key=FULL_KEY[:-1])
    assert not stores.takes(image, full_key=FULL_KEY.replace(b"items", b"other"))
    # a collision that was made on purpose: the hash is the same, the full key is not
    other = changed(image, IMAGE_HEAD, f"<{len(FULL_KEY)}s", b"x" * len(FULL_KEY))  # type: ignore[arg-type]
    assert not stores.takes(other)
    assert not stores.takes(image, now_ms=NOW + 60_000), "it is over"
    assert stores.view.get(KEY, NOW) is None


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 \r\nX: a\r\n\r\nX: b\r\n\r\n",
        b"HTTP/1.1 200 \r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 \r\nX y: a\r\n\r\n",
        b"HTTP/1.1 200 \r\n: a\r\n\r\n",
        b"HTTP/1.1 200 \r\nX: a\r\n",
        b"HTTP/1.1 100 \r\nX: a\r\n\r\n",
        b"HTTP/1.1 99 \r\nX: a\r\n\r\n",
        b"\r\n\r\n",
        b"",
        b"HTTP/1.1 200 \r\n" + b"X: a\r\n" * 257 + b"\r\n",
    ],
)
def test_heads_that_no_upstream_could_have_sent(stores: Pair, head: bytes) -> None:
    image = stores.image(b"")
    (length,) = struct.unpack_from("<I", image, OFFSETS["head_length"])
    begin = IMAGE_HEAD + len(FULL_KEY)
    made = changed(image[:begin] + head + image[begin + length :], OFFSETS["head_length"], "<I", len(head))
    stores.view.remove(KEY)
    assert not stores.takes(made)
    assert stores.view.get(KEY, NOW) is None


def test_fields_that_are_not_stored_do_not_come_in(stores: Pair) -> None:
    image = stores.image(b"")
    hop = b"Connection: x-hop\r\nX-Hop: 1\r\n"
    head = b"HTTP/1.1 200 \r\nContent-Length: 5\r\nX: a\r\nSet-Cookie: id=1\r\n%b\r\n" % hop
    (length,) = struct.unpack_from("<I", image, OFFSETS["head_length"])
    begin = IMAGE_HEAD + len(FULL_KEY)
    made = changed(image[:begin] + head + image[begin + length :], OFFSETS["head_length"], "<I", len(head))
    assert stores.takes(made)
    stored = stores.view.get(KEY, NOW)
    assert stored is not None
    assert read_fields(stored["prelude"], stored["field_count"]) == [(b"X", b"a")]
    assert stores.takes(made, with_cookies=True)
    stored = stores.view.get(KEY, NOW)
    assert stored is not None
    assert read_fields(stored["prelude"], stored["field_count"]) == [(b"X", b"a"), (b"Set-Cookie", b"id=1")]


def test_tags_are_marked_on_this_node(stores: Pair) -> None:
    head = b"HTTP/1.1 200 \r\nSurrogate-Key: red  green\r\nCache-Tag: blue,green\r\n\r\n"
    image = stores.image(head=head)
    read = read_image(image)
    assert read is not None
    assert read["tags"] == [b"red", b"green", b"blue", b"green"]
    address = stores.view.mark_place(MarkKind.MARK_ADDRESS, b"/items/1")
    for kind, text in [
        *((MarkKind.MARK_TAG, tag) for tag in (b"red", b"green", b"blue")),
        (MarkKind.MARK_ADDRESS, b"/items/1"),
    ]:
        assert stores.takes(image, marks=(address,))
        stored = stores.view.get(KEY, NOW)
        assert stored is not None
        assert len(stored["marks"]) == 4
        stores.view.mark(kind, text)
        assert stores.view.get(KEY, NOW) is None
    many = b" ".join(b"tag%d" % number for number in range(MAX_MARKS + 1))
    assert not stores.source.put(
        KEY, FULL_KEY, b"HTTP/1.1 200 \r\nCache-Tag: %b\r\n\r\n" % many, b"", keep_until_ms=NOW
    ), "a purge by tag would not find it"


def test_what_was_purged_while_redis_was_asked_does_not_come_back(stores: Pair) -> None:
    image = stores.image()
    before = stores.view.sequence()
    stores.view.purge_all()
    assert not stores.takes(image, sequence=before)
    assert stores.takes(image, sequence=stores.view.sequence())


def test_large_responses_stay_in_the_first_level(stores: Pair) -> None:
    for length in (LONGEST_IMAGE // 2, LONGEST_IMAGE):
        assert stores.source.put(KEY, FULL_KEY, HEAD, bytes(length), keep_until_ms=NOW + 60_000)
        image = stores.source.image(KEY, FULL_KEY, NOW + 60_000, NOW)
        assert (image is None) == (length == LONGEST_IMAGE)
    assert not stores.takes(checked(bytes(LONGEST_IMAGE + 1)))


def test_questions() -> None:
    key = bytes(range(32))
    words = struct.unpack("<4Q", key)
    assert split_question(key + FULL_KEY) == ("".join(f"{word:016x}" for word in words), FULL_KEY)
    with pytest.raises(ValueError, match="begins with a key"):
        split_question(key[:-1])


def test_a_full_key_can_be_read_from_the_beginning(stores: Pair) -> None:
    image = stores.image(b"x" * 10_000)
    assert read_full_key(image[: IMAGE_HEAD + len(FULL_KEY)]) == FULL_KEY
    assert read_full_key(image[: IMAGE_HEAD + len(FULL_KEY) - 1]) is None
    assert read_full_key(b"") is None
    assert read_full_key(bytes(200)) is None


@pytest.mark.parametrize("count", [1, 2, 256, 257, 2**31])
def test_preludes_that_are_broken(count: int) -> None:
    assert read_fields(b"", count) is None
    assert read_fields(b"\xff" * 16, count) is None

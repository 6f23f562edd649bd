"""Consumers, credentials and groups in their mapped form: what is put in is found, and nothing else."""

import random
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.hashing import xxh64_digest
from native.identities import (
    Identities,
    IdentityKind,
    JwtAlgorithm,
    build_identities,
    consumer_record,
    credential_record,
    group_record,
    known_records,
    verify_identities,
)
from native.snapshot import HEADER_SIZE, PeersBuilder, SnapshotError, describe, verify

CREDENTIALS = [kind for kind in IdentityKind if kind >= IdentityKind.KEY_AUTH]


def identifier(number: int) -> str:
    return str(uuid.UUID(int=number))


def consumer(number: int, username: str | None = None, custom_id: str | None = None) -> bytes:
    return consumer_record(id=identifier(number), username=username, custom_id=custom_id)


def key(number: int, owner: int, text: str, kind: IdentityKind = IdentityKind.KEY_AUTH, **more) -> bytes:
    return credential_record(kind, id=identifier(number), consumer=identifier(owner), key=text, **more)


def checksummed(data: bytes) -> bytes:
    """The same file with the checksum that its bytes have."""
    header = bytearray(data[:HEADER_SIZE])
    header[24:32] = bytes(8)
    seed = xxh64_digest(bytes(header))
    header[24:32] = struct.pack("<Q", xxh64_digest(data[HEADER_SIZE:], seed))
    return bytes(header) + data[HEADER_SIZE:]


def test_an_empty_file():
    data = build_identities([], [], [], number=7)
    found = Identities(data)
    assert (found.number, found.counts) == (7, (0, 0, 0))
    assert found.consumer(IdentityKind.CONSUMER_USERNAME, "bob") is None
    assert found.credential(IdentityKind.KEY_AUTH, "secret") is None
    assert describe(data)["kind"].name == "SNAPSHOT_IDENTITIES"


def test_consumers_are_found_by_each_of_their_names():
    found = Identities(
        build_identities([consumer(1, "bob", "17"), consumer(2, None, "bob")], [], [], number=1)
    )
    bob = found.consumer(IdentityKind.CONSUMER_USERNAME, "bob")
    assert bob is not None
    assert (bob["id"], bob["username"], bob["custom_id"]) == (identifier(1), "bob", "17")
    assert found.consumer(IdentityKind.CONSUMER_ID, identifier(1)) == bob
    assert found.consumer(IdentityKind.CONSUMER_CUSTOM_ID, "17") == bob
    other = found.consumer(IdentityKind.CONSUMER_CUSTOM_ID, "bob")
    assert other is not None
    assert other["id"] == identifier(2)
    for kind, text in (
        (IdentityKind.CONSUMER_USERNAME, ""),
        (IdentityKind.CONSUMER_USERNAME, "Bob"),
        (IdentityKind.CONSUMER_ID, "bob"),
    ):
        assert found.consumer(kind, text) is None


def test_credentials_lead_to_their_consumers():
    credentials = [
        key(10, 1, "same key"),
        key(11, 2, "same key", IdentityKind.BASIC_AUTH, secret="hash"),  # noqa: S106
        key(12, 1, "issuer", IdentityKind.JWT, more="PEM", algorithm=int(JwtAlgorithm.JWT_ES256)),
        key(13, 2, "until", expires_at=1_900_000_000_123),
    ]
    found = Identities(build_identities([consumer(1, "a"), consumer(2, "b")], credentials, [], number=1))
    by_key = found.credential(IdentityKind.KEY_AUTH, "same key")
    assert by_key is not None
    assert (by_key["id"], by_key["consumer"], by_key["expires_at"]) == (identifier(10), identifier(1), 0)
    by_name = found.credential(IdentityKind.BASIC_AUTH, "same key")
    assert by_name is not None
    assert (by_name["consumer"], by_name["secret"]) == (identifier(2), "hash")
    token = found.credential(IdentityKind.JWT, "issuer")
    assert token is not None
    assert (token["more"], token["algorithm"]) == ("PEM", JwtAlgorithm.JWT_ES256)
    until = found.credential(IdentityKind.KEY_AUTH, "until")
    assert until is not None
    assert until["expires_at"] == 1_900_000_000_123
    assert found.credential(IdentityKind.OAUTH2, "same key") is None
    owner = found.consumer(IdentityKind.CONSUMER_USERNAME, "b")
    assert owner is not None
    assert [one["id"] for one in owner["credentials"]] == [identifier(11), identifier(13)]


def test_groups_are_those_of_the_consumer_in_order():
    groups = [
        group_record(consumer=identifier(number), name=name)
        for number, name in ((1, "admins"), (2, "users"), (1, "users"), (3, "nobody's"))
    ]
    found = Identities(build_identities([consumer(1, "a"), consumer(2, "b")], [], groups, number=1))
    first = found.consumer(IdentityKind.CONSUMER_USERNAME, "a")
    assert first is not None
    assert first["groups"] == ["admins", "users"]
    assert found.is_in_group(identifier(1), "admins")
    assert not found.is_in_group(identifier(2), "admins")
    assert not found.is_in_group(identifier(1), "nobody's")
    with pytest.raises(KeyError):
        found.is_in_group(identifier(3), "nobody's")


def test_a_credential_of_nobody_is_not_found():
    found = Identities(build_identities([consumer(1, "a")], [key(10, 2, "orphan")], [], number=1))
    assert found.credential(IdentityKind.KEY_AUTH, "orphan") is None
    assert found.counts == (1, 1, 0)


texts = st.text(max_size=12)


@settings(max_examples=60)
@given(
    names=st.lists(
        st.tuples(texts, texts), max_size=30, unique_by=(lambda pair: pair[0], lambda pair: pair[1])
    ),
    keys=st.lists(
        st.tuples(st.sampled_from(CREDENTIALS), texts, st.integers(0, 40)),
        max_size=60,
        unique_by=lambda one: one[:2],
    ),
    memberships=st.lists(st.tuples(st.integers(0, 40), texts), max_size=40, unique=True),
)
def test_finding_is_what_a_dictionary_finds(names, keys, memberships):
    consumers = [consumer(number, *pair) for number, pair in enumerate(names)]
    credentials = [key(100 + number, one[2], one[1], one[0]) for number, one in enumerate(keys)]
    groups = [group_record(consumer=identifier(number), name=name) for number, name in memberships]
    data = build_identities(consumers, credentials, groups, number=1)
    assert build_identities(consumers, credentials, groups, number=1) == data
    found = Identities(data)
    for number, (username, custom_id) in enumerate(names):
        one = found.consumer(IdentityKind.CONSUMER_ID, identifier(number))
        assert one is not None
        assert (one["username"], one["custom_id"]) == (username, custom_id)
        assert one["groups"] == [name for owner, name in memberships if owner == number]
        assert [(c["kind"], c["key"]) for c in one["credentials"]] == [k[:2] for k in keys if k[2] == number]
        if username:
            assert found.consumer(IdentityKind.CONSUMER_USERNAME, username) == one
        if custom_id:
            assert found.consumer(IdentityKind.CONSUMER_CUSTOM_ID, custom_id) == one
    for number, (kind, text, owner) in enumerate(keys):
        record = found.credential(kind, text)
        if owner < len(names):
            assert record is not None
            assert (record["id"], record["consumer"]) == (identifier(100 + number), identifier(owner))
        else:
            assert record is None


def test_records_of_what_has_not_changed_are_taken_over():
    entities = [object() for _ in range(8)]
    records = [bytes([number]) for number in range(8)]
    changed = object()
    for now, found, missing in (
        (entities, records, []),
        ([], [], []),
        ([*entities, changed], [*records, None], [8]),
        ([*entities[:3], changed, *entities[4:]], [*records[:3], None, *records[4:]], [3]),
        ([*entities[:2], *entities[3:]], [*records[:2], *records[3:]], []),
        ([*entities[:2], *entities[6:], changed], [*records[:2], *records[6:], None], [4]),
        (entities[::-1], records[::-1], []),
    ):
        assert known_records(now, entities, records) == (found, missing)


# --- files that are not sound ----------------------------------------------------------------------------


def sound_file() -> bytes:
    consumers = [consumer(number, f"user{number}", f"c{number}") for number in range(5)]
    credentials = [key(100 + number, number % 5, f"key{number}") for number in range(9)]
    groups = [group_record(consumer=identifier(number % 5), name=f"g{number}") for number in range(7)]
    return build_identities(consumers, credentials, groups, number=1)


def test_other_kinds_and_damage_are_refused():
    data = sound_file()
    assert verify_identities(data) is None
    assert verify_identities(PeersBuilder().build(number=1)) == "not an identities file"
    assert verify_identities(data[:-1]) == "size differs from the one in the header"
    assert verify_identities(data[:-1] + b"x") == "checksum does not match"
    with pytest.raises(SnapshotError):
        Identities(b"")


def test_no_changed_byte_leads_out_of_the_file():
    """Whatever a file with a good checksum says, it is refused or can be read (under the sanitizer too)."""
    data = sound_file()
    chance = random.Random(7)
    refused = 0
    for at in range(HEADER_SIZE, len(data)):
        damaged = bytearray(data)
        damaged[at] = chance.choice([0, 1, 8, 127, 255, damaged[at] ^ 1 << chance.randrange(8)])
        whole = checksummed(bytes(damaged))
        assert verify(whole) is None
        if verify_identities(whole) is not None:
            refused += 1
            continue
        found = Identities(whole)
        for number in range(5):
            found.consumer(IdentityKind.CONSUMER_ID, identifier(number))
        for number in range(9):
            found.credential(IdentityKind.KEY_AUTH, f"key{number}")
    assert refused > 100

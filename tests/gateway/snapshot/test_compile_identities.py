"""Entities become identities; what has not changed is not made again."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entities.jwt_secrets import ALGORITHMS as KONG_ALGORITHMS
from gateway.snapshot import IdentitiesCompiler, identities
from gateway.snapshot.identities import ALGORITHMS
from gateway.store import Configuration, load_declarative_document
from native.identities import CredentialFlag, Identities, IdentityKind, JwtAlgorithm


def loaded(*consumers: dict[str, Any]) -> Configuration:
    return load_declarative_document({"_format_version": "3.0", "consumers": list(consumers)})


BOB: dict[str, Any] = {
    "username": "bob",
    "custom_id": "17",
    "keyauth_credentials": [{"key": "bobs-key"}],
    "basicauth_credentials": [{"username": "bob", "password": "geheim"}],
    "hmacauth_credentials": [{"username": "bob", "secret": "signed"}],
    "jwt_secrets": [{"key": "issuer", "secret": "s", "algorithm": "HS384"}],
    "oauth2_credentials": [
        {
            "name": "app",
            "client_id": "id",
            "client_secret": "cs",
            "redirect_uris": ["https://a.test/x", "https://b.test/y"],
            "client_type": "public",
        }
    ],
    "acls": [{"group": "admins"}, {"group": "users"}],
}


def test_every_kind_of_credential():
    configuration = loaded(BOB)
    found = Identities(IdentitiesCompiler().compile(configuration, number=3))
    bob = found.consumer(IdentityKind.CONSUMER_USERNAME, "bob")
    assert bob is not None
    assert (bob["id"], bob["custom_id"]) == (next(iter(configuration.of("consumers"))), "17")
    assert bob["groups"] == ["admins", "users"]
    secrets = {
        kind: found.credential(kind, key)
        for kind, key in (
            (IdentityKind.KEY_AUTH, "bobs-key"),
            (IdentityKind.BASIC_AUTH, "bob"),
            (IdentityKind.HMAC_AUTH, "bob"),
            (IdentityKind.JWT, "issuer"),
            (IdentityKind.OAUTH2, "id"),
        )
    }
    assert all(one is not None and one["consumer"] == bob["id"] for one in secrets.values())
    stored = next(iter(configuration.of("basicauth_credentials").values()))
    by_name, signed = secrets[IdentityKind.BASIC_AUTH], secrets[IdentityKind.HMAC_AUTH]
    assert by_name is not None
    assert signed is not None
    assert by_name["secret"] == stored.password != BOB["basicauth_credentials"][0]["password"]  # type: ignore[attr-defined]
    assert signed["secret"] == BOB["hmacauth_credentials"][0]["secret"]
    assert secrets[IdentityKind.JWT]["algorithm"] == JwtAlgorithm.JWT_HS384  # type: ignore[index]
    application = secrets[IdentityKind.OAUTH2]
    assert application is not None
    assert (application["name"], application["more"]) == ("app", "https://a.test/x\nhttps://b.test/y")
    assert application["flags"] == CredentialFlag.CLIENT_PUBLIC


def test_every_algorithm_has_a_number():
    assert set(ALGORITHMS) == set(KONG_ALGORITHMS)


def test_only_what_changed_is_made_again(monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []

    def counted(entity: Any) -> bytes:
        made.append(entity.username)
        return identities.consumer(entity)

    monkeypatch.setitem(identities.CONSUMERS, "consumers", counted)
    compiler = IdentitiesCompiler()
    before = loaded(*({"username": f"user{number}"} for number in range(50)))
    compiler.compile(before, number=1)
    assert len(made) == 50
    made.clear()
    other = next(iter(loaded({"username": "new"}).of("consumers").values()))
    first, second, *_ = before.of("consumers")
    after = before.changed({("consumers", first): None, ("consumers", other.id): other}, "b" * 32)
    data = compiler.compile(after, number=2)
    assert made == ["new"]
    assert data == IdentitiesCompiler().compile(after, number=2)
    found = Identities(data)
    assert found.consumer(IdentityKind.CONSUMER_ID, first) is None
    assert found.consumer(IdentityKind.CONSUMER_ID, second) is not None
    assert found.consumer(IdentityKind.CONSUMER_USERNAME, "new") is not None

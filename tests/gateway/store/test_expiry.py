"""Credentials and tokens that live for a time (`ttl`)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.entity_form import admin_form
from gateway.entities.expiry import LONGEST_TTL, is_expired
from gateway.store import operations
from gateway.store.configuration import Configuration
from gateway.store.declarative import load_declarative
from gateway.store.draft import Draft
from gateway.store.export import export_declarative
from tests.support.writes import create, reference, refused, replace, update


class Clock:
    """The time, which stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


def credential(draft: Draft, key: str, **values: Any) -> Any:
    if draft.find("consumers", "bob") is None:
        create(draft, "consumers", username="bob")
    return create(draft, "keyauth_credentials", key=key, consumer={"username": "bob"}, **values)


def test_the_time_left_is_shown(draft: Draft, clock: Clock) -> None:
    made = credential(draft, "k", ttl=3600)
    assert admin_form(made, draft, clock.now)["ttl"] == 3599
    assert admin_form(made, draft, clock.now + 0.9)["ttl"] == 3599
    assert admin_form(made, draft, clock.now + 1)["ttl"] == 3598
    assert admin_form(made, draft, clock.now + 3600)["ttl"] == 0
    assert "expires_at" not in admin_form(made, draft, clock.now)
    assert admin_form(credential(draft, "forever"), draft, clock.now)["ttl"] is None
    assert admin_form(credential(draft, "also", ttl=0), draft, clock.now)["ttl"] is None
    assert admin_form(credential(draft, "null", ttl=None), draft, clock.now)["ttl"] is None


@pytest.mark.parametrize("ttl", [-1, 100_000_001, 1.5, "x", True, [], {}])
def test_times_that_are_refused(draft: Draft, ttl: Any) -> None:
    create(draft, "consumers", username="bob")
    answer = refused(draft, create, "keyauth_credentials", consumer={"username": "bob"}, ttl=ttl)
    assert answer == {
        "status": 400,
        "code": 11,
        "name": "invalid options",
        "message": "invalid option (ttl: must be an integer between 0 and 100000000)",
        "options": {"ttl": "must be an integer between 0 and 100000000"},
    }


def test_changes_of_the_time_left(draft: Draft, clock: Clock) -> None:
    made = credential(draft, "k", ttl=10)
    clock.now += 5
    assert update(draft, made, tags=["t"]).expires_at == made.expires_at
    assert update(draft, made, ttl=10).expires_at == clock.now + 10
    assert update(draft, made, ttl=None).expires_at is None
    values = {"key": "k", "consumer": {"username": "bob"}}
    assert replace(draft, "keyauth_credentials", reference(made), **values).expires_at is None


def test_what_has_expired_is_as_good_as_gone(draft: Draft, clock: Clock) -> None:
    made = credential(draft, "k", ttl=10)
    assert refused(draft, credential, "k")["code"] == 5
    clock.now += 10
    assert is_expired(made, clock.now)
    assert refused(draft, update, made, tags=["t"])["code"] == 6
    again = credential(draft, "k", id=made.id)
    assert again.expires_at is None
    operations.remove(draft, again)
    credential(draft, "k2", ttl=1)
    clock.now += 1
    assert replace(draft, "keyauth_credentials", {"key": "k2"}, consumer={"username": "bob"}).id != made.id
    assert len(draft.children("keyauth_credentials", "consumers", again.consumer.id)) == 1


def test_finding_and_removing_what_has_expired(draft: Draft, clock: Clock) -> None:
    assert Configuration.EMPTY.next_expiry() is None
    made = [credential(draft, f"k{life}", ttl=life) for life in (30, 10, 20, 0)]
    base = draft.result("x")
    assert base.next_expiry() == clock.now + 10
    assert base.expired(clock.now + 9.9) == []
    assert base.expired(clock.now + 20) == [made[1], made[2]]

    following = Draft(base)
    update(following, made[2], ttl=50)
    operations.remove(following, made[1])
    after = following.result("y")
    assert after.expired(clock.now + 100) == [made[0], after.of("keyauth_credentials")[made[2].id]]
    last = Draft(after)
    assert operations.remove_expired(last, clock.now + 30) == 1
    assert last.result("z").next_expiry() == clock.now + 50
    assert operations.remove_expired(last, clock.now + 30) == 0


def test_tokens_expire_too(draft: Draft, clock: Clock) -> None:
    create(draft, "consumers", username="bob")
    values = {"name": "a", "consumer": {"username": "bob"}, "client_id": "app"}
    create(draft, "oauth2_credentials", **values)
    token = create(
        draft, "oauth2_tokens", credential={"client_id": "app"}, expires_in=7200, ttl=5, scope="read"
    )
    form = admin_form(token, draft, clock.now)
    assert (form["token_type"], len(form["access_token"]), form["ttl"]) == ("bearer", 32, 4)
    assert refused(draft, create, "oauth2_tokens")["fields"] == {
        "credential": "required field missing",
        "expires_in": "required field missing",
    }


def test_a_file_tells_when_it_ends(draft: Draft, clock: Clock) -> None:
    credential(draft, "k", ttl=10)
    exported = draft.result("x")
    clock.now += 5
    assert load_declarative(export_declarative(exported)) == exported
    (loaded,) = (
        load_declarative(
            '_format_version: "3.0"\nconsumers: [{username: c, keyauth_credentials: [{key: a, ttl: 7}]}]'
        )
        .of("keyauth_credentials")
        .values()
    )
    assert getattr(loaded, "expires_at", None) == clock.now + 7


def test_an_expiry_time_is_no_later_than_the_longest_life(clock: Clock) -> None:
    draft = Draft(Configuration.EMPTY)
    assert credential(draft, "soon", expires_at=clock.now + 60).expires_at == clock.now + 60
    values = {"consumer": {"username": "bob"}, "expires_at": clock.now + LONGEST_TTL + 1}
    answer = refused(draft, create, "keyauth_credentials", **values)
    assert answer["fields"] == {"expires_at": "must be at most 100000000 seconds from now"}

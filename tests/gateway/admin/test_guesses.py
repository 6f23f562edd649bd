"""What guessing tokens of the Admin API costs, and that others do not notice."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from admin_tokens import ADMIN, READER, TOKENS, by_header
from asgi_client import Node, ask, with_node

from gateway.admin.access import Access, Guesses, Refused, network
from gateway.settings import load_settings


def scope(address: str, token: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"kong-admin-token", token.encode())],
        "client": (address, 1),
    }


class Slow(Guesses):
    """Waits until the test lets it."""

    def __init__(self) -> None:
        super().__init__(lambda: self.now)
        self.now = 1000.0


def statuses_of(access: Access, address: str, tokens: list[str]) -> list[int]:
    """The answers to requests that come at the same time; 200 for one that is let through."""

    async def one(token: str) -> int:
        try:
            await access.admit(scope(address, token))
        except Refused as refused:
            return refused.response.status_code
        return 200

    async def every() -> list[int]:
        return await asyncio.gather(*(one(token) for token in tokens))

    return asyncio.run(every())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(Guesses, "DELAY", 0.05)
    return Slow()


@pytest.fixture
def access(slow: Slow) -> Access:
    settings = load_settings(None, {}, TOKENS)
    return Access(lambda: settings, slow)


def test_only_a_few_guesses_of_an_address_are_looked_at_at_once(access: Access, slow: Slow) -> None:
    statuses = statuses_of(access, "192.0.2.1", [f"guess{n}" for n in range(100)])
    looked_at = Guesses.AT_ONCE + Guesses.MOST_WAITING
    assert sorted(statuses) == [401] * looked_at + [429] * (100 - looked_at)
    # Not even the right one is told from the others meanwhile, or guessing would be as fast as before.
    statuses = statuses_of(access, "192.0.2.1", [f"guess{n}" for n in range(20)] + [ADMIN])
    assert statuses[-1] == 429
    # Nobody waits any more: who knows the token is let in.
    assert statuses_of(access, "192.0.2.1", [ADMIN]) == [200]


def test_others_notice_nothing(access: Access) -> None:
    async def test() -> None:
        attack = [asyncio.create_task(access.admit(scope("192.0.2.1", f"guess{n}"))) for n in range(200)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for address in ("192.0.2.2", "2001:db8::1", "unix"):
            assert (await access.admit(scope(address, ADMIN))).kind == "admin"
        await asyncio.gather(*attack, return_exceptions=True)

    asyncio.run(test())


def test_an_attack_from_everywhere_does_not_lock_out_a_newcomer(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guesses, "MOST_WAITING_TOGETHER", 10)

    async def test() -> None:
        attack = [
            asyncio.create_task(access.admit(scope(f"192.0.2.{n % 20}", f"guess{n}"))) for n in range(400)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
        assert (await access.admit(scope("198.51.100.1", ADMIN))).kind == "admin"
        await asyncio.gather(*attack, return_exceptions=True)

    asyncio.run(test())


def test_what_is_remembered_is_bounded_and_forgotten(slow: Slow) -> None:
    for number in range(3 * Guesses.MOST_ADDRESSES):
        slow.note(f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}", guessed=True)
    assert len(slow) == Guesses.MOST_ADDRESSES
    assert [slow.note("192.0.2.1", guessed=True) for _ in range(3)] == [1, 2, 3]
    slow.now += Guesses.FORGOTTEN_AFTER + 1
    assert slow.note("192.0.2.1", guessed=True) == 1


def test_a_missing_token_is_no_guess(access: Access) -> None:
    assert statuses_of(access, "192.0.2.1", [""] * 50) == [401] * 50
    assert statuses_of(access, "192.0.2.1", [ADMIN]) == [200]


def test_one_network_of_ipv6_counts_as_one_address() -> None:
    assert network("2001:db8::1") == network("2001:db8:0:0:ffff::2") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == "192.0.2.1"


def test_failures_are_logged_without_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(node: Node) -> None:
        for _ in range(3):
            await ask(node.admin, "GET", "/key-auths/some-api-key", headers=by_header("my-guess-1234"))

    with caplog.at_level(logging.DEBUG):
        with_node(tmp_path, test, **TOKENS)
    lines = [record.getMessage() for record in caplog.records if "wrong token" in record.getMessage()]
    assert len(lines) == 3
    assert "127.0.0.1" in lines[0]
    assert not any(
        secret in record.getMessage()
        for record in caplog.records
        for secret in ("my-guess", "some-api-key", ADMIN, READER)
    )

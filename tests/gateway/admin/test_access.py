"""Tokens of the Admin API: what counts as one, who may do what, and what guessing costs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, Node, ask, with_node

from gateway.admin.access import Access, Guesses, Refused, network
from gateway.admin.browsers import bound_to
from gateway.settings import DECLARATIONS, Listener, SettingsError, load_settings

ADMIN = "admin-token-0123456789"
READER = "reader-token-0123456789"
TOKENS = {"admin_token": ADMIN, "admin_read_token": READER}
BOB = b'{"_format_version":"3.0","consumers":[{"username":"bob","keyauth_credentials":[{"key":"sesame"}]}]}'
JSON = ("Content-Type", "application/json")


def by_header(token: str) -> list[tuple[str, str]]:
    return [("Kong-Admin-Token", token)]


def by_bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


# --- what counts as a token ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        by_header(ADMIN),
        by_header(f"  {ADMIN} "),
        by_bearer(ADMIN),
        [("Authorization", f"bearer {ADMIN}")],
        [("Authorization", f"BEARER   {ADMIN}")],
        [*by_header(ADMIN), *by_bearer(ADMIN)],
        [*by_header(ADMIN), *by_header(ADMIN)],
        # Of a proxy in front, which is none of our business.
        [*by_header(ADMIN), ("Authorization", "Basic dXNlcjpwYXNz")],
    ],
)
def test_a_right_token_opens(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    async def test(node: Node) -> None:
        assert (await ask(node.admin, "GET", "/status", headers=headers)).status == 200

    with_node(tmp_path, test, **TOKENS)


ATTACKS: list[list[tuple[str, str]]] = [
    [],
    by_header(""),
    by_header("   "),
    by_header("wrong"),
    by_header(ADMIN[:-1]),
    by_header(ADMIN + "0"),
    by_header(ADMIN.upper()),
    by_header(f'"{ADMIN}"'),
    by_header(f"{ADMIN},{ADMIN}"),
    by_header(f"{ADMIN}, {READER}"),
    by_header(f"Bearer {ADMIN}"),
    by_header("\xe9" * 20),
    by_header("тайна"),
    by_header("\x00" + ADMIN),
    by_header(ADMIN * 5000),
    by_header(ADMIN + " " * 100_000 + "x"),
    [("Authorization", ADMIN)],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer ")],
    [("Authorization", f"Bearer{ADMIN}")],
    [("Authorization", f"Token {ADMIN}")],
    [("Authorization", f"Basic {ADMIN}")],
    [("Authorization", f"Bearer {ADMIN} {ADMIN}")],
    [("Kong-Admin-Tokens", ADMIN)],
    [("Kong_Admin_Token", ADMIN)],
    [("Cookie", f"Kong-Admin-Token={ADMIN}")],
    [*by_header("wrong"), *by_bearer(ADMIN)],
    [*by_header(ADMIN), *by_bearer("wrong")],
    [*by_header(ADMIN), *by_header("wrong")],
    [*by_header(READER), *by_bearer(ADMIN)],
]


@pytest.mark.parametrize("headers", ATTACKS, ids=range(len(ATTACKS)))
def test_nothing_else_does(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    async def test(node: Node) -> None:
        for method, target in (("GET", "/"), ("DELETE", "/services/x"), ("GET", "/nowhere"), ("FOO", "/")):
            answer = await ask(node.admin, method, target, headers=headers)
            assert answer.status == 401
            assert set(answer.json()) == {"message"}
            assert answer.headers["www-authenticate"].startswith('Bearer realm="admin"')
            assert answer.headers["server"].startswith("kong/")
        answer = await ask(node.admin, "POST", "/config", BOB, [*headers, JSON])
        assert answer.status == 401
        assert node.shared.configuration_number == 0

    with_node(tmp_path, test, **TOKENS)  # five guesses, which are not slowed down yet


def test_a_token_in_the_query_is_none(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for name in ("token", "Kong-Admin-Token", "access_token"):
            assert (await ask(node.admin, "GET", f"/?{name}={ADMIN}")).status == 401

    with_node(tmp_path, test, **TOKENS)


def test_a_head_without_a_token_has_no_body(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        answer = await ask(node.admin, "HEAD", "/")
        assert (answer.status, answer.body) == (401, b"")

    with_node(tmp_path, test, **TOKENS)


def test_the_status_listener_stays_open(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for target in ("/status", "/metrics"):
            assert (await ask(node.status, "GET", target)).status == 200

    with_node(tmp_path, test, **TOKENS)


def test_without_tokens_everybody_may(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for headers in ([], by_header("anything")):
            assert (await ask(node.admin, "GET", "/", headers=headers)).status == 200

    with_node(tmp_path, test)


def test_several_tokens_while_one_replaces_another(tmp_path: Path) -> None:
    more = tmp_path / "tokens"
    more.write_text("# of the pipelines\nci:token-of-a-file\n\nsecond-of-the-file\n")

    async def test(node: Node) -> None:
        for token in ("old-token", "new-token", "token-of-a-file", "second-of-the-file"):
            assert (await ask(node.admin, "GET", "/", headers=by_header(token))).status == 200
        for token in ("ops:new-token", "ops", "ci", "# of the pipelines", f"file:{more}"):
            assert (await ask(node.admin, "GET", "/", headers=by_header(token))).status == 401

    with_node(tmp_path, test, admin_token=f"old-token, ops:new-token, file:{more}")


# --- reading only -------------------------------------------------------------------------------------------


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE", "FOO"):
            answer = await ask(node.admin, method, "/config", BOB, [*by_bearer(READER), JSON])
            assert (answer.status, answer.json()) == (403, {"message": "this token may only read"})
        assert node.shared.configuration_number == 0
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = await ask(node.admin, method, "/consumers", headers=by_bearer(READER))
            assert answer.status in (200, 204)

    with_node(tmp_path, test, **TOKENS)


def test_a_reader_alone_makes_the_api_read_only(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        assert (await ask(node.admin, "GET", "/consumers")).status == 401
        assert (await ask(node.admin, "GET", "/consumers", headers=by_header(READER))).status == 200
        assert (await ask(node.admin, "POST", "/config", BOB, by_header(READER))).status == 403

    with_node(tmp_path, test, admin_read_token=READER)


def test_a_reader_sees_no_secrets(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        assert (await ask(node.admin, "POST", "/config", BOB, [*by_header(ADMIN), JSON])).status == 201
        for target in ("/key-auths", "/consumers/bob/key-auth"):
            seen = await ask(node.admin, "GET", target, headers=by_header(ADMIN))
            assert seen.json()["data"][0]["key"] == "sesame"
            hidden = await ask(node.admin, "GET", target, headers=by_header(READER))
            assert hidden.json()["data"][0] == {**seen.json()["data"][0], "key": "******"}
            assert int(hidden.headers["content-length"]) == len(hidden.body)
        for target in ("/config", "/config/", "/%63onfig"):
            for method in ("GET", "HEAD"):
                answer = await ask(node.admin, method, target, headers=by_header(READER))
                assert answer.status == 403
        head = await ask(node.admin, "HEAD", "/key-auths", headers=by_header(READER))
        assert (head.status, head.body) == (200, b"")
        schema = await ask(node.admin, "GET", "/schemas/keyauth_credentials", headers=by_header(READER))
        same = await ask(node.admin, "GET", "/schemas/keyauth_credentials", headers=by_header(ADMIN))
        assert schema.json() == same.json()
        assert (await ask(node.admin, "GET", "/metrics", headers=by_header(READER))).status == 200

    with_node(tmp_path, test, **TOKENS)


# --- guesses ------------------------------------------------------------------------------------------------


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


# --- browsers -----------------------------------------------------------------------------------------------


def test_an_allowed_page_may_ask_before_it_shows_its_token(tmp_path: Path) -> None:
    page = [("Origin", "https://manager.test"), ("Host", "localhost:8001")]

    async def test(node: Node) -> None:
        preflight = [
            *page,
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "kong-admin-token"),
        ]
        answer = await ask(node.admin, "OPTIONS", "/services", headers=preflight)
        assert answer.status == 204
        assert answer.headers["access-control-allow-headers"] == "kong-admin-token"
        answer = await ask(node.admin, "GET", "/services", headers=page)
        assert answer.status == 401
        assert answer.headers["access-control-allow-origin"] == "https://manager.test"
        assert (await ask(node.admin, "OPTIONS", "/services")).status == 401

    with_node(tmp_path, test, **TOKENS, admin_origins="https://manager.test")


OPEN = Listener("0.0.0.0", 8001)
REBOUND = [
    "evil.test.example",
    "evil.example:8001",
    "gateway.example.com",
    "localhost.evil.example",
    "1.2.3.4.evil.example",
]


@pytest.mark.parametrize("host", REBOUND)
def test_a_public_name_may_be_a_strangers(tmp_path: Path, host: str) -> None:
    async def test(node: Node) -> None:
        answer = await ask(bound_to(node.admin, OPEN), "GET", "/", headers={"Host": host})
        assert answer.status == 403
        assert "ADMIN_HOSTS" in answer.json()["message"]
        # The status listener shows nothing that is secret, and is scraped by whatever name.
        assert (
            await ask(bound_to(node.status, OPEN), "GET", "/status", headers={"Host": host})
        ).status == 200

    with_node(tmp_path, test)


@pytest.mark.parametrize(
    "host",
    [
        *("kong:8001", "KONG", "10.1.2.3:8001", "[2001:db8::1]:8001", "localhost", "admin.internal"),
        *(
            "kong-admin.kong.svc:8001",
            "kong-admin.kong.svc.cluster.local",
            "gateway.example.org",
            "box.local",
        ),
    ],
)
def test_names_inside_a_network_are_not(tmp_path: Path, host: str) -> None:
    async def test(node: Node) -> None:
        answer = await ask(bound_to(node.admin, OPEN), "GET", "/", headers={"Host": host})
        assert answer.status == 200

    with_node(tmp_path, test, admin_hosts="gateway.example.org")


@pytest.mark.parametrize(
    ("listener", "settings", "headers"),
    [
        (OPEN, {"admin_hosts": "*"}, []),
        (OPEN, {"admin_token": ADMIN}, by_header(ADMIN)),
        (Listener("0.0.0.0", 8444, ssl=True), {}, []),
        (Listener("", 0, path="/run/admin.sock"), {}, []),
    ],
)
def test_where_any_name_is_good(
    tmp_path: Path, listener: Listener, settings: dict[str, str], headers: list[tuple[str, str]]
) -> None:
    async def test(node: Node) -> None:
        all_headers = [("Host", "gateway.example.com"), *headers]
        assert (await ask(bound_to(node.admin, listener), "GET", "/", headers=all_headers)).status == 200

    with_node(tmp_path, test, **settings)


# --- many requests ------------------------------------------------------------------------------------------


def test_requests_beyond_the_limit_are_told_to_come_again(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        answers: list[Answer] = await asyncio.gather(*(ask(node.admin, "GET", "/status") for _ in range(20)))
        assert {answer.status for answer in answers} <= {200, 503}
        assert (await ask(node.admin, "GET", "/status")).status == 200

    with_node(tmp_path, test, admin_max_requests="1")


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "twice,twice",
        "with blank",
        "тайна",
        "a:b:c",
        " name with blank:x",
        "x" * 2000,
        "file:relative",
        "file:/nowhere/at/all",
        ":x",
        "x:",
    ],
)
def test_tokens_that_cannot_be_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {}, {"admin_token": text})
    assert "ADMIN_TOKEN = (hidden)" in str(caught.value)
    assert text not in str(caught.value).replace("(hidden)", "") or text.startswith("file:") or len(text) < 3


def test_every_setting_that_is_a_secret_is_known_as_one(tmp_path: Path) -> None:
    """Which the page at / masks, and so does `gateway config show`."""
    suspicious = ("token", "password", "secret", "declarative_config_string", "dsn", "private")
    allowed: set[str] = set()
    for name, declaration in DECLARATIONS.items():
        if any(word in name for word in suspicious) and name not in allowed:
            assert declaration.secret, name

    async def test(node: Node) -> None:
        shown = (await ask(node.admin, "GET", "/", headers=by_header(ADMIN))).json()["configuration"]
        assert {shown[name] for name in ("admin_token", "admin_read_token", "pg_password")} == {"******"}

    with_node(tmp_path, test, **TOKENS, pg_password="sesame")  # noqa: S106


def test_an_empty_file_of_tokens_does_not_open_the_api(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("\n# none\n")
    with pytest.raises(SettingsError, match="holds no token"):
        load_settings(None, {}, {"admin_token": f"file:{tmp_path}/tokens"})


def test_one_token_is_not_for_both(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ADMIN_READ_TOKEN"):
        load_settings(None, {}, {"admin_token": "a-token", "admin_read_token": "reader:a-token"})


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"admin_listen": "0.0.0.0:8001"}, "set ADMIN_TOKEN"),
        ({"admin_listen": "[::]:8001 ssl"}, "set ADMIN_TOKEN"),
        ({"admin_listen": "0.0.0.0:8001", "admin_token": ADMIN}, "in clear text"),
        ({"admin_token": "short"}, "can be guessed"),
        ({"admin_ssl_client_ca": "/ca.pem"}, "has no effect"),
    ],
)
def test_what_is_warned_of(settings: dict[str, str], warning: str) -> None:
    assert any(warning in line for line in load_settings(None, {}, settings).warnings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"admin_listen": "127.0.0.1:8001, [::1]:8001, unix:/run/admin.sock"},
        {"admin_listen": "0.0.0.0:8444 ssl", "admin_token": ADMIN},
        {"admin_listen": "0.0.0.0:8444 ssl", "admin_ssl_client_ca": "/ca.pem"},
    ],
)
def test_what_is_not_warned_of(settings: dict[str, str]) -> None:
    assert not [line for line in load_settings(None, {}, settings).warnings if "ADMIN" in line]

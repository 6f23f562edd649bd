"""Tokens of the Admin API: what counts as one, and who may do what."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from admin_tokens import ADMIN, BOB, JSON, READER, TOKENS, by_bearer, by_header
from asgi_client import Answer, Node, ask, with_node

from gateway.admin.browsers import bound_to
from gateway.settings import DECLARATIONS, Listener, SettingsError, load_settings

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
        question = await ask(node.admin, "POST", "/explain", headers=by_header(READER))  # changes nothing
        assert (question.status, question.json()) == (400, {"message": "url is required"})

    with_node(tmp_path, test, **TOKENS)


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

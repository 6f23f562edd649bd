"""Requests of browsers for pages of other sites, on both listeners."""

from __future__ import annotations

from pathlib import Path

import pytest
from asgi_client import Answer, Node, ask, with_node

from gateway.admin.browsers import bound_to
from gateway.settings import Listener, SettingsError, load_settings

LOOPBACK = Listener("127.0.0.1", 8001)
LOOPBACK_6 = Listener("::1", 8001)
OPEN = Listener("0.0.0.0", 8001)
UNIX = Listener("", 0, path="/run/admin.sock")
SOMETHING = b'{"_format_version":"3.0","services":[{"name":"a","url":"http://127.0.0.1:1"}]}'


def assert_refused(answer: Answer, setting: str) -> None:
    assert answer.status == 403
    assert f"setting {setting}" in answer.json()["message"]
    assert answer.headers["server"].startswith("kong/")
    assert not any(name.startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": "https://localhost:8001", "Host": "localhost:8002"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Origin": "file://localhost:8001"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "Cross-Site"},
        {"Origin": "http://localhost:8001", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_others_neither_read_nor_change(tmp_path: Path, headers: dict[str, str]) -> None:
    async def test(node: Node) -> None:
        all_headers = {"Host": "localhost:8001", **headers}
        for method in ("GET", "OPTIONS", "DELETE"):
            assert_refused(await ask(node.admin, method, "/config", headers=all_headers), "ADMIN_ORIGINS")
        assert_refused(await ask(node.admin, "GET", "/unknown", headers=all_headers), "ADMIN_ORIGINS")
        for target in ("/status", "/status/ready", "/metrics"):
            assert_refused(await ask(node.status, "GET", target, headers=all_headers), "ADMIN_ORIGINS")
        form = {**all_headers, "Content-Type": "application/x-www-form-urlencoded"}
        assert_refused(await ask(node.admin, "POST", "/config", b"config=%7B%7D", form), "ADMIN_ORIGINS")
        assert node.shared.configuration_number == 0
        answer = await ask(node.admin, "HEAD", "/", headers=all_headers)
        assert (answer.status, answer.body) == (403, b"")

    with_node(tmp_path, test)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8001", "localhost:8001"),
        ("http://LocalHost:8001", "localhost:8001"),
        ("https://gateway.test", "gateway.test"),
        ("https://gateway.test", "gateway.test:443"),
        ("http://gateway.test:80", "gateway.test"),
        ("http://[::1]:8001", "[::1]:8001"),
    ],
)
def test_pages_of_the_same_origin_are_served(tmp_path: Path, origin: str, host: str) -> None:
    async def test(node: Node) -> None:
        headers = {"Origin": origin, "Host": host, "Sec-Fetch-Site": "same-origin"}
        for app in (node.admin, node.status):
            answer = await ask(app, "GET", "/status", headers=headers)
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == origin

    with_node(tmp_path, test)


def test_programs_and_typed_addresses_are_served_as_by_kong(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        typed: list[dict[str, str]] = [{}, {"Sec-Fetch-Site": "none"}, {"Host": "anything.test"}]
        for headers in typed:
            answer = await ask(node.admin, "GET", "/", headers=headers)
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["access-control-allow-credentials"] == "true"

    with_node(tmp_path, test)


def test_allowed_origins_are_named_in_a_setting(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for origin in ("https://manager.test:8443", "http://other.test"):
            headers = {"Origin": origin, "Host": "localhost:8001", "Sec-Fetch-Site": "cross-site"}
            answer = await ask(node.admin, "OPTIONS", "/config", headers=headers)
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == origin
        headers = {"Origin": "https://manager.test", "Host": "localhost:8001"}
        assert_refused(await ask(node.admin, "GET", "/", headers=headers), "ADMIN_ORIGINS")

    with_node(tmp_path, test, admin_origins="https://Manager.test:8443, http://other.test:80")


def test_all_origins_as_in_kong(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for headers in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await ask(node.admin, "GET", "/", headers=headers)
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == headers.get("Origin", "*")

    with_node(tmp_path, test, admin_origins="*")


# --- names that are pointed at this machine ---------------------------------------------------------------


@pytest.mark.parametrize("listener", [LOOPBACK, LOOPBACK_6])
@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:8001", "localhost.evil.test", "10.0.0.1:8001", "[2001:db8::1]", ""]
)
def test_a_loopback_address_has_no_other_names(tmp_path: Path, listener: Listener, host: str) -> None:
    async def test(node: Node) -> None:
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        for app in (node.admin, node.status):
            assert_refused(
                await ask(bound_to(app, listener), "GET", "/status", headers=headers), "ADMIN_HOSTS"
            )

    with_node(tmp_path, test)


@pytest.mark.parametrize("listener", [LOOPBACK, LOOPBACK_6])
@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8001", "localhost.:1", "127.0.0.1:8001", "127.8.9.10", "[::1]:8001"),
        *("admin.internal", "Admin.Internal:8001", "admin.internal."),
    ],
)
def test_names_of_a_loopback_address(tmp_path: Path, listener: Listener, host: str) -> None:
    async def test(node: Node) -> None:
        for app in (node.admin, node.status):
            answer = await ask(bound_to(app, listener), "GET", "/status", headers={"Host": host})
            assert answer.status == 200

    with_node(tmp_path, test, admin_hosts="admin.internal")


def test_other_listeners_take_any_name(tmp_path: Path) -> None:
    """But for Admin listeners that need no token, see test_access."""

    async def test(node: Node) -> None:
        for headers in ({"Host": "gateway.example:8001"}, {"Host": ""}):
            assert (await ask(bound_to(node.admin, UNIX), "GET", "/", headers=headers)).status == 200
            assert (await ask(bound_to(node.status, OPEN), "GET", "/status", headers=headers)).status == 200

    with_node(tmp_path, test)


def test_a_request_without_a_host_is_no_browsers(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        assert (await ask(bound_to(node.admin, LOOPBACK), "GET", "/")).status == 200

    with_node(tmp_path, test)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("admin_origins", "manager.test"),
        ("admin_origins", "http://manager.test/"),
        ("admin_origins", "http://manager.test, nonsense"),
        ("admin_hosts", "http://manager.test"),
        ("admin_hosts", "manager.test:80"),
    ],
)
def test_settings_that_would_never_match_are_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name.upper()} = "):
        load_settings(None, {}, {name: text})

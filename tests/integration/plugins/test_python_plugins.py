"""Python plugins: what they see and change of requests and responses, and what happens when they fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import PluginGateway
from tests.support.gateway import wait_for

BEHAVIOURS = Path(__file__).parents[2] / "support" / "python_plugins" / "behaviours.py"
UNEXPECTED = "An unexpected error occurred"
CONSUMER = {
    "username": "alice",
    "custom_id": "a-1",
    "keyauth_credentials": [{"key": "alices-key"}],
    "basicauth_credentials": [{"username": "alice-basic", "password": "secret-of-alice"}],
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[PluginGateway]:
    with PluginGateway(BEHAVIOURS, plugin_body_limit="64k") as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def plain_upstream(gateway: PluginGateway) -> None:
    gateway.upstream.answer()


# --- what a plugin sees ----------------------------------------------------------------------------------


def test_a_request_is_seen_as_it_came(gateway: PluginGateway) -> None:
    gateway.use("describe")
    reply = gateway.post(
        "/a%20b/c?x=1&y=%C3%A4&x=2&z", "bödy", headers={"X-Own": "v", "Host": "example.test:99"}
    )
    seen = reply.json()
    assert reply.status == 200
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/a%20b/c", "bödy")
    assert seen["query_string"] == "x=1&y=%C3%A4&x=2&z"
    assert seen["query"] == [["x", "1"], ["y", "ä"], ["x", "2"], ["z", ""]]
    assert (seen["host"], seen["scheme"], seen["http_version"]) == ("example.test", "http", "1.1")
    assert seen["client_address"] == "127.0.0.1"
    assert ["X-Own", "v"] in seen["headers"]
    assert seen["id"] == reply.headers["X-Kong-Request-Id"]
    assert seen["route"]["name"] == "everything"
    assert seen["service"]["name"] == "upstream"
    assert (seen["consumer"], seen["credential"], seen["is_authenticated"]) == (None, None, False)
    assert reply.upstream is None


@pytest.mark.parametrize(
    ("plugin", "headers", "credential"),
    [
        ("key-auth", {"apikey": "alices-key"}, {"kind": "key-auth", "name": None}),
        (
            "basic-auth",
            {"Authorization": "Basic YWxpY2UtYmFzaWM6c2VjcmV0LW9mLWFsaWNl"},
            {"kind": "basic-auth", "name": "alice-basic"},
        ),
    ],
)
def test_the_consumer_is_seen_and_no_secret(
    gateway: PluginGateway, plugin: str, headers: dict[str, str], credential: dict[str, Any]
) -> None:
    gateway.use("describe", plugins=[{"name": plugin}], consumers=[CONSUMER])
    seen = gateway.get("/", headers=headers).json()
    assert (seen["consumer"]["username"], seen["consumer"]["custom_id"]) == ("alice", "a-1")
    assert {key: seen["credential"][key] for key in credential} == credential
    assert seen["is_authenticated"]


def test_identity_headers_of_clients_are_not_seen(gateway: PluginGateway) -> None:
    gateway.use("describe")
    seen = gateway.get("/", headers={"X-Consumer-Username": "admin", "X-Credential-Identifier": "1"}).json()
    assert not [
        name for name, _ in seen["headers"] if name.lower().startswith(("x-consumer", "x-credential"))
    ]


# --- what it changes -------------------------------------------------------------------------------------


def test_method_path_query_and_host_go_upstream(gateway: PluginGateway) -> None:
    gateway.use("change", {"method": "PUT", "path": "/new/path", "query": {"b": "ü 2"}, "host": "inner.test"})
    upstream = gateway.get("/old?a=1&b=1").upstream
    assert upstream is not None
    assert (upstream.method, upstream.target) == ("PUT", "/new/path?a=1&b=%C3%BC+2")
    assert upstream.headers["Host"] == "inner.test"


@pytest.mark.parametrize(
    "change", [{"path": "/a?admin=1"}, {"path": "/a#b"}, {"host": "a/b"}, {"host": "a@b"}, {"host": "a?b"}]
)
def test_a_part_of_the_target_stays_one(gateway: PluginGateway, change: dict[str, str]) -> None:
    gateway.use("change", change)
    reply = gateway.get("/")
    assert (reply.status, reply.upstream) == (500, None)


def test_headers_go_upstream(gateway: PluginGateway) -> None:
    gateway.use(
        "change", {"set": {"X-One": "new", "X-Umlaut": "ä"}, "add": {"X-Two": "b"}, "remove": ["X-Gone"]}
    )
    upstream = gateway.get("/", headers={"X-One": "old", "X-Two": "a", "x-gone": "1"}).upstream
    assert upstream is not None
    assert upstream.headers.get_all("X-One") == ["new"]
    assert upstream.headers.get_all("X-Two") == ["a", "b"]
    assert upstream.headers["X-Gone"] is None
    assert upstream.headers["X-Umlaut"].encode("latin-1") in (b"\xe4", "ä".encode())


def test_headers_for_the_response_take_the_place_of_the_upstreams(gateway: PluginGateway) -> None:
    gateway.upstream.answer(headers={"X-Powered-By": "upstream"})
    gateway.use("change", {"response_set": {"X-Powered-By": "plugin"}})
    assert gateway.get("/").headers.get_all("X-Powered-By") == ["plugin"]


def test_the_body_goes_upstream(gateway: PluginGateway) -> None:
    gateway.use("change-body")
    upstream = gateway.post("/", '{"a": [1, 2]}').upstream
    assert upstream is not None
    assert upstream.body == b'{"wrapped":{"a":[1,2]}}'
    assert upstream.headers["Content-Length"] == str(len(upstream.body))


def test_a_body_that_is_too_long(gateway: PluginGateway) -> None:
    body = b'"' + b"x" * 70_000 + b'"'
    gateway.use("change-body")
    upstream = gateway.post("/", body).upstream
    assert upstream is not None
    assert (upstream.body, upstream.headers["X-Body"]) == (body, "too long")
    gateway.use("read-body")
    reply = gateway.post("/", body)
    assert (reply.status, reply.upstream) == (413, None)
    upstream = gateway.post("/", "short").upstream
    assert upstream is not None
    assert upstream.headers["X-Length"] == "5"


def test_a_body_that_was_not_asked_for(gateway: PluginGateway) -> None:
    gateway.use("forgot-buffer")
    reply = gateway.post("/", "body")
    assert (reply.status, reply.json()["message"]) == (500, UNEXPECTED)
    gateway.wait_for_log("BodyNotRead: the plugin needs `buffer_request = True`")


def test_another_upstream_is_chosen(gateway: PluginGateway) -> None:
    here = f"127.0.0.1:{gateway.upstream.port}"
    nowhere = {"name": "nowhere", "url": "http://127.0.0.1:1"}
    blue = {"name": "blue", "targets": [{"target": here}]}
    gateway.use("change", {"upstream": "blue", "path": "/blue"}, upstreams=[blue], services=[nowhere])
    upstream = gateway.get("/").upstream
    assert upstream is not None
    assert upstream.target == "/blue"
    gateway.use("change", {"target": "127.0.0.1:1"}, services=[nowhere])
    assert gateway.get("/").status == 502
    gateway.use("change", {"target": here})
    assert gateway.get("/").status == 200


def test_an_upstream_that_does_not_exist(gateway: PluginGateway) -> None:
    gateway.use("change", {"upstream": "nothing"})
    reply = gateway.get("/")
    assert (reply.status, reply.json()["message"]) == (500, UNEXPECTED)
    gateway.wait_for_log("a plugin chose an upstream that is not configured: change")


def test_a_plugin_authenticates(gateway: PluginGateway) -> None:
    only_alice = {"name": "request-termination", "consumer": "alice", "config": {"status_code": 409}}
    gateway.use("change", {"consumer": "alice"}, consumers=[CONSUMER])
    upstream = gateway.get("/").upstream
    assert upstream is not None
    assert (upstream.headers["X-Consumer-Username"], upstream.headers["X-Credential-Identifier"]) == (
        "alice",
        "by-change",
    )
    gateway.use("change", {"consumer": "alice"}, consumers=[CONSUMER], plugins=[only_alice])
    assert gateway.get("/").status == 409
    gateway.use("change", {"consumer": "nobody"}, consumers=[CONSUMER])
    assert gateway.get("/").status == 500


# --- answers and responses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "body"),
    [
        ("json", 403, "application/json; charset=utf-8", '{"message":"nö"}'.encode()),
        ("text", 200, "text/plain; charset=utf-8", "täxt".encode()),
        ("bytes", 200, "application/octet-stream", b"\x00\x01"),
        ("nothing", 204, None, b""),
        ("raised", 409, "application/json; charset=utf-8", b'{"message":"raised"}'),
        ("typed", 200, "text/html", b"<p>"),
    ],
)
def test_a_plugin_answers(
    gateway: PluginGateway, kind: str, status: int, content_type: str | None, body: bytes
) -> None:
    gateway.use("answer", {"kind": kind})
    reply = gateway.get("/")
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (status, content_type, body)
    assert reply.headers["X-Answer"] == kind
    assert reply.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert reply.upstream is None


@pytest.mark.parametrize("end", ["%0d%0a", "%0a", "%0d", "%00"])
def test_a_content_type_is_one_line(gateway: PluginGateway, end: str) -> None:
    gateway.use("answer", {"kind": "echoed"})
    reply = gateway.get(f"/?type=text/css{end}X-Smuggled:%201")
    assert (reply.status, reply.headers["X-Smuggled"]) == (500, None)
    assert gateway.get("/?type=text/css").headers["Content-Type"] == "text/css"


def test_a_response_is_changed(gateway: PluginGateway) -> None:
    gateway.upstream.answer(404, "gone", {"X-Upstream": "yes"})
    gateway.use("change-response")
    reply = gateway.get("/path")
    assert (reply.status, reply.body) == (202, b"GONE for /path")
    assert (reply.headers["X-Was"], reply.headers["X-Upstream"]) == ("404 yes False", None)


def test_a_response_that_is_too_long_goes_on_as_it_is(gateway: PluginGateway) -> None:
    gateway.upstream.answer(200, b"x" * 70_000)
    gateway.use("change-response")
    reply = gateway.get("/")
    assert (reply.status, len(reply.body)) == (200, 70_000)


def test_a_response_is_replaced(gateway: PluginGateway) -> None:
    gateway.use("replace-response")
    assert gateway.get("/").body == b"ok"
    gateway.upstream.answer(404, "gone")
    reply = gateway.get("/")
    assert (reply.status, reply.json(), reply.headers["X-Instead"]) == (200, {"instead": True}, "yes")


def test_responses_of_the_gateway_itself_are_seen(gateway: PluginGateway) -> None:
    gateway.use("change-response", plugins=[{"name": "key-auth"}])
    reply = gateway.get("/")
    assert (reply.status, reply.headers["X-Was"]) == (202, "401 None True")


# --- phases ----------------------------------------------------------------------------------------------


def test_plugins_share_a_context(gateway: PluginGateway) -> None:
    gateway.use("first", plugins=[{"name": "second"}])
    reply = gateway.get("/")
    assert reply.headers["X-Trace"] == "first access, second access, first response, second response"
    request_id = reply.headers["X-Kong-Request-Id"]
    gateway.wait_for_log(f"[first] trace {request_id}: {reply.headers['X-Trace']}, first log")
    assert gateway.get("/").headers["X-Trace"] == reply.headers["X-Trace"]


def test_templates_see_what_is_in_ctx(gateway: PluginGateway) -> None:
    headers = [
        "x-tenant:$(shared.tenant)",
        "x-next:$(shared.number + 1)",
        "x-rest:$(shared.nothing or 'none')",
    ]
    gateway.use("tell", plugins=[{"name": "request-transformer", "config": {"add": {"headers": headers}}}])
    for tenant in ("one", "two"):
        sent = gateway.get(f"/?tenant={tenant}").upstream
        assert sent is not None
        assert sent.headers["X-Tenant"] == f"t%0D%0A-{tenant}"
        assert (sent.headers["X-Next"], sent.headers["X-Rest"]) == ("8", "none")


def test_the_end_of_requests_is_logged(gateway: PluginGateway) -> None:
    gateway.use("last")
    gateway.get("/fine")
    gateway.wait_for_log("[last] outcome /fine: 200 False True True True 0 127.0.0.1")
    gateway.use("last", plugins=[{"name": "key-auth"}])
    gateway.get("/refused")
    gateway.wait_for_log("[last] outcome /refused: 401 True True True True 0 None")


def test_requests_are_seen_before_a_route_is_chosen(gateway: PluginGateway) -> None:
    gateway.use("rewrite")
    reply = gateway.get("/maintenance")
    assert (reply.status, reply.json()) == (503, {"route": None})
    upstream = gateway.get("/").upstream
    assert upstream is not None
    assert upstream.headers["X-Rewritten"] == "yes"


def test_the_most_specific_configuration_applies(gateway: PluginGateway) -> None:
    special = {"name": "answer", "consumer": "alice", "config": {"kind": "text"}}
    gateway.use("answer", {"kind": "json"}, plugins=[{"name": "key-auth"}, special], consumers=[CONSUMER])
    assert gateway.get("/", headers={"apikey": "alices-key"}).status == 200
    assert gateway.get("/").status == 401


# --- trouble ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("raise", "ValueError: trouble in access, in access ("),
        ("nonsense", "TypeError: a plugin's function returns None or respond(…), not int"),
        ("header", "ValueError: the value of a header has no control characters"),
        ("framing", "ValueError: Content-Length is written by the gateway itself"),
        ("exit", "SystemExit: 3"),
    ],
)
def test_an_exception_is_a_logged_500(gateway: PluginGateway, kind: str, text: str) -> None:
    gateway.use("trouble", {"kind": kind})
    reply = gateway.get("/")
    request_id = reply.headers["X-Kong-Request-Id"]
    assert reply.status == 500
    assert reply.json() == {"message": UNEXPECTED, "request_id": request_id}
    assert reply.upstream is None
    line = next(line for line in gateway.log().splitlines() if request_id in line)
    assert f"plugin trouble failed: {text}" in line
    assert gateway.get("/?kind=fine").status == 200


def test_a_task_that_wants_to_end_everything(gateway: PluginGateway) -> None:
    gateway.use("trouble", {"kind": "exit later"})
    assert gateway.get("/").status == 200
    gateway.wait_for_log("on the plugin thread: SystemExit: 4")
    assert gateway.get("/?kind=fine").status == 200


def test_an_exception_in_a_response_is_a_500(gateway: PluginGateway) -> None:
    gateway.use("trouble-later", {"phase": "response"})
    reply = gateway.get("/")
    assert (reply.status, reply.json()["message"]) == (500, UNEXPECTED)
    gateway.use("trouble-later", {"phase": "log"})
    reply = gateway.get("/")
    assert (reply.status, reply.body) == (200, b"ok")
    gateway.wait_for_log("plugin trouble-later failed: ValueError: trouble in log")


def timeouts(gateway: PluginGateway) -> int:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", gateway._status_port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    (line,) = [line for line in page.splitlines() if line.startswith("sluicegate_plugin_timeouts_total ")]
    return int(line.split()[1])


def test_the_deadline_is_a_500_and_others_go_on(gateway: PluginGateway) -> None:
    gateway.use("trouble", {"kind": "fine"})
    before = timeouts(gateway)
    replies = []
    hanging = threading.Thread(target=lambda: replies.append(gateway.get("/?kind=hang")))
    hanging.start()
    fine = 0
    while hanging.is_alive():
        assert gateway.get("/?kind=fine").status == 200
        fine += 1
    assert fine > 0
    assert (replies[0].status, replies[0].json()["message"]) == (500, UNEXPECTED)
    gateway.wait_for_log("a plugin has not answered within its deadline: trouble")
    wait_for(lambda: timeouts(gateway) == before + 1, what="it is counted")


def test_waiting_requests_wait_together(gateway: PluginGateway) -> None:
    gateway.use("together")
    status: list[int] = []
    threads = [threading.Thread(target=lambda: status.append(gateway.get("/").status)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert status == [200] * 5


def test_a_plugin_that_blocks_costs_its_own_requests_only(gateway: PluginGateway) -> None:
    """One that does not await holds up the thread: its requests end at the deadline, what needs no Python
    goes on."""
    gateway.use("trouble", {"kind": "block"})
    gateway.upstream.answer(200, "fine")
    status = []
    blocking = [threading.Thread(target=lambda: status.append(gateway.get("/").status)) for _ in range(2)]
    for thread in blocking:
        thread.start()
    for thread in blocking:
        thread.join()
    assert status == [500, 500]
    gateway.use()
    assert gateway.get("/").status == 200
    gateway.use("trouble", {"kind": "fine"})
    wait_for(lambda: gateway.get("/").status == 200, what="the thread is free again")


def test_clients_that_go_away_leave_nothing_behind(gateway: PluginGateway) -> None:
    import socket

    gateway.use("trouble", {"kind": "hang"})
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", gateway.proxy_port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert gateway.get("/?kind=fine").status == 200


# --- what else there is ----------------------------------------------------------------------------------


def test_the_cache_is_bounded_and_forgets(gateway: PluginGateway) -> None:
    gateway.use("remember")
    assert [gateway.get(path).json()["number"] for path in ("/a", "/a", "/b")] == [1, 1, 2]
    for path in ("/c", "/d"):
        assert gateway.get(path).json()["size"] <= 3
    assert gateway.get("/a").json()["number"] > 4
    gateway.use("remember", {"ttl": 0.05})
    first = gateway.get("/short").json()["number"]
    wait_for(lambda: gateway.get("/short").json()["number"] > first, what="it is forgotten")


def test_plugins_ask_over_http(gateway: PluginGateway) -> None:
    gateway.upstream.answer(200, "said")
    gateway.use("ask", {"url": f"http://127.0.0.1:{gateway.upstream.port}/question"})
    upstream = gateway.get("/path").upstream
    assert upstream is not None
    assert upstream.headers["X-Said"] == "said"
    asked, _ = gateway.upstream.requests
    assert (asked.target, asked.headers["X-Asked"]) == ("/question", "/path")


def test_there_is_one_object_for_each_configuration(gateway: PluginGateway) -> None:
    gateway.use("every-setup")
    first = gateway.get("/").json()
    assert gateway.get("/").json() == first

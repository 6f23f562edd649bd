"""The examples, in a real gateway: `pytest examples/plugins`."""

import pytest

from gateway.testing import PluginGateway, TestUpstream

pytest_plugins = ["gateway.testing.fixtures"]


@pytest.fixture
def service():
    """Another service beside the upstream."""
    with TestUpstream() as service:
        yield service


@pytest.fixture(autouse=True)
def plain_upstream(plugin_gateway: PluginGateway):
    plugin_gateway.upstream.answer()


# --- forward-auth ---------------------------------------------------------------------------------------


def test_who_is_authorized_passes(plugin_gateway: PluginGateway, service: TestUpstream):
    service.answer(200, b"", {"X-User": "alice"})
    plugin_gateway.use(
        "forward-auth", {"url": f"http://127.0.0.1:{service.port}/check", "pass_on": ["X-User"]}
    )
    for _ in range(2):
        reply = plugin_gateway.get("/orders?page=2", headers={"Authorization": "one", "X-User": "mallory"})
        assert reply.status == 200
        assert reply.upstream.headers.get_all("X-User") == ["alice"]
    (asked,) = service.requests  # the second time it was known
    assert (asked.headers["Authorization"], asked.headers["X-Forwarded-Uri"]) == ("one", "/orders")
    service.answer(200, b"", {"X-User": "bob"})
    reply = plugin_gateway.get("/orders", headers={"Authorization": "two"})
    assert reply.upstream.headers["X-User"] == "bob"


def test_who_is_not_is_told_so(plugin_gateway: PluginGateway, service: TestUpstream):
    service.answer(401, {"error": "who are you?"}, {"WWW-Authenticate": "Bearer", "X-Internal": "secret"})
    plugin_gateway.use("forward-auth", {"url": f"http://127.0.0.1:{service.port}/check"})
    reply = plugin_gateway.get("/")
    assert (reply.status, reply.json(), reply.upstream) == (401, {"error": "who are you?"}, None)
    assert (reply.headers["WWW-Authenticate"], reply.headers["X-Internal"]) == ("Bearer", None)


def test_without_the_service_nobody_passes(plugin_gateway: PluginGateway):
    plugin_gateway.use("forward-auth", {"url": "http://127.0.0.1:1/check"})
    reply = plugin_gateway.get("/")
    assert (reply.status, reply.upstream) == (503, None)
    plugin_gateway.wait_for_log("[forward-auth] the authorization service cannot be asked: ConnectError")


# --- redact-json ----------------------------------------------------------------------------------------


def test_fields_are_replaced(plugin_gateway: PluginGateway):
    user = {"name": "a", "password": "p", "address": {"street": "s", "city": "c"}}
    plugin_gateway.upstream.answer(200, {"users": [user], "street": "stays"})
    plugin_gateway.use("redact-json", {"fields": ["password", "users.address.street"], "replacement": "***"})
    redacted = {"name": "a", "password": "***", "address": {"street": "***", "city": "c"}}
    assert plugin_gateway.get("/").json() == {"users": [redacted], "street": "stays"}


def test_some_consumers_see_everything(plugin_gateway: PluginGateway):
    plugin_gateway.upstream.answer(200, {"password": "p"})
    plugin_gateway.use(
        "redact-json",
        {"fields": ["password"], "except_consumers": ["office"]},
        plugins=[{"name": "key-auth"}],
        consumers=[
            {"username": "office", "keyauth_credentials": [{"key": "1"}]},
            {"username": "other", "keyauth_credentials": [{"key": "2"}]},
        ],
    )
    assert plugin_gateway.get("/", headers={"apikey": "1"}).json() == {"password": "p"}
    assert plugin_gateway.get("/", headers={"apikey": "2"}).json() == {"password": None}


def test_other_bodies_stay_as_they_are(plugin_gateway: PluginGateway):
    plugin_gateway.use("redact-json", {"fields": ["password"]})
    plugin_gateway.upstream.answer(200, '{"password": "p"}', {"Content-Type": "text/plain"})
    assert plugin_gateway.get("/").body == b'{"password": "p"}'
    plugin_gateway.upstream.answer(200, '{"password": "p"', {"Content-Type": "application/json"})
    assert plugin_gateway.get("/").body == b"null"


# --- canary ---------------------------------------------------------------------------------------------


def use_canary(gateway: PluginGateway, service: TestUpstream, **config: object) -> None:
    upstream = {"name": "new", "targets": [{"target": f"127.0.0.1:{service.port}"}]}
    gateway.use("canary", {"upstream": "new", **config}, upstreams=[upstream])


def test_clients_are_divided_and_may_choose(plugin_gateway: PluginGateway, service: TestUpstream):
    service.answer(200, b"new")
    use_canary(plugin_gateway, service, percentage=0)
    assert plugin_gateway.get("/").body == b"ok"
    assert plugin_gateway.get("/", headers={"X-Canary": "always"}).body == b"new"
    use_canary(plugin_gateway, service, percentage=100)
    assert plugin_gateway.get("/").body == b"new"
    assert plugin_gateway.get("/", headers={"X-Canary": "never"}).body == b"ok"


def test_a_release_that_fails_is_left_alone(plugin_gateway: PluginGateway, service: TestUpstream):
    service.answer(500, b"new")
    use_canary(plugin_gateway, service, percentage=100, rest=30)
    for _ in range(20):
        assert plugin_gateway.get("/").status == 500
    plugin_gateway.wait_for_log("20 of 20 requests to new failed: nobody is sent there for 30 s")
    assert plugin_gateway.get("/").body == b"ok"

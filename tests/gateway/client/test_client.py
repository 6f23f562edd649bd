"""The client of the Admin API against made-up answers; blocking and asynchronous where both could differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.client import (
    AdminClient,
    AsyncAdminClient,
    Conflict,
    NotAllowed,
    NotFound,
    NotUnderstood,
    Refused,
    Retries,
    Unreachable,
)
from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.services import Service

AT_ONCE = Retries(most=3, first_pause=0.0)
ADDRESS = "http://admin.test:8001"
Handler = Callable[[httpx.Request], httpx.Response]


class Scripted:
    """Answers that are given one after the other; requests that came."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def seen(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]


def blocking(handler: Handler, **options: Any) -> AdminClient:
    options.setdefault("retries", AT_ONCE)
    return AdminClient(ADDRESS, transport=httpx.MockTransport(handler), **options)


def awaiting(handler: Handler, **options: Any) -> AsyncAdminClient:
    options.setdefault("retries", AT_ONCE)
    return AsyncAdminClient(ADDRESS, transport=httpx.MockTransport(handler), **options)


def ok(document: Any = None, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={} if document is None else document, headers=headers)


# --- entities -----------------------------------------------------------------------------------------


def test_operations_and_their_requests() -> None:
    entity = {"id": "1", "name": "users"}
    script = Scripted(*(ok(entity) for _ in range(4)), httpx.Response(204))
    admin = blocking(script)
    assert admin.services.get("users") == entity
    assert admin.services.create({"name": "users", "host": "h"}) == entity
    assert admin.services.update("users", {"port": 81}) == entity
    assert admin.services.upsert("users", {"host": "h"}) == entity
    assert admin.services.delete("users") is None
    assert script.seen == [
        "GET /services/users",
        "POST /services",
        "PATCH /services/users",
        "PUT /services/users",
        "DELETE /services/users",
    ]
    assert json.loads(script.requests[1].content) == {"name": "users", "host": "h"}
    assert script.requests[1].headers["content-type"] == "application/json"


def test_the_asynchronous_client_does_the_same() -> None:
    pages = [{"data": [{"id": "1"}], "next": "/services?offset=x", "offset": "x"}, {"data": [{"id": "2"}]}]
    script = Scripted(ok({"id": "1"}), httpx.ConnectError("refused"), ok({"id": "2"}), *map(ok, pages))

    async def work() -> list[Any]:
        async with awaiting(script) as admin:
            found = [
                await admin.services.get("a"),
                await admin.consumers("bob").key_auth.create({"key": "k"}),
            ]
            return found + [entity async for entity in admin.services.list()]

    assert asyncio.run(work()) == [{"id": "1"}, {"id": "2"}, {"id": "1"}, {"id": "2"}]
    assert script.seen == [
        "GET /services/a",
        "POST /consumers/bob/key-auth",
        "POST /consumers/bob/key-auth",
        "GET /services?size=1000",
        "GET /services?size=1000&offset=x",
    ]


def test_keys_are_part_of_the_path_whatever_is_in_them() -> None:
    script = Scripted(*(ok() for _ in range(2)))
    admin = blocking(script)
    admin.consumers.get("a/b c?d#é%")
    admin.upstreams("u").targets.get("[::1]:80")
    assert script.seen == [
        "GET /consumers/a%2Fb%20c%3Fd%23%C3%A9%25",
        "GET /upstreams/u/targets/%5B::1%5D:80",
    ]
    for key in ("", ".", ".."):
        with pytest.raises(ValueError, match="no key"):
            admin.services.get(key)


def test_entities_as_structs() -> None:
    shown = {"id": "1", "created_at": 1, "updated_at": 1, "host": "h", "of_a_newer_version": 1}
    service = blocking(Scripted(ok(shown))).of(Service).get("1")
    assert isinstance(service, Service)
    assert (service.host, service.port) == ("h", 80)


def test_every_entity_of_the_catalogue_has_its_collections() -> None:
    admin = blocking(Scripted())
    for type_name in ENTITY_TYPES:
        assert getattr(admin, type_name).type_name == type_name
        assert type_name in dir(admin)
        for child in CHILDREN[type_name]:
            member = getattr(admin, type_name)("x")
            assert getattr(member, child).type_name == child
            assert child in dir(member)
    assert admin.key_auths.path == "/key-auths"
    assert admin.consumers("bob").basic_auth.path == "/consumers/bob/basic-auth"
    with pytest.raises(AttributeError, match=r"known: .*services"):
        _ = admin.servces
    with pytest.raises(AttributeError, match=r"there are: .*routes"):
        _ = admin.services("x").consumers


def test_find_and_delete_of_what_is_not_there() -> None:
    missing = [ok({"message": "Not found"}, 404) for _ in range(3)]
    admin = blocking(Scripted(*missing))
    assert admin.services.find("x") is None
    admin.services.delete("x")
    with pytest.raises(NotFound, match="Not found"):
        admin.services.get("x")


def test_lists_are_fetched_page_by_page_as_they_are_needed() -> None:
    script = Scripted(
        ok({"data": [{"id": "1"}, {"id": "2"}], "next": "/prefix/services?offset=a%3D&size=2&tags=x%2Fy"}),
        ok({"data": [], "next": None}),
    )
    listed = blocking(script).services.list(tags="x/y", size=2, query={"extra": "1"})
    assert script.seen == []
    assert [next(listed)["id"], next(listed)["id"]] == ["1", "2"]
    assert len(script.seen) == 1
    assert list(listed) == []
    assert script.seen == [
        "GET /services?extra=1&size=2&tags=x%2Fy",
        "GET /services?extra=1&size=2&tags=x%2Fy&offset=a%3D",
    ]
    script = Scripted(ok({"data": []}))
    assert list(blocking(script).services.list(tags=["a", "b"])) == []
    assert script.seen == ["GET /services?size=1000&tags=a%2Cb"]


# --- errors and retries ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (401, NotAllowed), (403, NotAllowed), (404, NotFound), (409, Conflict)],
)
def test_refusals_carry_what_kong_says(status: int, kind: type[Refused]) -> None:
    answer = {
        "message": "schema violation (host: x)",
        "name": "schema violation",
        "code": 2,
        "fields": {"host": "x"},
    }
    with pytest.raises(kind) as caught:
        blocking(Scripted(ok(answer, status))).services.create({})
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.name) == (status, 2, "schema violation")
    assert error.fields == {"host": "x"}
    assert str(error) == "schema violation (host: x)"
    assert error.answer == answer


def test_refusals_without_json() -> None:
    page = httpx.Response(415, text="<html>", headers={"content-type": "text/html"})
    with pytest.raises(Refused, match="status 415") as caught:
        blocking(Scripted(page)).services.create({})
    assert (caught.value.code, dict(caught.value.fields)) == (None, {})


def test_something_else_answers() -> None:
    with pytest.raises(NotUnderstood, match=r"no Admin API.*<html>"):
        blocking(Scripted(httpx.Response(200, text="<html>"))).services.get("x")


@pytest.mark.parametrize(
    "failure", [httpx.ReadTimeout(""), httpx.RemoteProtocolError("gone"), httpx.ReadError("reset")]
)
def test_a_lost_answer_is_asked_for_again_but_not_a_post(failure: Exception) -> None:
    for method in ("get", "upsert", "delete"):
        script = Scripted(failure, failure, ok())
        getattr(blocking(script).services, method)("x")
        assert len(script.seen) == 3
    for work in (lambda c: c.create({}), lambda c: c.update("x", {})):
        script = Scripted(failure)
        with pytest.raises(Unreachable) as caught:
            work(blocking(script).services)
        assert caught.value.was_sent


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ConnectTimeout("")])
def test_without_a_connection_everything_is_tried_again(failure: Exception) -> None:
    script = Scripted(failure, ok())
    blocking(script).services.create({})
    assert len(script.seen) == 2
    with pytest.raises(Unreachable, match=f"at {ADDRESS} cannot be reached: .+") as caught:
        blocking(Scripted(*[failure] * 4)).services.create({})
    assert not caught.value.was_sent


def test_busy_gateways() -> None:
    script = Scripted(ok(status=503), ok(status=429), ok({"id": "1"}))
    assert blocking(script).services.get("x") == {"id": "1"}
    script = Scripted(ok(status=429), ok({"id": "1"}))
    assert blocking(script).services.create({}) == {"id": "1"}
    with pytest.raises(Refused):  # it may have been done
        blocking(Scripted(ok(status=503))).services.create({})
    with pytest.raises(Refused) as caught:
        blocking(Scripted(*(ok(status=503) for _ in range(4)))).services.get("x")
    assert caught.value.status == 503


def test_pauses_double_and_follow_retry_after() -> None:
    retries = Retries(most=3, first_pause=0.1, longest_pause=0.3)
    for number, longest in enumerate((0.1, 0.2, 0.3)):
        pauses = [retries.pause(number, None) or 0 for _ in range(50)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert len(set(pauses)) > 1
    assert retries.pause(3, None) is None
    assert retries.pause(0, 0.25) == 0.25
    assert retries.pause(0, 1.0) is None
    script = Scripted(ok(status=503, **{"retry-after": "60"}))
    with pytest.raises(Refused):
        blocking(script).services.get("x")


# --- the rest -------------------------------------------------------------------------------------------


def test_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def token(**options: Any) -> str | None:
        script = Scripted(ok())
        blocking(script, **options).node()
        return script.requests[0].headers.get("kong-admin-token")

    monkeypatch.delenv("GATEWAY_ADMIN_TOKEN", raising=False)
    assert token() is None
    assert token(token="given") == "given"  # noqa: S106
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "me:of-the-environment, another")
    assert token() == "of-the-environment"
    assert token(token="given") == "given"  # noqa: S106
    assert token(token="") is None


def test_raw_requests() -> None:
    script = Scripted(ok({"a": 1}), ok(status=404), ok(), httpx.ReadTimeout(""), ok())
    admin = blocking(script)
    answer = admin.request("post", "/schemas/services/validate", json={"host": "h"}, query={"q": "1"})
    assert (answer.status, answer.json()) == (200, {"a": 1})
    assert admin.request("GET", "/nothing", refusals=False).status == 404
    admin.request(
        "POST", "/x", content=b"a=1", headers={"Content-Type": "text/x", "X-A": "b"}, repeatable=True
    )
    assert script.requests[2].headers["content-type"] == "text/x"
    assert script.requests[2].headers["x-a"] == "b"
    admin.request("POST", "/x", content=b"a=1", repeatable=True)
    assert script.seen[0] == "POST /schemas/services/validate?q=1"
    assert len(script.seen) == 5


def test_declarative_configurations() -> None:
    script = Scripted(ok({"config": "a: 1"}), httpx.ReadError("lost"), ok({}, 201), httpx.Response(304))
    admin = blocking(script)
    assert admin.configuration() == "a: 1"
    assert admin.load_configuration("_format_version: '3.0'") is True
    assert admin.load_configuration({"_format_version": "3.0"}, check_hash=True) is False
    assert script.seen == ["GET /config", "POST /config", "POST /config", "POST /config?check_hash=1"]
    assert script.requests[2].headers["content-type"] == "application/yaml"
    assert script.requests[3].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "http://", "unix:relative", "http://x:port", "http://x/?q=1"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several texts
        AdminClient(text)


def test_addresses() -> None:
    assert AdminClient("localhost:8001/").address == "http://localhost:8001"
    assert AdminClient("unix:/run/admin.sock").address == "unix:/run/admin.sock"
    assert AdminClient("https://me:secret@gateway/admin").address == "https://gateway/admin"


def test_what_it_shows_of_itself() -> None:
    admin = blocking(Scripted())
    assert repr(admin) == f"<AdminClient {ADDRESS}>"
    assert repr(admin.services) == f"<BlockingCollection /services at {ADDRESS}>"
    assert repr(admin.services("x")) == "<BlockingMember /services/x>"
    assert "Raises NotFound" in (admin.services.get.__doc__ or "")

"""The gateway's own answers: statuses, texts and their types (proxying.md §1 and §4)."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client import Client, Response
from tests.support.gateway import Gateway, free_port
from tests.support.upstreams import Upstream

NO_ROUTE = "no Route matched with those values"


@pytest.fixture(scope="module")
def configured() -> Iterator[tuple[Gateway, Upstream]]:
    with Upstream() as behind:
        service = {"name": "s", "host": "127.0.0.1", "port": behind.port}
        document = {
            "_format_version": "3.0",
            "services": [
                service
                | {
                    "routes": [
                        {"name": "plain", "paths": ["/plain"]},
                        {"name": "grpc", "paths": ["/grpc"], "protocols": ["grpc"], "strip_path": False},
                        *(
                            {
                                "name": f"https-{code}",
                                "paths": [f"/https-{code}"],
                                "protocols": ["https"],
                                "https_redirect_status_code": code,
                            }
                            for code in (426, 301, 302, 307, 308)
                        ),
                    ]
                },
                {"name": "off", "host": "127.0.0.1", "port": behind.port, "enabled": False}
                | {"routes": [{"name": "off", "paths": ["/off"]}]},
                {"name": "dead", "host": "127.0.0.1", "port": free_port()}
                | {"routes": [{"name": "dead", "paths": ["/dead"]}]},
                {"name": "nowhere", "host": "no-such-name.invalid", "port": 80}
                | {"routes": [{"name": "nowhere", "paths": ["/nowhere"]}]},
            ],
            "routes": [{"name": "lonely", "paths": ["/lonely"]}],
        }
        # no name server: names are looked up in the hosts file alone
        with Gateway(document, dns_order="A") as gateway:
            yield gateway, behind


@pytest.fixture
def client(configured: tuple[Gateway, Upstream]) -> Iterator[Client]:
    with Client(configured[0].proxy_port) as client:
        yield client


def check_body(answer: Response, kind: str, message: str) -> None:
    """The body is Kong's template of this kind with this message and the request's id."""
    request_id = answer.get("x-kong-request-id")
    text = answer.body.decode()
    if kind == "grpc":
        assert text == ""
        assert answer.get("content-type") == ""
        return
    types = {"json": "application/json", "html": "text/html", "xml": "application/xml", "plain": "text/plain"}
    assert answer.get("content-type") == types[kind] + "; charset=utf-8"
    if kind == "json":
        assert text == f'{{\n  "message":"{message}",\n  "request_id":"{request_id}"\n}}'
        assert json.loads(text) == {"message": message, "request_id": request_id}
    elif kind == "xml":
        root = ElementTree.fromstring(text)  # noqa: S314 - of the gateway's own making
        assert root.tag == "error"
        assert {child.tag: child.text for child in root} == {"message": message, "requestid": request_id}
    elif kind == "html":
        assert text.startswith("<!doctype html>\n")
        assert f"<p>{message}.</p>\n    <p>request_id: {request_id}</p>" in text
    else:
        assert text == f"{message}\nrequest_id: {request_id}\n"


ACCEPTED: list[tuple[str | None, str]] = [
    (None, "json"),
    ("*/*", "json"),
    ("application/json", "json"),
    ("text/html", "html"),
    ("TEXT/HTML", "html"),
    ("text/plain", "plain"),
    ("text/*", "plain"),
    ("application/xml", "xml"),
    ("application/grpc", "grpc"),
    ("image/png", "json"),
    ("text/html;q=0.5, application/xml", "xml"),
    ("text/html;q=0.1, application/xml;q=0.2", "xml"),
    ("text/html; q=0.9 , text/plain;q=0.95", "plain"),
    ("text/html;level=1;q=0.9,text/plain;q=0.1", "html"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
    ("text/html;q=0, text/plain", "plain"),
    ("", "json"),
    (",,;;q=", "json"),
]


@pytest.mark.parametrize(("accept", "kind"), ACCEPTED)
def test_negotiated_type(client: Client, accept: str | None, kind: str) -> None:
    answer = client.request("/none", *([] if accept is None else [f"Accept: {accept}"])).response()
    assert answer.status == 404
    check_body(answer, kind, NO_ROUTE)
    assert answer.get("server") == "kong/3.9.1"
    assert (answer.get("x-kong-response-latency") or "").isdigit()
    assert answer.get("via") is None
    client.expect_open()


SERVER_MADE: list[tuple[list[str], str]] = [
    ([], "plain"),
    (["Accept: application/json"], "json"),
    (["Accept: text/html"], "html"),
    (["Accept: */*"], "json"),
    (["Content-Type: application/json"], "json"),
    (["Content-Type: text/html; charset=utf-8"], "html"),
    (["Content-Type: application/xml"], "xml"),
    (["Content-Type: application/xml", "Accept: text/plain"], "plain"),
]


@pytest.mark.parametrize(("fields", "kind"), SERVER_MADE)
def test_type_of_what_nginx_makes_in_kong(client: Client, fields: list[str], kind: str) -> None:
    """From Accept, else the request's Content-Type, else error_default_type."""
    answer = client.request("/dead", *fields).response()
    assert answer.status == 502
    check_body(answer, kind, "An invalid response was received from the upstream server")


@pytest.mark.parametrize(("fields", "kind"), SERVER_MADE)
def test_type_of_a_refusal(client: Client, fields: list[str], kind: str) -> None:
    answer = client.request("/plain", *fields, "broken").response()
    assert answer.status == 400
    check_body(answer, kind, "Bad request")


@pytest.mark.parametrize(
    ("default", "kind"),
    [
        ("text/html", "html"),
        ("application/json", "json"),
        ("application/xml", "xml"),
        ("text/plain", "plain"),
    ],
)
def test_error_default_type(default: str, kind: str) -> None:
    with Gateway(error_default_type=default) as gateway, Client(gateway.proxy_port) as client:
        answer = client.send(b"nonsense\r\n\r\n").response()
        check_body(answer, kind, "Bad request")


def test_head_has_no_body(client: Client) -> None:
    answer = client.request("/none", method="HEAD").response("HEAD")
    assert answer.status == 404
    assert int(answer.get("content-length") or 0) > 0
    assert client.request("/none").response().status == 404


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"x" * 100_000])
def test_answer_before_the_body(client: Client, body: bytes) -> None:
    """A body that has arrived is skipped and the connection goes on; else it is closed after the answer."""
    client.request("/none", f"Content-Length: {len(body)}", method="POST", body=body)
    answer = client.response()
    assert answer.status == 404
    if not answer.closes:
        assert client.request("/none").response().status == 404
    else:
        assert body
        client.end_sending().expect_close()


# --- routing's answers -------------------------------------------------------------------------------------
def test_disabled_service(client: Client) -> None:
    answer = client.request("/off").response()
    assert answer.status == 404
    check_body(answer, "json", NO_ROUTE)


def test_route_without_service(client: Client) -> None:
    answer = client.request("/lonely").response()
    assert answer.status == 503
    check_body(answer, "json", "no Service found with those values")


def test_name_without_address(client: Client) -> None:
    answer = client.request("/nowhere").response()
    assert answer.status in (500, 503)
    if answer.status == 503:
        check_body(answer, "json", "name resolution failed")


def test_https_required(client: Client) -> None:
    answer = client.request("/https-426").response()
    assert answer.status == 426
    assert "Upgrade" in answer.all("connection")
    assert answer.get("upgrade") == "TLS/1.2, HTTP/1.1"
    check_body(answer, "json", "Please use HTTPS protocol")
    client.expect_open()


@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["", "/x/y?a=b&c", "/a%20b?", "/%C3%A4"])
def test_redirect_to_https(client: Client, code: int, target: str) -> None:
    path = f"/https-{code}{target}"
    answer = client.send(f"GET {path} HTTP/1.1\r\nHost: shop.test:8000\r\n\r\n".encode()).response()
    assert answer.status == code
    assert answer.get("location") == f"https://shop.test{path}"
    assert answer.get("content-type") == "text/html"
    assert answer.body.startswith(f"<html>\r\n<head><title>{code} ".encode())
    client.expect_open()


def test_grpc_route_with_grpc_content(client: Client) -> None:
    answer = client.request("/grpc", "Content-Type: application/grpc+proto", method="POST").response()
    assert answer.status == 426
    assert answer.get("upgrade") == "HTTP/2"
    check_body(answer, "json", "Please use HTTP2 protocol")


def test_grpc_route_with_other_content(client: Client) -> None:
    for fields in ([], ["Content-Type: application/json"]):
        answer = client.request("/grpc", *fields, method="POST").response()
        assert answer.status == 415
        check_body(answer, "json", "Non-gRPC request matched gRPC route")


@pytest.mark.parametrize("target", ["/plain/..", "/plain/%2e%2e", "/%2fplain", "//plain/x"])
def test_path_is_normalised_before_matching(
    configured: tuple[Gateway, Upstream], client: Client, target: str
) -> None:
    answer = client.request(target).response()
    expected: dict[str, Any] = {"//plain/x": 200}
    assert answer.status == expected.get(target, 404)


def test_nothing_of_it_reached_the_upstream(configured: tuple[Gateway, Upstream], client: Client) -> None:
    behind = configured[1]
    before = len(behind.heads)
    for path in ("/none", "/off", "/lonely", "/https-426", "/https-301", "/grpc"):
        client.request(path).response()
    assert len(behind.heads) == before

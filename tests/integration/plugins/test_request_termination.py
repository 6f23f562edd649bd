"""request-termination: answers, triggers, the echo (plugins.md; corrections.md, 24)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.client import Client, chunked
from tests.support.plugged import Plugged, plugin


def test_what_is_not_triggered_passes(plugged: Plugged) -> None:
    plugged.configure(plugin("request-termination", trigger="X-Stop", message="stop"))
    assert plugged.request("/?a=1&x-stop=1&Y-Stop=2").status == 200, "names of arguments know case"
    for target, fields in [
        ("/", ["x-stop:"]),
        ("/?X-Stop", []),
        ("/?a=1&X-Stop=", []),
        ("/?%58-St%6fp=1", []),
        ("/?&&X-Stop&", []),
    ]:
        answer = plugged.request(target, *fields)
        assert (answer.status, answer.message) == (503, "stop")


@pytest.mark.parametrize(
    ("status", "content_type", "beginning"),
    [
        (200, None, b""),
        (204, None, b""),
        (304, None, b""),
        (400, "application/json; charset=utf-8", b'{\n  "message":"Bad request"'),
        (401, "application/json; charset=utf-8", b'{"message":"Unauthorized"}'),
        (403, "text/html; charset=utf-8", b"<!doctype html>"),
        (418, None, b""),
        (429, "text/html; charset=utf-8", b"<!doctype html>"),
        (502, "application/json; charset=utf-8", b'{"message":"Bad Gateway"}'),
        (504, "application/json; charset=utf-8", b'{\n  "message":"The upstream server is timing out"'),
        (599, None, b""),
    ],
)
def test_statuses_alone(plugged: Plugged, status: int, content_type: str | None, beginning: bytes) -> None:
    plugged.configure(plugin("request-termination", status_code=status))
    client = Client(plugged.gateway.proxy_port)
    for method in ("GET", "HEAD", "GET"):
        answer = client.request("/", method=method).response(method)
        assert (answer.status, answer.get("content-type")) == (status, content_type)
        assert answer.body.startswith(beginning if method == "GET" else b"")
        assert bool(answer.body) == (bool(beginning) and method == "GET")
    client.close()


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("text/plain", "text/plain; charset=UTF-8"),
        ("text/html; charset=latin1", "text/html; charset=latin1"),
        ("application/problem+json", "application/problem+json"),
        (None, None),
    ],
)
def test_bodies(plugged: Plugged, content_type: str | None, sent: str | None) -> None:
    body = "<ü> " * 30_000
    plugged.configure(plugin("request-termination", status_code=200, body=body, content_type=content_type))
    answer = plugged.request("/", method="POST", body=b"x" * 50_000)
    assert (answer.status, answer.response.get("content-type")) == (200, sent)
    assert answer.response.body.decode() == body


def test_a_message_is_json_whatever_it_says(plugged: Plugged) -> None:
    message = 'a "quoted" \\ line\nand ü \x01'
    plugged.configure(plugin("request-termination", message=message))
    assert plugged.request().message == message


def test_a_status_that_cannot_end_a_request(plugged: Plugged) -> None:
    """1xx are interim answers: a client would wait for ever for the final one."""
    document = {"plugins": [plugin("request-termination", status_code=101)], "_format_version": "3.0"}
    status, _, answer = plugged.gateway.call(
        plugged.gateway.admin_port,
        "POST",
        "/config",
        json.dumps(document).encode(),
        {"Content-Type": "application/json"},
    )
    assert status == 400
    assert "status_code" in answer.decode()


# --- echo --------------------------------------------------------------------------------------------------
def echoed(plugged: Plugged, target: str = "/", *fields: str, **options: Any) -> dict[str, Any]:
    answer = plugged.request(target, *fields, **options)
    assert answer.sent is None
    assert answer.response.get("content-type") == "application/json; charset=utf-8"
    return dict(json.loads(answer.response.body.decode("utf-8", "strict")))


def test_the_request_is_shown(plugged: Plugged) -> None:
    plugged.configure(plugin("request-termination", status_code=200, echo=True, message="here"))
    body = 'ü "quoted" \\ \n \x00 '.encode() + b"\xff\xc3("
    fields = ["X-A: 1", "x-a: 2", "X-B: \xe9\x80\x80", "X-C: \xff", "X-D:"]
    shown = echoed(
        plugged, "/a/../b%20c?one=1&two=%22x%22&two=&three&one=1+1", *fields, method="POST", body=body
    )
    assert shown["message"] == "here"
    assert shown["kong"]["worker_pid"] in plugged.gateway.worker_pids()
    request = shown["request"]
    assert request["headers"] == {
        "host": "a.test",
        "x-a": ["1", "2"],
        "x-b": "\u9000",
        "x-c": "\ufffd",
        "x-d": "",
        "content-length": str(len(body)),
    }
    assert request["query"] == {"one": ["1", "1 1"], "two": ['"x"', ""], "three": True}
    assert request["raw_body"] == 'ü "quoted" \\ \n \x00 \ufffd\ufffd('
    assert (request["method"], request["path"], request["scheme"], request["host"]) == (
        "POST",
        "/b c",
        "http",
        "a.test",
    )
    assert request["port"] == plugged.gateway.proxy_port
    assert request["uri_captures"] == {"named": {}, "unnamed": []}
    assert (shown["matched_service"]["name"], shown["matched_route"]["name"]) == ("upstream", "all")
    assert shown["matched_route"]["protocols"] == ["http", "https"]


def test_captures_of_the_path_are_shown(plugged: Plugged) -> None:
    route = {
        "paths": [r"~/users/(?<id>\d+)(/x)?(?<rest>.*)"],
        "plugins": [plugin("request-termination", echo=True)],
    }
    plugged.gateway.configure({"routes": [route]})
    shown = echoed(plugged, "/users/12/y")
    assert shown["request"]["uri_captures"] == {
        "named": {"id": "12", "rest": "/y"},
        "unnamed": ["12", "", "/y"],
    }
    assert "matched_service" not in shown


def test_a_chunked_body_is_waited_for(plugged: Plugged) -> None:
    plugged.configure(plugin("request-termination", echo=True))
    client = Client(plugged.gateway.proxy_port)
    client.request("/", "Transfer-Encoding: chunked", method="POST")
    client.send(b"3\r\nabc\r\n").send(b"3\r\ndef\r\n0\r\n\r\n")
    assert json.loads(client.response().body)["request"]["raw_body"] == "abcdef"
    client.request("/", "Transfer-Encoding: chunked", method="POST", body=chunked(b"next"))
    assert json.loads(client.response().body)["request"]["raw_body"] == "next"
    client.close()


def test_what_is_too_long_is_left_out(plugged: Plugged) -> None:
    plugged.configure(plugin("request-termination", echo=True))
    assert echoed(plugged, method="POST", body=b"x" * 1_048_576)["request"]["raw_body"] == "x" * 1_048_576
    assert "raw_body" not in echoed(plugged, method="POST", body=b"x" * 1_048_577)["request"]
    assert "query" not in echoed(plugged, "/?" + "&".join(f"a{number}" for number in range(1200)))["request"]

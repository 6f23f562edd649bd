"""request-transformer: what the upstream gets instead of what the client sent."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.gateway import one_service, wait_for
from tests.support.plugged import Plugged, plugin

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"


def configure(plugged: Plugged, *others: dict[str, Any], **config: Any) -> None:
    plugged.configure(plugin("request-transformer", **config), *others)


# --- headers -------------------------------------------------------------------------------------------
def test_headers_in_order_of_operations(plugged: Plugged) -> None:
    configure(
        plugged,
        remove={"headers": ["X-Gone", "absent"]},
        rename={"headers": ["x-old:X-New", "x-none:x-other", "x-case:X-CASE"]},
        replace={"headers": ["x-rep:r1", "x-not-there:r2", "x-new:r3"]},
        add={"headers": ["x-add:1", "x-have:2", "x-empty:", "x-gone:again", "x-colons:::a:b"]},
        append={"headers": ["x-app:3", "x-fresh:4"]},
    )
    sent = plugged.request(
        "/",
        *(
            "x-gone: 1",
            "X-OLD: o1",
            "x-old: o2",
            "x-case: c",
            "x-rep: a",
            "x-rep: b",
            "X-Have: h",
            "x-app: 0",
        ),
    ).upstream
    mine = {name: values for name, values in sent.fields.items() if name.startswith("x-") and len(name) < 13}
    for own in ("x-real-ip",):
        mine.pop(own)
    assert mine == {
        "x-new": ["r3"],
        "x-case": ["c"],
        "x-rep": ["r1"],
        "x-have": ["h"],
        "x-app": ["0", "3"],
        "x-add": ["1"],
        "x-gone": ["again"],
        "x-colons": ["a:b"],
        "x-fresh": ["4"],
    }


def test_renaming_keeps_all_values_and_takes_the_place_of_others(plugged: Plugged) -> None:
    configure(plugged, rename={"headers": ["x-old:x-new"]})
    sent = plugged.request("/", "x-new: n", "x-old: 1", "x-old: 2").upstream
    assert sent.fields["x-new"] == ["1", "2"]
    assert "x-old" not in sent.fields


def test_only_replace_changes_the_host(plugged: Plugged) -> None:
    configure(plugged, add={"headers": ["host:added"]}, append={"headers": ["Host:appended"]})
    assert plugged.request().upstream.get("host") == f"127.0.0.1:{plugged.behind.port}"
    configure(plugged, replace={"headers": ["Host:$(headers.x_host or 'replaced.test')"]})
    assert plugged.request().upstream.get("host") == "replaced.test"
    assert plugged.request("/", "X-Host: other.test:81").upstream.get("host") == "other.test:81"


def test_fields_that_only_the_gateway_writes_stay(plugged: Plugged) -> None:
    names = ["Content-Length", "Transfer-Encoding", "Connection", "X-Forwarded-For", "Via", "X-Real-IP"]
    configure(
        plugged,
        remove={"headers": names},
        append={"headers": [f"{name}:x" for name in names]},
        rename={"headers": ["x-mine:content-length"]},
    )
    sent = plugged.request("/", "x-mine: 7", method="POST", body=b"abc").upstream
    assert sent.body == b"abc"
    assert sent.get("content-length") == "3"
    assert sent.get("x-forwarded-for") == "127.0.0.1"
    assert sent.get("x-mine") == "7"


@pytest.mark.parametrize(
    "target", ["/?v=a%0d%0aX-Evil:%201", "/?v=%0AHost:%20evil", "/?v=%00%7f", "/?v=a%0D%0A%0D%0AGET%20/"]
)
def test_no_value_of_a_request_becomes_a_line_of_the_head(plugged: Plugged, target: str) -> None:
    configure(
        plugged,
        add={"headers": ["x-v:$(query_params.v)"]},
        replace={"headers": ["host:$(query_params.v)"], "uri": "/p/$(query_params.v)"},
    )
    sent = plugged.request(target).upstream
    assert "x-evil" not in sent.fields
    assert sent.get("host") == f"127.0.0.1:{plugged.behind.port}"
    value = sent.get("x-v")
    assert value is not None
    assert re.fullmatch(r"[\x20-\x7e]*%0[ADa0][\x20-\x7e]*", value)
    assert re.fullmatch(r"/p/[\x21-\x7e]*", sent.target.partition("?")[0])


# --- templates -----------------------------------------------------------------------------------------
def test_templates_see_the_request(plugged: Plugged) -> None:
    routes = [{"name": "t", "paths": [r"~/t/(?<one>\w+)/(?<two>\w+)", "/"], "strip_path": False}]
    config = {
        "replace": {"uri": "/new/$(uri_captures.two or 'none')/$(uri_captures[1])"},
        "add": {
            "headers": [
                "x-in:$(headers.x_some)",
                'x-default:$(headers["x-absent"] or query_params.q or "d")',
                "x-absent:$(headers.x_absent)",
                "x-uuid:$(uuid)",
            ],
            "querystring": ["host:$(headers.host)"],
        },
    }
    plugged.gateway.configure(
        one_service(plugged.behind.port, routes=routes, plugins=[plugin("request-transformer", **config)])
    )
    sent = plugged.request("/t/aa/bb?q=1", "X-Some: s").upstream
    assert sent.target == "/new/bb/aa?host=a.test&q=1"
    assert (sent.get("x-in"), sent.get("x-default"), sent.get("x-absent")) == ("s", "1", "")
    assert re.fullmatch(r"[0-9a-f-]{36}", sent.get("x-uuid") or "")
    assert plugged.request("/t/aa/bb").upstream.get("x-uuid") != sent.get("x-uuid")
    assert plugged.request("/plain").upstream.target.startswith("/new/none/?")


def test_templates_see_the_request_as_it_was_before_any_change(plugged: Plugged) -> None:
    configure(
        plugged,
        remove={"headers": ["x-a"], "querystring": ["q"]},
        add={"headers": ["x-b:$(headers.x_a)$(query_params.q)"], "querystring": ["r:$(query_params.q)"]},
    )
    sent = plugged.request("/?q=1", "x-a: a").upstream
    assert (sent.get("x-b"), sent.target) == ("a1", "/?r=1")


def test_a_template_that_fails_is_an_error(plugged: Plugged) -> None:
    configure(plugged, add={"headers": ["x-a:$(headers.x_absent .. 'z')"]})
    answer = plugged.request()
    assert (answer.status, answer.message) == (500, "An unexpected error occurred")
    assert plugged.request("/", "x-absent: a").upstream.get("x-a") == "az"
    wait_for(
        lambda: "a template works with a value that is nil" in plugged.gateway.output(), what="a log line"
    )


def test_what_is_no_template_is_refused(plugged: Plugged) -> None:
    for where in (
        {"add": {"headers": ["a:$(os.execute('id'))"]}},
        {"append": {"querystring": ["a:$(("]}},
        {"replace": {"body": ["a:$(string.upper('a'))"]}},
        {"rename": {"body": ["a:$("]}},
        {"replace": {"uri": "/a/$(uri_captures[)"}},
        {"replace": {"uri": "no/slash"}},
        {"add": {"headers": ["a:b\r\nc: d"]}},
        {"add": {"headers": ["a b:c"]}},
    ):
        document = one_service(plugged.behind.port, plugins=[plugin("request-transformer", **where)])
        status, _, answer = plugged.gateway.call(
            plugged.gateway.admin_port,
            "POST",
            "/config",
            json.dumps(document).encode(),
            {"Content-Type": "application/json"},
        )
        assert status == 400, (where, answer)


# --- method, path, query -------------------------------------------------------------------------------
def test_method(plugged: Plugged) -> None:
    configure(plugged, http_method="PATCH")
    sent = plugged.request("/x", method="POST", body=b"b").upstream
    assert (sent.method, sent.body) == ("PATCH", b"b")


def test_get_takes_the_form_along_in_the_query(plugged: Plugged) -> None:
    configure(plugged, http_method="GET", add={"querystring": ["z:1"]})
    sent = plugged.request("/x?a=0", FORM, method="POST", body=b"a=1&b=x+y&c").upstream
    assert (sent.method, sent.target) == ("GET", "/x?a=0&a=1&b=x%20y&c&z=1")
    assert sent.body == b"a=1&b=x+y&c"
    sent = plugged.request("/x", JSON, method="POST", body=b"{}").upstream
    assert (sent.method, sent.target) == ("GET", "/x?z=1")


def test_a_form_that_is_too_long_for_a_query(plugged: Plugged) -> None:
    configure(plugged, http_method="GET")
    body = b"&".join(b"a%d=1" % number for number in range(60_000))
    answer = plugged.request("/", FORM, method="POST", body=body)
    assert (answer.status, answer.message) == (414, "URI too long")


def test_head_instead_of_get_leaves_the_connection_usable(plugged: Plugged) -> None:
    configure(plugged, http_method="HEAD")
    client = Client(plugged.gateway.proxy_port)
    for _ in range(2):
        answer = client.request("/").response("GET")
        assert (answer.status, answer.body) == (200, b"")
    client.socket.close()


def test_a_path_that_is_no_path(plugged: Plugged) -> None:
    configure(plugged, replace={"uri": "$(headers.x_path)"})
    assert plugged.request("/a?q=1", "X-Path: /b c/é?x=1").upstream.target == "/b%20c/%E9?x=1?q=1"
    assert plugged.request("/a", "X-Path: nowhere").status == 500
    assert plugged.request("/a").status == 500


def test_the_query_stays_as_it_is_without_changes_to_it(plugged: Plugged) -> None:
    configure(plugged, add={"headers": ["x-a:1"]})
    assert plugged.request("/?z=1&a=%7e+&&b").upstream.target == "/?z=1&a=%7e+&&b"
    configure(plugged, remove={"querystring": ["z", "a", "b"]})
    assert plugged.request("/x?z=1&a=%7e+&&b").upstream.target == "/x"


def test_what_another_plugin_has_hidden_stays_hidden(plugged: Plugged) -> None:
    plugged.configure(
        plugin("key-auth", hide_credentials=True),
        plugin(
            "request-transformer",
            add={"querystring": ["a:1"], "headers": ["x-key:$(query_params.apikey)$(headers.apikey)"]},
            rename={"querystring": ["apikey:leaked"], "headers": ["apikey:x-leaked"]},
        ),
        consumers=[{"username": "bob", "keyauth_credentials": [{"key": "secret"}]}],
    )
    for target, field in (("/?apikey=secret&b=2", "x-a: 1"), ("/?b=2", "apikey: secret")):
        sent = plugged.request(target, field).upstream
        assert sent.target == "/?a=1&b=2"
        assert sent.get("x-key") == ""
        assert "secret" not in str(sent.fields)
        assert sent.get("x-consumer-username") == "bob"


# --- bodies --------------------------------------------------------------------------------------------
BODY_CHANGES = {
    "remove": {"body": ["rm"]},
    "rename": {"body": ["old:new"]},
    "replace": {"body": ["rep:n"]},
    "add": {"body": ["add:$(headers.x_add or 'none')", "have:2"]},
    "append": {"body": ["app:3"]},
}


def test_json_bodies(plugged: Plugged) -> None:
    configure(plugged, **BODY_CHANGES)
    body = b'{"rm":1,"old":"o","rep":5,"have":true,"app":"0","n":1.50}'
    sent = plugged.request("/", JSON, 'X-Add: "quoted"', method="POST", body=body).upstream
    assert sent.body == (b'{"new":"o","rep":"n","have":true,"app":["0","3"],"n":1.50,"add":"\\"quoted\\""}')
    assert sent.get("content-length") == str(len(sent.body))


def test_forms_and_multipart(plugged: Plugged) -> None:
    configure(plugged, **BODY_CHANGES)
    sent = plugged.request("/", FORM, "x-add: a&b", method="POST", body=b"rm=1&old=o&rep=x&have=h").upstream
    assert sent.body == b"new=o&rep=n&have=h&add=a%26b&app=3"
    body = b'--b\r\nContent-Disposition: form-data; name="old"\r\n\r\no\r\n--b--\r\n'
    sent = plugged.request(
        "/", "Content-Type: multipart/form-data; boundary=b", method="POST", body=body
    ).upstream
    assert sent.body == (
        b'--b\r\nContent-Disposition: form-data; name="new"\r\n\r\no\r\n'
        b'--b\r\nContent-Disposition: form-data; name="add"\r\n\r\nnone\r\n'
        b'--b\r\nContent-Disposition: form-data; name="have"\r\n\r\n2\r\n--b--\r\n'
    )


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{bad"),
        ("text/plain", b"rm=1"),
        ("application/json", b"5"),
        ("x/y", b'{"rm":1}'),
    ],
)
def test_bodies_that_stay(plugged: Plugged, content_type: str, body: bytes) -> None:
    configure(plugged, **BODY_CHANGES)
    assert (
        plugged.request("/", f"Content-Type: {content_type}", method="POST", body=body).upstream.body == body
    )


def test_a_body_that_was_not_there(plugged: Plugged) -> None:
    configure(plugged, add={"body": ["a:1"]})
    assert plugged.request("/", JSON, "Content-Length: 0", method="POST").upstream.body == b'{"a":"1"}'
    assert plugged.request("/", JSON).upstream.body == b'{"a":"1"}'
    assert plugged.request("/").upstream.body == b""


def test_chunked_bodies(plugged: Plugged) -> None:
    configure(plugged, **BODY_CHANGES)
    client = Client(plugged.gateway.proxy_port)
    pieces = [b'{"rm":', b'1,"k"', b":[]}"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = f"POST / HTTP/1.1\r\nHost: h\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    client.send(head + chunks + b"0\r\n\r\n")
    assert client.response("POST").status == 200
    sent, body = plugged.behind.requests[-1]
    assert body == b'{"k":[],"add":"none","have":"2","app":["3"]}'
    assert b"chunked" not in sent
    client.socket.close()


def test_a_body_beyond_the_limit_stays(plugged: Plugged) -> None:
    configure(plugged, remove={"headers": ["x-gone"], "body": ["rm"]})
    body = b'{"rm":"' + b"x" * (1 << 20) + b'"}'
    sent = plugged.request("/", JSON, "x-gone: 1", method="POST", body=body).upstream
    assert sent.body == body
    assert "x-gone" not in sent.fields


def test_many_bodies_on_one_connection(plugged: Plugged) -> None:
    """Jobs come back to the requests that they were made for."""
    configure(plugged, add={"body": ["n:$(headers.x_n)"]})
    clients = [Client(plugged.gateway.proxy_port) for _ in range(10)]
    for turn in range(5):
        for number, client in enumerate(clients):
            client.request("/", JSON, f"x-n: {turn}-{number}", "Content-Length: 2", method="POST", body=b"{}")
        for number, client in enumerate(clients):
            body = client.response("POST").body
            assert body.endswith(b'{"n":"%d-%d"}' % (turn, number))
    for client in clients:
        client.socket.close()

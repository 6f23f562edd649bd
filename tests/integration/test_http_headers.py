"""Headers that cross, that stay behind and that the gateway writes, in both directions (proxying.md §3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Upstream, response, serve_raw


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


def fields_of(head: bytes) -> dict[str, list[str]]:
    """{name in lower case: values}"""
    fields: dict[str, list[str]] = {}
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(": ")
        fields.setdefault(name.lower(), []).append(value)
    return fields


# --- to the upstream ---------------------------------------------------------------------------------------
def test_what_the_upstream_gets(upstream: StartUpstream, shared_gateway: Gateway, client: Client) -> None:
    behind = upstream(routes=[{"name": "r", "paths": ["/api"]}])
    answer = client.send(
        b"GET /api/x?y=1 HTTP/1.1\r\nHost: shop.test:1234\r\nUser-Agent: me\r\nAccept: */*\r\n"
        b"X-Mine: a\r\nX-Mine: b\r\n\r\n"
    ).response()
    assert behind.heads[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    fields = fields_of(behind.heads[0])
    request_id = fields.pop("x-kong-request-id")
    assert re.fullmatch("[0-9a-f]{32}", request_id[0])
    assert request_id == [answer.get("x-kong-request-id")]
    assert fields == {
        "host": [f"127.0.0.1:{behind.port}"],
        "connection": ["keep-alive"],
        "x-forwarded-for": ["127.0.0.1"],
        "x-real-ip": ["127.0.0.1"],
        "x-forwarded-proto": ["http"],
        "x-forwarded-host": ["shop.test"],
        "x-forwarded-port": [str(shared_gateway.proxy_port)],
        "x-forwarded-path": ["/api/x"],
        "x-forwarded-prefix": ["/api"],
        "via": ["1.1 kong/3.9.1"],
        "user-agent": ["me"],
        "accept": ["*/*"],
        "x-mine": ["a", "b"],
    }


def test_request_ids_differ(upstream: StartUpstream, client: Client) -> None:
    upstream()
    ids = {client.request().response().get("x-kong-request-id") for _ in range(20)}
    assert len(ids) == 20


def test_untrusted_peer_is_not_believed(
    upstream: StartUpstream, shared_gateway: Gateway, client: Client
) -> None:
    behind = upstream()
    client.request(
        "/",
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-For: 8.8.8.8",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Path: /evil",
        "X-Forwarded-Prefix: /evil",
        "X-Real-IP: 7.7.7.7",
        "Via: 1.0 old, 1.1 older",
    ).response()
    fields = fields_of(behind.heads[0])
    # appended to in any case; two fields are joined (corrections.md, 5)
    assert fields["x-forwarded-for"] == ["9.9.9.9, 8.8.8.8, 127.0.0.1"]
    assert fields["via"] == ["1.0 old, 1.1 older, 1.1 kong/3.9.1"]
    assert fields["x-forwarded-proto"] == ["http"]
    assert fields["x-forwarded-host"] == ["a.test"]
    assert fields["x-forwarded-port"] == [str(shared_gateway.proxy_port)]
    assert fields["x-forwarded-path"] == ["/"]
    assert fields["x-real-ip"] == ["127.0.0.1"]
    assert "x-forwarded-prefix" not in fields


HOP_BY_HOP = [
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy: http://evil.test",
    "TE: gzip",
    "Trailer: X-T",
    "Upgrade: h2c",
]


@pytest.mark.parametrize("field", HOP_BY_HOP)
def test_hop_by_hop_fields_stay_behind(upstream: StartUpstream, client: Client, field: str) -> None:
    behind = upstream()
    client.request("/", field).response()
    assert field.partition(":")[0].lower() not in fields_of(behind.heads[0])


@pytest.mark.parametrize(
    "connection", ["X-Hop, X-Other", "x-hop , keep-alive,x-other", "close, X-HOP, X-OTHER"]
)
def test_fields_named_by_connection_stay_behind(
    upstream: StartUpstream, client: Client, connection: str
) -> None:
    behind = upstream()
    client.request("/", "X-Hop: 1", f"Connection: {connection}", "X-Other: 2", "X-Kept: 3").response()
    fields = fields_of(behind.heads[0])
    assert "x-hop" not in fields
    assert "x-other" not in fields
    assert fields["x-kept"] == ["3"]
    assert fields["connection"] == ["keep-alive"]


@pytest.mark.parametrize(
    "name", ["Host", "Content-Length", "X-Forwarded-For", "X-Real-IP", "Via", "X-Kong-Request-Id"]
)
def test_connection_takes_away_no_field_of_the_gateway(
    upstream: StartUpstream, client: Client, name: str
) -> None:
    behind = upstream()
    client.request("/", f"Connection: {name}", "Content-Length: 5", method="POST", body=b"hello").response()
    assert len(fields_of(behind.heads[0])[name.lower()]) == 1
    assert behind.requests[0][1] == b"hello"


def test_connection_hides_no_address(upstream: StartUpstream, client: Client) -> None:
    """Naming X-Forwarded-For in Connection does not remove the addresses that proxies before have noted."""
    behind = upstream()
    client.request("/", "X-Forwarded-For: 9.9.9.9", "Connection: X-Forwarded-For").response()
    assert fields_of(behind.heads[0])["x-forwarded-for"] == ["9.9.9.9, 127.0.0.1"]


def test_te_trailers_crosses(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.request("/", "TE: gzip, trailers", "Connection: TE").response()
    assert fields_of(behind.heads[0])["te"] == ["trailers"]


def test_odd_values_cross_unchanged(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A:   spaced \t out  \r\nX-B:\r\nX-C: \xff\xe4\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\n\r\n"
    )
    client.response()
    fields = fields_of(behind.heads[0].replace(b"X-A:   ", b"X-A: "))
    assert fields["x-a"][0].strip() == "spaced \t out"
    assert fields["x-c"] == ["\xff\xe4"]
    assert fields["cookie"] == ["a=1", "b=2"]
    assert re.search(rb"X-B: ?\r\n", behind.heads[0])


def test_absolute_form(upstream: StartUpstream, client: Client) -> None:
    """The target's authority counts, not Host (RFC 9112 §3.2.2)."""
    behind = upstream(routes=[{"name": "r", "hosts": ["real.test"], "preserve_host": True}])
    client.send(b"GET http://real.test:81/x?y HTTP/1.1\r\nHost: other.test\r\n\r\n")
    assert client.response().status == 200
    fields = fields_of(behind.heads[0])
    assert behind.heads[0].startswith(b"GET /x?y HTTP/1.1\r\n")
    assert fields["host"] == ["real.test:81"]
    assert fields["x-forwarded-host"] == ["real.test"]


def test_absolute_form_without_path(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(
        b"GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\nGET http://a.test?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert client.response().status == client.response().status == 200
    assert behind.heads[0].startswith(b"GET / HTTP/1.1\r\n")
    assert behind.heads[1].startswith(b"GET /?x=1 HTTP/1.1\r\n")
    assert fields_of(behind.heads[1])["x-forwarded-path"] == ["/"]


def test_asterisk_form(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(routes=[{"name": "r", "methods": ["OPTIONS"]}])
    assert client.request("*", method="OPTIONS").response().status == 200
    assert behind.heads[0].startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_asterisk_form_has_no_path(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    assert client.request("*", method="OPTIONS").response().status == 404
    assert behind.connections == 0


# --- to the client -----------------------------------------------------------------------------------------
def test_what_the_client_gets(upstream: StartUpstream, client: Client) -> None:
    upstream(
        serve_raw(
            response(
                b"ok",
                "200 OK",
                b"Server: theirs/1",
                b"Date: Mon, 01 Jan 2024 00:00:00 GMT",
                b"X-A: 1",
                b"Set-Cookie: a=1",
                b"Set-Cookie: b=2",
                b"Via: 1.0 front",
            )
        )
    )
    answer = client.request().response()
    fields = dict(answer.fields)
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    del fields["set-cookie"]
    assert re.fullmatch("[0-9a-f]{32}", fields.pop("x-kong-request-id"))
    for name in ("x-kong-upstream-latency", "x-kong-proxy-latency"):
        assert fields.pop(name).isdigit()
    assert fields == {
        "server": "theirs/1",
        "date": "Mon, 01 Jan 2024 00:00:00 GMT",
        "x-a": "1",
        "via": "1.0 front, 1.1 kong/3.9.1",
        "connection": "keep-alive",
        "content-length": "2",
    }


def test_server_and_date_are_added(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(response(b"ok")))
    answer = client.request().response()
    assert answer.get("server") == "kong/3.9.1"
    assert re.fullmatch(
        r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", answer.get("date") or ""
    )


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: X-Hop, close\r\nX-Hop: 1\r\n",
        b"X-Hop: 1\r\nConnection: x-hop\r\n",
        b"Keep-Alive: timeout=5\r\n",
        b"Proxy-Connection: close\r\n",
        b"Upgrade: h2c\r\n",
        b"TE: trailers\r\n",
        b"Trailer: X-T\r\n",
        b"X-Kong-Upstream-Latency: 77\r\n",
        b"X-Kong-Proxy-Latency: 77\r\n",
        b"X-Kong-Response-Latency: 77\r\n",
        b"X-Kong-Request-Id: theirs\r\n",
    ],
)
def test_fields_that_do_not_cross_back(upstream: StartUpstream, client: Client, lines: bytes) -> None:
    upstream(serve_raw(b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\nX-Kept: 1\r\n\r\nok"))
    answer = client.request().response()
    assert answer.get("connection") == "keep-alive"
    assert answer.get("x-kept") == "1"
    for name in (
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "trailer",
        "x-kong-response-latency",
    ):
        assert answer.get(name) is None
    assert "77" not in answer.all("x-kong-upstream-latency") + answer.all("x-kong-proxy-latency")
    assert answer.get("x-kong-request-id") != "theirs"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("text/plain", "text/plain; charset=UTF-8"),
        ("Text/HTML", "Text/HTML; charset=UTF-8"),
        ("text/html; charset=latin1", "text/html; charset=latin1"),
        ("text/xml", "text/xml; charset=UTF-8"),
        ("application/javascript", "application/javascript; charset=UTF-8"),
        ("application/json", "application/json"),
        ("text/css", "text/css"),
        ("text/event-stream", "text/event-stream"),
        ("image/png", "image/png"),
    ],
)
def test_charset_of_texts(upstream: StartUpstream, client: Client, given: str, sent: str) -> None:
    """nginx's `charset UTF-8`, which Kong sets."""
    upstream(serve_raw(response(b"ok", "200 OK", b"X-A: 1", b"Content-Type: " + given.encode(), b"X-B: 2")))
    answer = client.request().response()
    assert answer.get("content-type") == sent
    assert answer.get("x-a") == "1"
    assert answer.get("x-b") == "2"


def test_many_and_large_fields(upstream: StartUpstream, client: Client) -> None:
    lines = [f"X-{n}: {'v' * 100}{n}" for n in range(200)]
    behind = upstream(
        serve_raw(response(b"ok", "200 OK", *(line.encode() for line in lines), b"Via: " + b"v" * 4000))
    )
    answer = client.request("/", *lines, "X-Forwarded-For: " + "1.2.3.4, " * 300 + "1.2.3.4").response()
    for n in range(200):
        assert answer.get(f"x-{n}") == f"{'v' * 100}{n}"
        assert f"X-{n}: {'v' * 100}{n}\r\n".encode() in behind.heads[0]


# --- settings ----------------------------------------------------------------------------------------------
class StartGateway(Protocol):
    def __call__(self, **settings: object) -> tuple[Client, Upstream]: ...


@pytest.fixture(scope="module")
def started() -> Iterator[dict[str, tuple[Gateway, Upstream]]]:
    """Gateways by their settings, each with an echoing upstream."""
    gateways: dict[str, tuple[Gateway, Upstream]] = {}
    with ExitStack() as stack:
        yield gateways
        for gateway, behind in gateways.values():
            stack.callback(gateway.stop)
            stack.callback(behind.close)


@pytest.fixture
def gateway_with(started: dict[str, tuple[Gateway, Upstream]]) -> StartGateway:
    def start(**settings: object) -> tuple[Client, Upstream]:
        key = repr(sorted(settings.items()))
        if key not in started:
            behind = Upstream()
            document = one_service(behind.port)
            document["services"][0]["routes"].append(
                {
                    "name": "secure",
                    "paths": ["/secure"],
                    "protocols": ["https"],
                    "https_redirect_status_code": 301,
                }
            )
            started[key] = (Gateway(document, **settings).start(), behind)
        gateway, behind = started[key]
        behind.heads.clear()
        return Client(gateway.proxy_port), behind

    return start


TRUSTING = {"trusted_ips": "127.0.0.1,10.0.0.0/8,fd00::/8", "real_ip_header": "X-Forwarded-For"}


@pytest.mark.parametrize(
    ("forwarded", "client_address"),
    [
        (["9.9.9.9"], "9.9.9.9"),
        (["9.9.9.9, 10.1.1.1"], "10.1.1.1"),
        (["9.9.9.9", "8.8.8.8"], "8.8.8.8"),
        (["9.9.9.9, 2001:db8::1"], "2001:db8::1"),
        (["[2001:DB8::1]:443"], "2001:db8::1"),
        (["9.9.9.9:1234"], "9.9.9.9"),
        (["junk"], "127.0.0.1"),
        (["9.9.9.9, junk"], "127.0.0.1"),
        (["999.1.1.1"], "127.0.0.1"),
        ([""], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_real_ip_from_forwarded_for(
    gateway_with: StartGateway, forwarded: list[str], client_address: str
) -> None:
    client, behind = gateway_with(**TRUSTING)
    client.request("/", *(f"X-Forwarded-For: {value}" for value in forwarded)).response()
    fields = fields_of(behind.heads[0])
    assert fields["x-real-ip"] == [client_address]
    assert fields["x-forwarded-for"] == [", ".join([*filter(None, forwarded), "127.0.0.1"])]


@pytest.mark.parametrize(
    ("forwarded", "client_address"),
    [
        (["9.9.9.9, 10.1.1.1"], "9.9.9.9"),
        (["9.9.9.9", "10.1.1.1, 10.2.2.2"], "9.9.9.9"),
        (["9.9.9.9, 8.8.8.8, 10.1.1.1, fd00::5"], "8.8.8.8"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["9.9.9.9, junk, 10.2.2.2"], "10.2.2.2"),
    ],
)
def test_recursive_real_ip(gateway_with: StartGateway, forwarded: list[str], client_address: str) -> None:
    client, behind = gateway_with(**TRUSTING, real_ip_recursive="on")
    client.request("/", *(f"X-Forwarded-For: {value}" for value in forwarded)).response()
    assert fields_of(behind.heads[0])["x-real-ip"] == [client_address]


@pytest.mark.parametrize(
    ("value", "client_address"),
    [("9.9.9.9", "9.9.9.9"), ("2001:db8::2", "2001:db8::2"), ("junk", "127.0.0.1")],
)
@pytest.mark.parametrize("header", ["X-Real-IP", "X-Client"])
def test_real_ip_header(gateway_with: StartGateway, header: str, value: str, client_address: str) -> None:
    client, behind = gateway_with(trusted_ips="0.0.0.0/0,::/0", real_ip_header=header)
    client.request("/", f"{header}: {value}").response()
    assert fields_of(behind.heads[0])["x-real-ip"] == [client_address]


def test_untrusted_peer_names_no_client(gateway_with: StartGateway) -> None:
    client, behind = gateway_with(trusted_ips="10.0.0.0/8", real_ip_header="X-Forwarded-For")
    client.request("/", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https").response()
    fields = fields_of(behind.heads[0])
    assert fields["x-real-ip"] == ["127.0.0.1"]
    assert fields["x-forwarded-proto"] == ["http"]


def test_trusted_peer_is_believed(gateway_with: StartGateway) -> None:
    client, behind = gateway_with(**TRUSTING)
    given = {
        "x-forwarded-proto": "https",
        "x-forwarded-host": "shop.test",
        "x-forwarded-port": "443",
        "x-forwarded-path": "/before",
        "x-forwarded-prefix": "/pre",
    }
    client.request("/", *(f"{name}: {value}" for name, value in given.items())).response()
    fields = fields_of(behind.heads[0])
    assert {name: fields[name] for name in given} == {name: [value] for name, value in given.items()}


def test_trusted_peers_scheme_counts_for_routing(gateway_with: StartGateway) -> None:
    client, behind = gateway_with(**TRUSTING)
    answer = client.request("/secure", "X-Forwarded-Host: shop.test").response()
    assert answer.status == 301
    assert answer.get("location") == "https://shop.test/secure"
    assert client.request("/secure", "X-Forwarded-Proto: https").response().status == 200
    assert len(behind.heads) == 1


def test_repeated_scheme_is_read_in_one_way(gateway_with: StartGateway) -> None:
    """Routing and the upstream go by the same field."""
    client, behind = gateway_with(**TRUSTING)
    answer = client.request("/secure", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http").response()
    assert answer.status == 200
    assert fields_of(behind.heads[0])["x-forwarded-proto"] == ["https"]


def test_headers_off(gateway_with: StartGateway) -> None:
    client, behind = gateway_with(headers="off", headers_upstream="off")
    for target in ("/", "/secure"):
        names = {name for name, _ in client.request(target).response().fields}
        assert not {name for name in names if "kong" in name} | names & {"via", "server"}
    assert "x-kong-request-id" not in fields_of(behind.heads[0])


def test_single_headers(gateway_with: StartGateway) -> None:
    client, _ = gateway_with(headers="X-Kong-Upstream-Status, X-Kong-Proxy-Latency")
    names = {name for name, _ in client.request("/").response().fields}
    assert {name for name in names if "kong" in name or name in ("via", "server")} == {
        "x-kong-upstream-status",
        "x-kong-proxy-latency",
    }


def test_upstream_status_of_a_failure(gateway_with: StartGateway) -> None:
    client, behind = gateway_with(headers="X-Kong-Upstream-Status")
    # The failure first, while no connection to the upstream server is open.
    behind.handler, usual = serve_raw(b"", close=True), behind.handler
    try:
        assert client.request("/").response().get("x-kong-upstream-status") == "502"
    finally:
        behind.handler = usual
    assert client.request("/").response().get("x-kong-upstream-status") == "200"
    assert client.request("/secure").response().get("x-kong-upstream-status") is None


def test_debug_header(gateway_with: StartGateway) -> None:
    client, _ = gateway_with(allow_debug_header="on")
    answer = client.request("/", "Kong-Debug: 1").response()
    assert answer.get("kong-route-name") == "all"
    assert answer.get("kong-service-name") == "upstream"
    assert client.request("/", "Kong-Debug: true").response().get("kong-route-name") == "all"
    assert client.request("/").response().get("kong-route-name") is None


def test_no_debug_header_without_the_setting(upstream: StartUpstream, client: Client) -> None:
    upstream()
    assert client.request("/", "Kong-Debug: 1").response().get("kong-route-name") is None

"""What two servers could read differently is refused: right status, closed connection, nothing forwarded."""

from __future__ import annotations

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, chunked
from tests.support.gateway import Gateway, wait_for

HOST = b"Host: a.test\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED_HEADS: dict[str, tuple[int, bytes]] = {
    # framing
    "content-length twice, different": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    "content-length twice, equal": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "content-length list": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    "content-length with sign": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "content-length negative": (400, POST + b"Content-Length: -1\r\n\r\nabc"),
    "content-length hex": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "content-length with space": (400, POST + b"Content-Length: 3 3\r\n\r\nabc"),
    "content-length with underscore": (400, POST + b"Content-Length: 1_0\r\n\r\n" + b"x" * 10),
    "content-length empty": (400, POST + b"Content-Length: \r\n\r\n"),
    "content-length too large": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    "content-length 2^63": (400, POST + b"Content-Length: 9223372036854775808\r\n\r\n"),
    "length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked and length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "transfer-encoding twice": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "transfer-encoding in two fields": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    "chunked, chunked": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked before gzip": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "chunked with parameter": (400, POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    "transfer-encoding empty": (400, POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    "transfer-encoding with vertical tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "transfer-encoding in HTTP/1.0": (
        400,
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "gzip": (501, POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "xchunked": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    # field lines
    "bare LF after the request line": (400, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    "bare LF after a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"),
    "bare LF at the end": (400, GET + b"X: 1\r\n\n"),
    "bare CR in a value": (400, GET + b"X: a\rb\r\n\r\n"),
    "bare CR in a name": (400, GET + b"X\r: a\r\n\r\n"),
    "CR CR LF": (400, GET + b"X: 1\r\r\n\r\n"),
    "obs-fold with space": (400, GET + b"X: a\r\n b\r\n\r\n"),
    "obs-fold with tab": (400, GET + b"X: a\r\n\tb\r\n\r\n"),
    "obs-fold of the first field": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "space before the colon": (400, GET + b"X : a\r\n\r\n"),
    "tab before the colon": (400, GET + b"X\t: a\r\n\r\n"),
    "space before the colon of Content-Length": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
    "space within a name": (400, GET + b"X Y: a\r\n\r\n"),
    "no colon": (400, GET + b"X\r\n\r\n"),
    "no name": (400, GET + b": a\r\n\r\n"),
    "NUL in a value": (400, GET + b"X: a\0b\r\n\r\n"),
    "NUL in a name": (400, GET + b"X\0Y: a\r\n\r\n"),
    "control byte in a value": (400, GET + b"X: a\x01b\r\n\r\n"),
    "DEL in a value": (400, GET + b"X: a\x7fb\r\n\r\n"),
    "non-ASCII name": (400, GET + b"X\xe4: a\r\n\r\n"),
    "slash in a name": (400, GET + b"X/Y: a\r\n\r\n"),
    # request line
    "lower-case method": (400, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "method with a control byte": (400, b"GE\x01T / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no method": (400, b" / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space before the method": (400, b" GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two spaces after the method": (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "tab after the method": (400, b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two spaces before the version": (400, b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space after the version": (400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    "space in the target": (400, b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in the target": (400, b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "control byte in the target": (400, b"GET /a\x1fb HTTP/1.1\r\n" + HOST + b"\r\n"),
    "non-ASCII target": (400, b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no slash": (400, b"GET a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "asterisk with GET": (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    "other scheme": (400, b"GET ftp://a.test/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "absolute without host": (400, b"GET http:///x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "absolute with user": (400, b"GET http://u@a.test/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "CONNECT": (400, b"CONNECT a.test:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "TRACE": (405, b"TRACE / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"),
    "broken escape": (400, b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "escaped NUL": (400, b"GET /a%00 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "above the root": (400, b"GET /../x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no version": (400, b"GET /\r\n" + HOST + b"\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "http in lower case": (400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    "HTTP/1.10": (400, b"GET / HTTP/1.10\r\n" + HOST + b"\r\n"),
    "a TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50),
    "two empty lines first": (400, b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n"),
    # Host
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two equal Hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    "empty Host": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "Host with a space": (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "Host with a list": (400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "Host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "Host with a user": (400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "Host with a bad port": (400, b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
    "Host with a large port": (400, b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    "Host with brackets": (400, b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n"),
    "absolute form and no Host": (400, b"GET http://a.test/ HTTP/1.1\r\n\r\n"),
    "absolute form and two Hosts": (400, b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    # sizes
    "target too long": (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "target without end": (414, b"GET /" + b"a" * 9000),
    "field too long": (431, GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n"),
    "field without end": (431, GET + b"X: " + b"a" * 40_000),
    "many fields": (431, GET + b"X: 1\r\n" * 300 + b"\r\n"),
    "head too large": (431, GET + (b"X: " + b"a" * 1000 + b"\r\n") * 40 + b"\r\n"),
}

REFUSED_BODIES: dict[str, bytes] = {
    "size not hex": b"zz\r\n",
    "size empty": b"\r\nabc\r\n0\r\n\r\n",
    "size negative": b"-3\r\nabc\r\n0\r\n\r\n",
    "size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size with a space": b"3 \r\nabc\r\n0\r\n\r\n",
    "size with a leading space": b" 3\r\nabc\r\n0\r\n\r\n",
    "size too large": b"fffffffffffffffff\r\n",
    "size of 2^63": b"8000000000000000\r\n",
    "size line with bare LF": b"3\nabc\r\n0\r\n\r\n",
    "size line with bare CR": b"3\rabc\r\n0\r\n\r\n",
    "extension": b"3;x=y\r\nabc\r\n0\r\n\r\n",
    "extension with bare LF": b"3;\nabc\r\n0\r\n\r\n",
    "data without CRLF": b"3\r\nabc0\r\n\r\n",
    "data with bare LF": b"3\r\nabc\n0\r\n\r\n",
    "data too long": b"3\r\nabcd\r\n0\r\n\r\n",
    "last chunk with extension": b"3\r\nabc\r\n0;x\r\n\r\n",
    "trailer without colon": b"3\r\nabc\r\n0\r\nX\r\n\r\n",
    "trailer with bare LF": b"3\r\nabc\r\n0\r\nX: 1\n\r\n",
    "trailer with NUL": b"3\r\nabc\r\n0\r\nX: \0\r\n\r\n",
    "trailers too large": b"3\r\nabc\r\n0\r\n" + (b"X: " + b"t" * 1000 + b"\r\n") * 10 + b"\r\n",
}

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


def check_refused(client: Client, status: int) -> None:
    answer = client.response()
    assert answer.status == status
    assert answer.closes
    assert answer.get("server") == "kong/3.9.1"
    assert answer.get("content-type") == "text/plain; charset=utf-8"
    assert answer.body.endswith(b"\nrequest_id: %s\n" % (answer.get("x-kong-request-id") or "").encode())
    client.end_sending().expect_close()


@pytest.mark.parametrize("name", REFUSED_HEADS)
def test_refused_head(upstream: StartUpstream, client: Client, name: str) -> None:
    behind = upstream()
    status, request = REFUSED_HEADS[name]
    client.send(request + SMUGGLED)
    check_refused(client, status)
    assert behind.connections == 0


@pytest.mark.parametrize(
    "name", ["bare CR in a value", "length and chunked", "obs-fold with tab", "many fields"]
)
def test_refused_head_behind_a_good_request(upstream: StartUpstream, client: Client, name: str) -> None:
    behind = upstream()
    status, request = REFUSED_HEADS[name]
    client.send(GET + b"\r\n" + request + SMUGGLED)
    assert client.response().status == 200
    check_refused(client, status)
    assert len(behind.heads) == 1


@pytest.mark.parametrize("name", ["NUL in a value", "content-length twice, equal", "CR CR LF", "HTTP/2.0"])
def test_refused_head_one_byte_at_a_time(upstream: StartUpstream, client: Client, name: str) -> None:
    behind = upstream()
    status, request = REFUSED_HEADS[name]
    # what comes after the refusal is not the point here, and sending it may fail
    for i in range(len(request)):
        try:
            client.send(request[i : i + 1])
        except (BrokenPipeError, ConnectionResetError):
            break
    check_refused(client, status)
    assert behind.connections == 0


@pytest.mark.parametrize("name", REFUSED_BODIES)
def test_refused_body(upstream: StartUpstream, client: Client, name: str) -> None:
    behind = upstream()
    client.send(CHUNKED + REFUSED_BODIES[name] + SMUGGLED)
    check_refused(client, 400)
    assert behind.connections == 0


@pytest.mark.parametrize("name", REFUSED_BODIES)
def test_refused_body_bytewise(upstream: StartUpstream, client: Client, name: str) -> None:
    """The decoder meets the mistake after any number of reads."""
    behind = upstream()
    client.send(CHUNKED)
    for byte in REFUSED_BODIES[name][:60]:
        try:
            client.send(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            break
    if len(REFUSED_BODIES[name]) > 60:
        client.send(REFUSED_BODIES[name][60:])
    check_refused(client, 400)
    assert behind.connections == 0


def test_refused_body_that_streams_already(upstream: StartUpstream, client: Client) -> None:
    """The upstream gets no complete request, and its connection is closed."""
    behind = upstream()
    client.send(CHUNKED + chunked(b"x" * 100_000)[:-5])
    wait_for(lambda: behind.heads, what="the head arrives")
    client.send(b"zz\r\n")
    check_refused(client, 400)
    assert behind.requests == []


# --- names that could be read as another -------------------------------------------------------------------
OWN_NAMES = [
    "X-Real-IP",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Path",
    "X-Forwarded-Prefix",
    "X-Kong-Request-Id",
    "X-Consumer-ID",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Anonymous-Consumer",
    "Content-Length",
    "Transfer-Encoding",
    "Proxy-Connection",
]


@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("form", ["underscores", "mixed", "dots", "upper case"])
def test_forged_names_never_cross(upstream: StartUpstream, client: Client, name: str, form: str) -> None:
    behind = upstream()
    first, _, rest = name.partition("-")
    odd = {
        "underscores": name.replace("-", "_"),
        "mixed": f"{first}-{rest.replace('-', '_')}" if "-" in rest else f"{first}_{rest}",
        "dots": name.replace("-", "."),
        "upper case": name.replace("-", "_").upper(),
    }[form]
    client.request("/", f"{odd}: 6forged9", "X-Kept: 1").response()
    head = behind.heads[0]
    assert b"6forged9" not in head
    assert b"X-Kept: 1\r\n" in head


def test_underscores_in_other_names_cross(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.request("/", "my_header: 1", "X_Other: 2", "some.thing: 3").response()
    for line in (b"my_header: 1\r\n", b"X_Other: 2\r\n", b"some.thing: 3\r\n"):
        assert line in behind.heads[0]


@pytest.mark.parametrize("name", ["X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Kong-Request-Id"])
def test_own_names_are_overwritten(upstream: StartUpstream, client: Client, name: str) -> None:
    behind = upstream()
    client.request("/", f"{name}: forged", f"{name.lower()}: forged").response()
    head = behind.heads[0].lower()
    assert b"forged" not in head
    assert head.count(b"\r\n" + name.lower().encode() + b":") == 1


def test_proxy_header_is_dropped(upstream: StartUpstream, client: Client) -> None:
    """httpoxy: CGI programs take it for their proxy setting."""
    behind = upstream()
    client.request("/", "Proxy: http://evil.test").response()
    assert b"evil" not in behind.heads[0]

"""Request heads (native/http1): what is accepted, what each part means, what is refused with which status."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native.headers import HeaderFlag, KnownHeader
from native.http1 import BodyKind, Method, TargetForm, parse_request


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: a") -> bytes:
    """A request head of these field lines."""
    all_lines = [start, *([host] if host is not None else []), *lines]
    return b"\r\n".join(all_lines) + b"\r\n\r\n"


def parsed(*lines: bytes, **parts: bytes | None) -> dict:
    head = parse_request(request(*lines, **parts))
    assert isinstance(head, dict), head
    return head


def status(*lines: bytes, **parts: bytes | None) -> int:
    """The status a head is refused with."""
    result = parse_request(request(*lines, **parts))
    assert isinstance(result, int), result
    return -result


def flagged(head: dict) -> list[bytes]:
    """Names of the fields that do not cross the gateway."""
    return [item["name"] for item in head["headers"] if item["flags"] & HeaderFlag.HEADER_HOP_BY_HOP]


def test_whole_head() -> None:
    data = b"POST /a/b?c=d HTTP/1.1\r\nHost: Example.com:8080\r\nX-A: \t1 2\t \r\nX-B:\r\nx-a:3\r\n\r\nbody"
    assert parse_request(data) == {
        "parsed": len(data) - 4,
        "method": b"POST",
        "method_id": Method.METHOD_POST,
        "target": b"/a/b?c=d",
        "target_form": TargetForm.TARGET_ORIGIN,
        "path": b"/a/b",
        "query": b"c=d",
        "minor_version": 1,
        "host": b"Example.com",
        "authority": b"Example.com:8080",
        "port": 8080,
        "body_kind": BodyKind.BODY_NONE,
        "content_length": None,
        "keep_alive": True,
        "expect_continue": False,
        "upgrade": False,
        "upgrade_websocket": False,
        "te_trailers": False,
        "headers": [
            {"name": b"Host", "value": b"Example.com:8080", "known": KnownHeader.HEADER_HOST, "flags": 0},
            {"name": b"X-A", "value": b"1 2", "known": KnownHeader.HEADER_OTHER, "flags": 0},
            {"name": b"X-B", "value": b"", "known": KnownHeader.HEADER_OTHER, "flags": 0},
            {"name": b"x-a", "value": b"3", "known": KnownHeader.HEADER_OTHER, "flags": 0},
        ],
    }


# --- request line ---


@pytest.mark.parametrize("method", [method.name.removeprefix("METHOD_") for method in Method if method])
def test_known_methods(method: str) -> None:
    if method == "CONNECT":
        assert status(start=b"CONNECT a:443 HTTP/1.1") == 405
    else:
        assert parsed(start=f"{method} / HTTP/1.1".encode())["method_id"] == Method[f"METHOD_{method}"]


@pytest.mark.parametrize("method", [b"PURGE", b"M-SEARCH", b"_", b"GETS", b"GE", b"A" * 32])
def test_other_methods(method: bytes) -> None:
    head = parsed(start=method + b" / HTTP/1.1")
    assert (head["method"], head["method_id"]) == (method, Method.METHOD_OTHER)


@pytest.mark.parametrize("method", [b"", b"get", b"Get", b"G3T", b"G!", b"G\x00", b"G\xc3", b"A" * 33])
def test_bad_methods(method: bytes) -> None:
    assert status(start=method + b" / HTTP/1.1") == 400


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", None), (b"/?", b"/", b""), (b"/a?b?c", b"/a", b"b?c"), (b"//a", b"//a", None),
        (b"/%zz/%", b"/%zz/%", None), (b"/\"<>\\^`{|}~", b"/\"<>\\^`{|}~", None),
        (b"/a:b@c", b"/a:b@c", None),
    ],
)  # fmt: skip
def test_origin_form(target: bytes, path: bytes, query: bytes | None) -> None:
    head = parsed(start=b"GET " + target + b" HTTP/1.1")
    assert (head["target"], head["path"], head["query"]) == (target, path, query)
    assert head["target_form"] == TargetForm.TARGET_ORIGIN


@pytest.mark.parametrize(
    ("target", "host", "port", "path", "query"),
    [
        (b"http://b/", b"b", 0, b"/", None), (b"http://b", b"b", 0, b"", None),
        (b"HTTPS://b.c:8443/d?e", b"b.c", 8443, b"/d", b"e"), (b"http://b?q", b"b", 0, b"", b"q"),
        (b"http://b:80?", b"b", 80, b"", b""), (b"hTTp://[::1]:81/x", b"[::1]", 81, b"/x", None),
        (b"http://b/http://c/", b"b", 0, b"/http://c/", None),
    ],
)  # fmt: skip
def test_absolute_form_wins_over_host(
    target: bytes, host: bytes, port: int, path: bytes, query: bytes | None
) -> None:
    head = parsed(start=b"GET " + target + b" HTTP/1.1", host=b"Host: other:1")
    assert head["target_form"] == TargetForm.TARGET_ABSOLUTE
    assert (head["host"], head["port"], head["path"], head["query"]) == (host, port, path, query)
    without_host = parsed(start=b"GET " + target + b" HTTP/1.0", host=None)
    assert without_host["host"] == host


def test_absolute_form_still_needs_a_valid_host() -> None:
    assert status(start=b"GET http://a/ HTTP/1.1", host=None) == 400
    assert status(start=b"GET http://a/ HTTP/1.1", host=b"Host: a b") == 400
    assert status(b"Host: a", start=b"GET http://a/ HTTP/1.1") == 400


def test_asterisk_form() -> None:
    head = parsed(start=b"OPTIONS * HTTP/1.1")
    assert (head["target_form"], head["path"], head["query"]) == (TargetForm.TARGET_ASTERISK, b"*", None)
    assert status(start=b"GET * HTTP/1.1") == 400
    assert status(start=b"OPTIONS ** HTTP/1.1") == 400
    assert status(start=b"OPTIONS *?a HTTP/1.1") == 400


@pytest.mark.parametrize(
    "target",
    [
        b"", b"a", b"a:80", b"?a", b"/a#b", b"#", b"/\x7f", b"/\x80", b"/\xc3\xa9", b"/\x00", b"/\t",
        b"/\x1f", b"/a\rb", b"http:", b"http:/", b"http://", b"http:///", b"http://?a", b"http://u@a/",
        b"http://u:p@a/", b"http://a:b/", b"http://a:65536/", b"http://[::1/", b"http://[]/", b"ftp://a/",
        b"httpx://a/", b"http://a\\b/", b"https:/",
    ],
)  # fmt: skip
def test_bad_targets(target: bytes) -> None:
    assert status(start=b"GET " + target + b" HTTP/1.1") == 400


def test_connect_is_not_allowed() -> None:
    for target in (b"a:443", b"/", b"http://a/", b"*"):
        assert status(start=b"CONNECT " + target + b" HTTP/1.1") == 405


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/1.9"])
def test_unsupported_versions(version: bytes) -> None:
    assert status(start=b"GET / " + version) == 505


@pytest.mark.parametrize(
    "version",
    [
        b"", b"HTTP/1.1 ", b" HTTP/1.1", b"http/1.1", b"HTTP/1", b"HTTP/11", b"HTTP/1.10", b"HTTP/1,1",
        b"HTTP/a.1", b"HTTP 1.1", b"HTTP/1.1x", b"HTTPS/1.1", b"\tHTTP/1.1", b"HTTP/1.1\t", b"HTTP/1.\x00",
    ],
)  # fmt: skip
def test_bad_versions(version: bytes) -> None:
    assert status(start=b"GET / " + version) == 400


@pytest.mark.parametrize(
    "line",
    [
        b"GET /", b"GET", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET\t/\tHTTP/1.1", b" GET / HTTP/1.1",
        b"GET / HTTP/1.1\r", b"GET / a HTTP/1.1", b"GET / HTTP/1.1 a", b"GET: / HTTP/1.1",
    ],
)  # fmt: skip
def test_bad_request_lines(line: bytes) -> None:
    assert status(start=line) == 400


def test_one_empty_line_may_come_first() -> None:
    head = parse_request(b"\r\n" + request())
    assert head == {**parsed(), "parsed": len(request()) + 2}
    for start in (b"\r\n\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n"):
        assert parse_request(start + request()) == -400


@pytest.mark.parametrize(
    "start", [b"\n", b" ", b"\x00", b"\x16\x03", b"g", b"1", b"\x80", b"\rG", b"\r\n\r", b"\r\n\n", b"\r\na"]
)
def test_impossible_first_bytes_are_refused_at_once(start: bytes) -> None:
    assert parse_request(start) == -400


@pytest.mark.parametrize("start", [b"", b"\r", b"\r\n", b"G", b"GET /", b"\r\nG", b"GET / HTTP/1.1\r"])
def test_possible_starts_are_waited_for(start: bytes) -> None:
    assert parse_request(start) == 0


# --- limits ---


def test_long_request_line_is_414() -> None:
    line = b"GET /" + b"a" * 100 + b" HTTP/1.1"
    data = request(start=line)
    assert isinstance(parse_request(data, max_line=len(line)), dict)
    assert parse_request(data, max_line=len(line) - 1) == -414
    # It is refused before its end is there, and whatever it holds.
    assert parse_request(line, max_line=len(line) - 2) == -414
    assert parse_request(b"G" + b"\x00" * 200, max_line=100) == -414
    assert parse_request(data, [1] * len(data), max_line=len(line) - 1) == -414


def test_large_head_is_431() -> None:
    data = request(b"X: " + b"a" * 100)
    assert isinstance(parse_request(data, max_head=len(data)), dict)
    assert isinstance(parse_request(data + b"body" * 100, max_head=len(data)), dict)
    assert parse_request(data, max_head=len(data) - 1) == -431
    assert parse_request(data, [1] * len(data), max_head=len(data) - 1) == -431
    assert parse_request(data[:-10], max_head=len(data) - 20) == -431


def test_too_many_fields_is_431() -> None:
    assert len(parsed(*[b"a: b"] * 255)["headers"]) == 256
    assert status(*[b"a: b"] * 256) == 431


def test_too_long_name_is_431() -> None:
    name = b"a" * 65536
    assert parse_request(request(name[:-1] + b":"), max_head=1 << 20) != -431
    assert parse_request(request(name + b":"), max_head=1 << 20) == -431


# --- fields ---


@pytest.mark.parametrize(
    "line",
    [
        b"X", b": a", b"X : a", b"X\t: a", b" X: a", b"\tX: a", b"X Y: a", b"X\x00: a", b"X\x80: a",
        b"X(: a", b"\"X\": a", b"X@: a", b"X/: a", b"X: a\rb", b"X: a\r", b"X: \x00", b"X: \x01",
        b"X: a\x0bb", b"X: a\x0c", b"X: \x1f", b"X: \x7f", b"X: aaaaaaaaaaaaaaaa\x7faaaaaaaa",
        b"X: aaaaaaaaaaaaaaaa\x1faaaaaaaa", b"X: aaaaaaaaaaaaaa\x00", b"\r", b"X: a\nb", b"X: a\n",
        b"X: a\n b", b"X: a\r\n b", b"X: a\r\n\tb", b"X: a\r\n \r\nY: b",
    ],
)  # fmt: skip
def test_bad_field_lines(line: bytes) -> None:
    assert status(line) == 400
    assert status(b"A: b", line, b"C: d") == 400


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_a_name_and_in_a_value(byte: int) -> None:
    char = bytes([byte])
    in_name = parse_request(request(b"X" + char + b"Y: a"))
    assert isinstance(in_name, dict) == (char.isalnum() or char in b"!#$%&'*+-.^_`|~:")
    for padding in (b"", b"0123456789abcdef"):
        in_value = parse_request(request(b"X: a" + char + padding))
        assert isinstance(in_value, dict) == (byte == 9 or (byte >= 32 and byte != 127))
        if isinstance(in_value, dict):
            assert in_value["headers"][1]["value"] == (b"a" + char + padding).rstrip(b" \t")


def test_bare_line_feeds_are_refused() -> None:
    good = request(b"X: y")
    for at in (index for index in range(len(good)) if good[index : index + 2] == b"\r\n"):
        assert parse_request(good[:at] + good[at + 1 :]) == -400


# --- Host ---


def addresses() -> list[str]:
    return [
        "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8",
        "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1::1.2.3.4", "fe80::abCD", "0000:0:00:000::", "::0.0.0.0",
        "1:2:3:4:5::1.2.3.4", "", ":", ":::", "1", "1:", ":1", "1:2", "1:::2", "1::2::3", "12345::", "::g",
        "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::",
        "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "::01.2.3.4", "1.2.3.4",
        "::1.2.3.4:5", "1:2:3:4::5:6:7:8", "::1 ", "1::2:", ":1::2", "::1.2.3.4.", "::1..2.3",
        "1:2:3:4:5:6::1.2.3.4",
    ]  # fmt: skip


def is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


@pytest.mark.parametrize("text", addresses())
def test_ipv6_hosts(text: str) -> None:
    result = parse_request(request(host=f"Host: [{text}]:80".encode()))
    assert isinstance(result, dict) == is_address(text)


@given(st.lists(st.sampled_from([":", "::", "0", "f", "ABCD", "12345", "1.2.3.4", ".", "255"]), max_size=18))
def test_ipv6_hosts_agree_with_ipaddress(parts: list[str]) -> None:
    text = "".join(parts)
    result = parse_request(request(host=f"Host: [{text}]".encode()))
    assert isinstance(result, dict) == is_address(text)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"a", b"a", 0), (b"a.b.", b"a.b.", 0), (b"A-b_c~", b"A-b_c~", 0), (b"a:", b"a", 0),
        (b"a:0", b"a", 0), (b"a:65535", b"a", 65535), (b"a:00080", b"a", 80),
        (b"1.2.3.4:80", b"1.2.3.4", 80), (b"[::1]", b"[::1]", 0), (b"[::1]:", b"[::1]", 0),
        (b"999.1", b"999.1", 0), (b"a%2fb", b"a%2fb", 0), (b"!$&'()*+,;=", b"!$&'()*+,;=", 0),
    ],
)  # fmt: skip
def test_hosts(value: bytes, host: bytes, port: int) -> None:
    head = parsed(host=b"Host:  " + value + b"\t")
    assert (head["host"], head["port"], head["authority"]) == (host, port, value)


@pytest.mark.parametrize(
    "value",
    [
        b"", b" ", b":", b":80", b"a b", b"a/", b"u@a", b"a:b", b"a:80:80", b"a:65536", b"a:000080", b"a:-1",
        b"a:+1", b"a?", b"a#", b"a\\", b"\"a\"", b"<a>", b"a%", b"a%2", b"a%2g", b"a%g2", b"\xc3\xa9", b"a[",
        b"[", b"[]", b"[::1", b"[::1]a", b"[::1]80", b"[v1.a]", b"[fe80::1%eth0]", b"::1", b"a\tb", b"a^",
        b"a|", b"a`", b"{a}", b"http://a",
    ],
)  # fmt: skip
def test_bad_hosts(value: bytes) -> None:
    assert status(host=b"Host: " + value) == 400


def test_host_is_needed_once() -> None:
    assert status(host=None) == 400
    assert status(b"Host: a") == 400
    assert status(b"hOST: b") == 400
    assert status(b"Host: a", start=b"GET / HTTP/1.0") == 400
    assert status(host=b"Host:", start=b"GET / HTTP/1.0") == 400
    head = parsed(host=None, start=b"GET / HTTP/1.0")
    assert (head["host"], head["authority"], head["port"]) == (None, None, 0)


# --- framing ---


@pytest.mark.parametrize("value", [0, 1, 1234567890, 2**63 - 1])
def test_content_length(value: int) -> None:
    head = parsed(b"Content-Length: %d " % value)
    assert (head["body_kind"], head["content_length"]) == (BodyKind.BODY_LENGTH, value)
    assert parsed(b"content-length:" + b"0" * 10 + b"17")["content_length"] == 17


@pytest.mark.parametrize(
    "value",
    [
        b"", b"+1", b"-1", b"0x1", b"1.0", b"1 1", b"1,1", b"1, 1", b"a", b"1a", b"9223372036854775808",
        b"\xb2", b"18446744073709551616", b"00000000000000000001", b"1\x00", b"1;",
    ],
)  # fmt: skip
def test_bad_content_length(value: bytes) -> None:
    assert status(b"Content-Length: " + value) == 400


def test_content_length_may_not_be_repeated() -> None:
    assert status(b"Content-Length: 1", b"Content-Length: 1") == 400
    assert status(b"Content-Length: 1", b"content-length: 2") == 400
    assert status(b"Content-Length: 0", b"Content-Length: 0") == 400


@pytest.mark.parametrize("value", [b"chunked", b"CHUNKED", b"\tcHunked "])
def test_chunked(value: bytes) -> None:
    head = parsed(b"Transfer-Encoding:" + value)
    assert (head["body_kind"], head["content_length"]) == (BodyKind.BODY_CHUNKED, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", 400), (b"chunked, chunked", 400), (b"chunked, gzip", 400), (b"chunked;a=b", 400),
        (b",chunked", 400), (b"chunked,", 400), (b"\"chunked\"", 400), (b",", 400), (b"@", 400),
        (b"chunked chunked", 400), (b"gzip, chunked,", 400), (b"chunked\t", 400), (b"chunked \t ", 400),
        (b"gzip, chunked, gzip", 400), (b"gzip", 501), (b"identity", 501), (b"xchunked", 501),
        (b"chunkedx", 501), (b"gzip, chunked", 501), (b"gzip;q=1", 501), (b"chunke", 501),
    ],
)  # fmt: skip
def test_bad_transfer_encoding(value: bytes, expected: int) -> None:
    assert status(b"Transfer-Encoding: " + value) == expected


def test_transfer_encoding_conflicts() -> None:
    chunked, length = b"Transfer-Encoding: chunked", b"Content-Length: 5"
    assert status(chunked, length) == 400
    assert status(length, chunked) == 400
    assert status(chunked, chunked) == 400
    assert status(chunked, b"Transfer-Encoding: gzip") == 400
    assert status(chunked, start=b"POST / HTTP/1.0") == 400
    assert status(length, b"Transfer-Encoding: gzip") == 400


def test_lookalikes_do_not_frame() -> None:
    head = parsed(b"Content_Length: 5", b"Transfer_Encoding: chunked", b"Content-Length2: 5")
    assert head["body_kind"] == BodyKind.BODY_NONE
    assert [item["known"] for item in head["headers"][1:3]] == [KnownHeader.HEADER_SHADOW] * 2


# --- connection ---


@pytest.mark.parametrize(
    ("version", "options", "keep_alive"),
    [
        (b"1.1", [], True), (b"1.1", [b"close"], False), (b"1.1", [b"keep-alive, Close"], False),
        (b"1.1", [b"keep-alive"], True), (b"1.1", [b"closed"], True), (b"1.1", [b"", b"CLOSE"], False),
        (b"1.0", [], False), (b"1.0", [b"Keep-Alive"], True), (b"1.0", [b"x, keep-alive ,"], True),
        (b"1.0", [b"keep-alive", b"close"], False), (b"1.0", [b"keep alive"], False),
    ],
)  # fmt: skip
def test_keep_alive(version: bytes, options: list[bytes], keep_alive: bool) -> None:
    head = parsed(*[b"Connection: " + option for option in options], start=b"GET / HTTP/" + version)
    assert head["keep_alive"] is keep_alive


def test_hop_by_hop_fields_are_marked() -> None:
    always = [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"Proxy"]
    assert flagged(parsed(*[name + b": a" for name in always])) == always
    assert flagged(parsed(b"Transfer-Encoding: chunked")) == [b"Transfer-Encoding"]
    assert flagged(parsed(b"Expect: 100-continue", b"Content-Length: 1")) == []


def test_fields_named_by_connection_are_marked_wherever_they_stand() -> None:
    lines = [b"X-A: 1", b"Connection: x-A ,, X-b, close", b"X-B: 2", b"X-C: 3", b"x-a: 4", b"connection:X-D"]
    marked = flagged(parsed(*lines, b"X-D: 5"))
    assert marked == [b"X-A", b"Connection", b"X-B", b"x-a", b"connection", b"X-D"]


def test_connection_cannot_take_away_host_or_length() -> None:
    head = parsed(b"Connection: Host, Content-Length", b"Content-Length: 5")
    assert (head["host"], head["content_length"], head["body_kind"]) == (b"a", 5, BodyKind.BODY_LENGTH)


def test_connection_options_are_not_field_names() -> None:
    assert flagged(parsed(b"Close: 1", b"Connection: close")) == [b"Connection"]


def test_number_of_connection_options_is_limited() -> None:
    assert parsed(b"Connection: " + b"a," * 64)
    assert status(b"Connection: " + b"a," * 65) == 431
    assert status(*[b"Connection: a"] * 65) == 431


@pytest.mark.parametrize(
    ("lines", "upgrade", "websocket"),
    [
        ([b"Connection: Upgrade", b"Upgrade: websocket"], True, True),
        ([b"Upgrade: h2c, WebSocket", b"Connection: keep-alive, upgrade"], True, True),
        ([b"Connection: Upgrade", b"Upgrade: h2c"], True, False),
        ([b"Connection: Upgrade", b"Upgrade: websocket/13"], True, False),
        ([b"Connection: Upgrade"], False, False),
        ([b"Upgrade: websocket"], False, False),
        ([b"Connection: keep-alive", b"Upgrade: websocket"], False, False),
    ],
)
def test_upgrade(lines: list[bytes], upgrade: bool, websocket: bool) -> None:
    head = parsed(*lines)
    assert (head["upgrade"], head["upgrade_websocket"]) == (upgrade, websocket)
    old = parsed(*lines, start=b"GET / HTTP/1.0")
    assert (old["upgrade"], old["upgrade_websocket"]) == (False, False)


def test_expect() -> None:
    assert parsed(b"Expect: 100-Continue")["expect_continue"]
    assert not parsed(b"Expect: 100-continue", start=b"PUT / HTTP/1.0")["expect_continue"]
    assert not parsed(b"Expect: 200-ok")["expect_continue"]
    assert not parsed(b"Expect:")["expect_continue"]


def test_te() -> None:
    assert parsed(b"TE: trailers")["te_trailers"]
    assert parsed(b"TE: gzip;q=0.5 , Trailers")["te_trailers"]
    assert not parsed(b"TE: gzip, trailersx")["te_trailers"]

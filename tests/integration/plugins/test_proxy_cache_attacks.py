"""proxy-cache: nobody can put a response into it that others are answered with and that is not theirs."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway
from tests.support.plugged import Sent
from tests.support.scripted_cache import Cached, answer


@pytest.fixture(scope="module")
def cached(shared_gateway: Gateway) -> Iterator[Cached]:
    cached = Cached(shared_gateway)
    yield cached
    cached.close()


def show_all(sent: Sent) -> bytes:
    """An upstream that answers with all that clients choose."""
    names = ("x-language", "x-http-method-override", "x-original-url", "accept-encoding")
    seen = "|".join(f"{name}={sent.get(name)}" for name in names)
    return answer(body=f"{sent.target}|{seen}|".encode() + sent.body)


def test_bodies_of_requests_that_have_none(cached: Cached) -> None:
    cached.cache()
    cached.script = show_all
    poisoned = cached.ask("/", body=b"page=evil")
    assert (poisoned.status, poisoned.cache) == (200, "Bypass")
    assert b"evil" not in cached.ask("/").body
    # nor are they answered with what is stored for others
    assert b"evil" in cached.ask("/", body=b"page=evil").body


@pytest.mark.parametrize(
    "field",
    [
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
    ],
)
def test_fields_that_frameworks_take_for_method_or_path(cached: Cached, field: str) -> None:
    cached.cache()
    assert cached.outcomes(("/", field), ("/", field), "/", "/", ("/", field)) == [
        "Miss",
        "Hit",
        "Miss",
        "Hit",
        "Hit",
    ]


@pytest.mark.parametrize("name", ["X-Language", "Accept-Encoding"])
def test_fields_that_do_not_cross_the_gateway(cached: Cached, name: str) -> None:
    """The upstream has not seen what the response is filed under."""
    cached.cache(vary_headers=["X-Language", "Accept-Encoding"])
    cached.script = show_all
    asked = f"{name.lower()}=br"
    assert asked not in cached.ask("/", f"{name}: br", f"Connection: {name}").body.decode()
    assert asked in cached.ask("/", f"{name}: br").body.decode()


def test_arguments_that_are_hidden_in_others(cached: Cached) -> None:
    """Some upstreams take ";" for a separator, too."""
    cached.cache(vary_query_params=["a"])
    cached.script = show_all
    assert b"evil" in cached.ask("/?other=1;a=evil&a=good").body
    assert b"evil" not in cached.ask("/?a=good").body


@pytest.mark.parametrize(
    ("field", "status"), [("If-Match: x", "412 Precondition Failed"), ("Range: bytes=9-", "416 No")]
)
def test_refusals_of_what_one_client_wants(cached: Cached, field: str, status: str) -> None:
    cached.cache(response_code=[200, 412, 416])
    cached.script = lambda _: answer(status=status)
    assert cached.ask("/", field).cache == "Bypass"
    cached.script = lambda _: answer()
    assert cached.ask("/").status == 200


def test_hosts_of_targets(cached: Cached) -> None:
    """The target's host goes before the field (RFC 9112 §3.2.2), in the key as upstream."""
    cached.cache()
    cached.script = lambda sent: answer(body=repr(sent.fields.get("x-forwarded-host")).encode())
    assert cached.ask("http://evil.test/", host="a.test").body == b"['evil.test']"
    assert cached.ask("/", host="a.test").body == b"['a.test']"
    assert cached.ask("/", host="evil.test").cache == "Hit"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\nConnection: close\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n5\r\nshort\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nContent-Length: 6\r\n"
        b"Connection: close\r\n\r\nshort",
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n5\r\nshort\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nshort",
    ],
    ids=["length", "chunked", "bad-chunk", "two-lengths", "old-chunked", "until-close"],
)
def test_broken_messages(cached: Cached, raw: bytes) -> None:
    cached.cache()
    cached.script = lambda _: raw
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", cached.gateway.proxy_port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            while client.recv(65536):
                pass
    cached.script = lambda _: answer(body=b"whole")
    assert cached.ask("/").body == b"whole"


@pytest.mark.parametrize(
    "control",
    [
        "max-age=99999999999999999999999",
        "max-age=-1",
        "max-age=18446744073709551615, stale-while-revalidate=18446744073709551615",
        "s-maxage=9223372036854775807, stale-if-error=9223372036854775807",
        'max-age="1',
        "max-age=",
        "max-age=0x10",
        "=,;,==",
    ],
)
@pytest.mark.parametrize("age", ["0", "99999999999999999999", "-5"])
def test_numbers_of_all_sizes(cached: Cached, control: str, age: str) -> None:
    cached.cache(cache_control=True, storage_ttl=2147483647)
    cached.script = lambda _: answer(
        f"Cache-Control: {control}", f"Age: {age}", 'ETag: "', body=b"0123456789"
    )
    for _ in range(2):
        assert cached.ask("/", "Cache-Control: max-stale=99999999999999999999").status == 200
    huge = "18446744073709551615"
    for part in (
        f"bytes=0-{huge}",
        f"bytes={huge}-",
        f"bytes=-{huge}",
        f"bytes={huge}-0",
        "bytes=9-9",
        "bytes=-0",
    ):
        told = cached.ask("/", f"Range: {part}", f"Cache-Control: max-stale={huge}, min-fresh=0")
        assert told.status in (200, 206, 416)
        assert b"0123456789".endswith(told.body[-1:])

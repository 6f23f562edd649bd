"""redirect: where to, and that nothing of a request can lead elsewhere (plugins.md)."""

from __future__ import annotations

import pytest

from tests.support.plugged import Plugged, plugin


def location(plugged: Plugged, target: str, **options: str) -> str | None:
    answer = plugged.request(target, **options)  # type: ignore[arg-type]
    assert answer.sent is None
    return answer.response.get("location")


def test_a_fixed_location(plugged: Plugged) -> None:
    plugged.configure(plugin("redirect", location="https://x.example/base?z=1#top", status_code=308))
    answer = plugged.request("/a/b?c=d")
    assert (answer.status, answer.response.body) == (308, b"redirecting")
    assert answer.response.get("location") == "https://x.example/base?z=1#top"
    assert answer.response.get("content-type") is None
    head = plugged.request("/", method="HEAD")
    assert (head.status, head.response.body) == (308, b"")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b?c=d", "/a/b?c=d"),
        ("/", "/"),
        ("/?", "/"),
        ("/?a=1&b=%0d%0aX", "/?a=1&b=%0d%0aX"),
        ("/a%20b", "/a%20b"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/a%0d%0aSet-Cookie:x", "/a%0D%0ASet-Cookie:x"),
        ("//evil.example/x", "/evil.example/x"),
        ("/%2F/evil.example", "/%2F/evil.example"),
        ("/a/../b//c", "/b/c"),
        ("http://a.test/abs?x", "/abs?x"),
    ],
)
def test_the_path_of_the_request(plugged: Plugged, target: str, path: str) -> None:
    plugged.configure(plugin("redirect", location="https://x.example:8443/base?z=1", keep_incoming_path=True))
    assert location(plugged, target) == f"https://x.example:8443{path}"


def test_a_fragment_stays_at_the_end(plugged: Plugged) -> None:
    plugged.configure(plugin("redirect", location="https://x.example/base#part", keep_incoming_path=True))
    assert location(plugged, "/a?b") == "https://x.example/a?b#part"


def test_a_request_with_a_body(plugged: Plugged) -> None:
    plugged.configure(plugin("redirect", location="https://x.example/"))
    answer = plugged.request("/", method="POST", body=b"x" * 100_000)
    assert (answer.status, answer.sent) == (301, None)

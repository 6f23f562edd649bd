"""Origins in the form in which cors compares them, against urllib."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native.steps.cors import normalized

DEFAULT_PORTS = {"http": 80, "https": 443}

hosts = st.from_regex(r"\A[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?\Z") | st.sampled_from(
    ["[::1]", "[2001:db8::1]"]
)
ports = st.none() | st.sampled_from([80, 443, 8080]) | st.integers(0, 65535)
tails = st.sampled_from(["", "/", "/path:80", "?q=1", "#f", "/a?b#c"])


@given(scheme=st.sampled_from(["http", "https", "ftp", "app"]), host=hosts, port=ports, tail=tails)
def test_the_same_as_urllib(scheme: str, host: str, port: int | None, tail: str) -> None:
    origin = f"{scheme}://{host}" + ("" if port is None else f":{port}") + tail
    parts = urlsplit(origin)
    expected = f"{parts.scheme}://{host}"
    if parts.port is not None and parts.port != DEFAULT_PORTS.get(scheme):
        expected += f":{port}"
    assert normalized(origin) == (expected, host)


@pytest.mark.parametrize(
    "origin", ["", "null", "junk", "a.com:80", "://a.com", "http:/a.com", "http://", "http://:80"]
)
def test_what_is_no_origin_stands_for_itself(origin: str) -> None:
    assert normalized(origin) == (origin, origin)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["http", "://", ":", "80", "/", "a", "[", "]", "é"])).map("".join)
)
@example("http://a::")
@example("http://a:80:")
def test_any_text(origin: str) -> None:
    form, host = normalized(origin)
    assert origin.startswith(form)
    assert host in origin
    # "a:" and "a:80" are no hosts; where they stand before a port, the next time takes it for one
    assert ":" in host or normalized(form)[0] == form, "twice is the same"

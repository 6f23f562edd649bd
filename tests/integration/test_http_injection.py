"""Bytes of a request that could become header lines never do."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway
from tests.support.upstreams import Upstream

INJECTION = b"a%0d%0aX-Injected:%20yes%0d%0aTransfer-Encoding:%20chunked%0d%0aX-Y:"
ROUTES = {
    "prefix": {"paths": ["/users"]},
    "regex": {"paths": ["~/users/[^/]+/info"]},
    "regex-kept": {"paths": ["~/users/.*"], "strip_path": False},
    "host": {"hosts": ["injected.test"]},
}


@pytest.mark.parametrize("route", ROUTES)
def test_escaped_line_breaks_stay_escaped(shared_gateway: Gateway, route: str) -> None:
    with Upstream() as upstream:
        shared_gateway.configure(
            {
                "services": [
                    {
                        "name": "s",
                        "host": "127.0.0.1",
                        "port": upstream.port,
                        "routes": [{"name": "r", **ROUTES[route]}],
                    }
                ]
            }
        )
        answer = shared_gateway.raw(
            b"GET /users/" + INJECTION + b"/info?q=%0d%0aX-Query:1 HTTP/1.1\r\nHost: injected.test\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200")
        (head, _), *others = upstream.requests
        assert not others
        names = {line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}
        assert not names & {b"x-injected", b"transfer-encoding", b"x-y", b"x-query"}
        assert all(byte >= 0x20 for byte in head.replace(b"\r\n", b""))

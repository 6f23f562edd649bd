"""The echo application, for Granian's RSGI interface."""

from typing import Any
from urllib.parse import parse_qs

import orjson

BODY_LIMIT = 1 << 20
"""bytes of a request body that are echoed"""


async def echo(scope: Any, protocol: Any) -> None:
    """Answer 200 with what was received: method, path, query, headers, body."""
    body = bytearray()
    length = 0
    async for chunk in protocol:
        length += len(chunk)
        body += chunk[: BODY_LIMIT - len(body)]
    headers: dict[str, list[str]] = {}
    for name, value in scope.headers.items():
        headers.setdefault(name, []).append(value)
    answer = {
        "backend": "demo",
        "method": scope.method,
        "path": scope.path,
        "query": parse_qs(scope.query_string, keep_blank_values=True),
        "headers": {name: values[0] if len(values) == 1 else values for name, values in headers.items()},
        "body": body.decode("utf-8", "replace"),
        "body_length": length,
    }
    content = orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    protocol.response_bytes(200, [("content-type", "application/json")], content)

"""Responses that plugins give themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

HeaderValues = Mapping[str, "str | Iterable[str]"]

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"


class Answer(Exception):
    """A response of the plugin's own: return it from `rewrite`, `access` or `response`, or raise it anywhere
    below."""

    def __init__(self, status: int, body: Any = None, headers: HeaderValues | None = None) -> None:
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"the status of a response is between 200 and 599, not {status!r}")
        super().__init__(status)
        self.status = status
        self.body, self.content_type = encoded(body)
        self.headers: list[tuple[str, str]] = []
        for name, values in (headers or {}).items():
            for value in (values,) if isinstance(values, str) else values:
                if name.lower() == "content-type":
                    if any(character < " " or character == "\x7f" for character in value):
                        raise ValueError("the value of a header has no control characters")
                    self.content_type = value
                else:
                    self.headers.append((name, value))


def respond(status: int, body: Any = None, headers: HeaderValues | None = None) -> Answer:
    """A response: `return respond(403, {"message": "not today"})`.

    `body`: None for an empty one, bytes, a str, or anything else that JSON can say. Content-Type follows from
    it unless `headers` has one. The plugins that come later do not see the request; their `response` and
    `log` run.
    """
    return Answer(status, body, headers)


def encoded(body: Any) -> tuple[bytes, str]:
    """A body and its type."""
    if body is None:
        return b"", ""
    if isinstance(body, bytes):
        return body, BYTES
    if isinstance(body, str):
        return body.encode(), TEXT
    return msgspec.json.encode(body), JSON

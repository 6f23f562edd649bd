"""curl command lines, read from a text and sent without curl.

Only what such lines use: -i, -X METHOD, -d/--data, -H/--header, one URL, and of the shell `$(uuidgen)`. A
test machine need not have curl.
"""

from __future__ import annotations

import http.client
import json
import shlex
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

FORM = "application/x-www-form-urlencoded"


@dataclass
class CurlLine:
    """One command line, as curl understands it."""

    text: str
    url: str = ""
    method: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> CurlLine:
        """Read a line that begins with `curl`; raises ValueError for an option that is not known here."""
        line = cls(text)
        words = iter(shlex.split(text.replace("$(uuidgen)", str(uuid.uuid4())))[1:])
        for word in words:
            match word:
                case "-i":
                    pass
                case "-X":
                    line.method = next(words)
                case "-d" | "--data":
                    line.data.append(next(words))
                case "-H" | "--header":
                    name, _, value = next(words).partition(":")
                    line.headers[name] = value.strip()
                case _ if word.startswith("-"):
                    raise ValueError(f"unknown option {word}")
                case _:
                    line.url = word
        return line

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    def send(self, port: int) -> Answer:
        """Send the request to 127.0.0.1:port instead of where the line says; its Host field stays."""
        body = "&".join(self.data).encode() if self.data else None
        headers = {"Host": urlsplit(self.url).netloc, "User-Agent": "curl/8", "Accept": "*/*"}
        if body is not None:
            headers["Content-Type"] = FORM
        headers.update(self.headers)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(self.method or ("POST" if body else "GET"), self.path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

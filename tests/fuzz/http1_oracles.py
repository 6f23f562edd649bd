"""Compares the gateway's HTTP/1.1 parser with h11 and with llhttp (through httptools).

The rule: what the gateway accepts, both others must accept, with the same method, target, fields and end of
the body. The gateway may refuse more. Each check returns a complaint, or None.

Where the others refuse what the gateway rightly takes, or report it in another way, is listed here:

- h11 does not take the empty line that RFC 9112 §2.2 allows before a request line: it is cut off.
- h11 lowers the case of Transfer-Encoding's value, llhttp leaves white space after a value: evened out.
- llhttp knows a fixed list of methods: any other is replaced by one it knows before asking it.
- llhttp refuses some characters in the authority of an absolute-form target that RFC 3986 allows, such as
  "!": only h11 is asked then.
- llhttp takes Content-Length and Transfer-Encoding in a trailer section for framing. The gateway drops
  trailers, so there they mean nothing (RFC 9110 §6.5.1): they are renamed before asking.
- The body of a 1xx, 204 or 304 response, and of a message that llhttp takes for the start of a tunnel
  (Upgrade), is the caller's business: there heads are compared, bodies are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import h11
import httptools
from native.http1 import BodyKind, ChunkResult, TargetForm, decode_chunked, parse_request, parse_response

Fields = list[tuple[bytes, bytes]]

BODY = b"0123456789abcdef"  # repeated to the length a message announces
LONGEST_BODY = 4096  # bytes; of a longer body only this much is sent
CHUNKED_BODY = b"3\r\nabc\r\n0\r\n\r\n"
LLHTTP_METHODS = frozenset(
    b"DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND"
    b" REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE"
    b" MKCALENDAR LINK UNLINK".split()
)
FRAMING_NAME = re.compile(rb"content-length|transfer-encoding", re.IGNORECASE)
PLAIN_AUTHORITY = re.compile(rb"[A-Za-z0-9.\-]+(:[0-9]+)?")


@dataclass
class Reading:
    """What a parser made of a message."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    version: str = ""
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    error: str = ""


class LlhttpCallbacks:
    """Collects what httptools reports."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.head_complete = False

    def on_url(self, url: bytes) -> None:
        self.reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reading.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        self.reading.body += body

    def on_message_complete(self) -> None:
        self.reading.complete = True


def read_with_llhttp(parts: list[bytes], *, response: bool) -> list[Reading]:
    """Feed the parts; a Reading after each. Stops at an error."""
    callbacks = LlhttpCallbacks()
    parser = httptools.HttpResponseParser(callbacks) if response else httptools.HttpRequestParser(callbacks)
    readings = []
    for part in parts:
        reading = callbacks.reading
        try:
            parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            # For a response httptools does not tell the pause at a tunnel from an error.
            if "Pause on CONNECT/Upgrade" not in str(error):
                reading.error = f"{type(error).__name__}: {error}"
        if callbacks.head_complete:
            reading.version = parser.get_http_version()
            if response:
                reading.status = parser.get_status_code()
            else:
                reading.method = parser.get_method()
        readings.append(Reading(**{**vars(reading), "fields": list(reading.fields)}))
        if reading.error:
            break
    return readings


def read_with_h11(parts: list[bytes], *, response: bool) -> list[Reading]:
    """As read_with_llhttp()."""
    connection = h11.Connection(h11.CLIENT if response else h11.SERVER, max_incomplete_event_size=1 << 20)
    if response:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a"), ("Upgrade", "b")]))
        connection.send(h11.EndOfMessage())
    reading = Reading()
    readings = []
    for part in parts:
        try:
            connection.receive_data(part)
            while True:
                event = connection.next_event()
                if isinstance(event, (h11.Request, h11.Response, h11.InformationalResponse)):
                    reading.version = event.http_version.decode()
                    reading.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                    if isinstance(event, h11.Request):
                        reading.method, reading.target = bytes(event.method), bytes(event.target)
                    else:
                        reading.status = event.status_code
                elif isinstance(event, h11.Data):
                    reading.body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    reading.complete = True
                    break
                else:
                    break
        except h11.RemoteProtocolError as error:
            reading.error = str(error)
        readings.append(Reading(**vars(reading)))
        if reading.error:
            break
    return readings


def body_for(head: dict) -> tuple[bytes, bool]:
    """A body as `head` announces it, and whether it is all of it."""
    if head["body_kind"] == BodyKind.BODY_CHUNKED:
        return CHUNKED_BODY, True
    if head["body_kind"] == BodyKind.BODY_UNTIL_CLOSE:
        return BODY, False
    size = head["content_length"] or 0
    sent = min(size, LONGEST_BODY)
    return (BODY * (sent // len(BODY) + 1))[:sent], sent == size


def evened(reading: Reading, attribute: str) -> object:
    """An attribute of a reading without the differences that mean nothing."""
    if attribute != "fields":
        return getattr(reading, attribute)
    return [
        (name, (value.lower() if name == b"transfer-encoding" else value).rstrip(b" \t"))
        for name, value in reading.fields
    ]


def compare(
    name: str, readings: list[Reading], expected: Reading, body: bytes, whole: bool, with_body: bool
) -> str | None:
    """Lay the readings (after the head, after all but the body's last byte, after it) beside `expected`."""
    for reading in readings:
        if reading.error:
            return f"{name} refuses what we accept: {reading.error}"
    last = readings[-1]
    for attribute in ("method", "target", "status", "version", "fields"):
        theirs, ours = evened(last, attribute), evened(expected, attribute)
        if theirs != ours:
            return f"{name} reads {attribute} {theirs!r}, we {ours!r}"
    if not with_body:
        return None
    payload = b"abc" if body is CHUNKED_BODY else body
    if last.body != payload or last.complete != whole:
        return f"{name} reads body {last.body!r} (whole: {last.complete}), we {payload!r} (whole: {whole})"
    if any(reading.complete for reading in readings[:-1]):
        return f"{name} ends the body before we do"
    return None


def parts_of(head: bytes, body: bytes) -> list[bytes]:
    """The head, the body without its last byte, its last byte."""
    return [part for part in (head, body[:-1], body[-1:]) if part]


def names_upgrade(fields: Fields) -> bool:
    return any(name == b"upgrade" for name, _ in fields)


def check_request(data: bytes) -> str | None:
    """Compare the request head at the start of `data`."""
    ours = parse_request(data)
    if isinstance(ours, int):
        return None
    head = data[: ours["parsed"]]
    body, whole = body_for(ours)
    expected = Reading(
        method=ours["method"],
        target=ours["target"],
        version=f"1.{ours['minor_version']}",
        fields=[(item["name"].lower(), item["value"]) for item in ours["headers"]],
    )
    readings = read_with_h11(parts_of(head.removeprefix(b"\r\n"), body), response=False)
    complaint = compare("h11", readings, expected, body, whole, with_body=True)
    if complaint:
        return complaint
    if ours["target_form"] == TargetForm.TARGET_ABSOLUTE and not PLAIN_AUTHORITY.fullmatch(ours["authority"]):
        return None
    if ours["method"] not in LLHTTP_METHODS:
        head = head.removeprefix(b"\r\n").replace(ours["method"], b"PUT", 1)
        expected.method = b"PUT"
    with_body = not names_upgrade(expected.fields)
    readings = read_with_llhttp(parts_of(head, body) if with_body else [head], response=False)
    return compare("llhttp", readings, expected, body, whole, with_body)


def check_response(data: bytes) -> str | None:
    """Compare the response head at the start of `data`."""
    ours = parse_response(data)
    if isinstance(ours, int):
        return None
    head = data[: ours["parsed"]]
    body, whole = body_for(ours)
    status = ours["status"]
    expected = Reading(
        status=status,
        version=f"1.{ours['minor_version']}",
        fields=[(item["name"].lower(), item["value"]) for item in ours["headers"]],
    )
    with_body = status >= 200 and status not in (204, 304)
    parts = parts_of(head, body) if with_body else [head]
    complaint = compare("h11", read_with_h11(parts, response=True), expected, body, whole, with_body)
    if complaint:
        return complaint
    with_body = with_body and not names_upgrade(expected.fields)
    readings = read_with_llhttp(parts if with_body else [head], response=True)
    return compare("llhttp", readings, expected, body, whole, with_body)


def check_chunked(data: bytes) -> str | None:
    """Compare the decoding of a chunked body at the start of `data`; what follows it must be left alone."""
    data = FRAMING_NAME.sub(lambda match: b"X" * len(match[0]), data)
    result, body, consumed = decode_chunked(data)
    if result == ChunkResult.CHUNK_ERROR:
        return None
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    parts = [head, *parts_of(data[: consumed - 1], data[consumed - 1 : consumed])]
    done = result == ChunkResult.CHUNK_DONE
    for name, read in (("h11", read_with_h11), ("llhttp", read_with_llhttp)):
        readings = read(parts, response=False)
        for reading in readings:
            if reading.error:
                return f"{name} refuses what we accept: {reading.error}"
        last = readings[-1]
        if last.complete != done:
            return f"{name} completes the body: {last.complete}, we: {done}"
        if last.body != body:
            return f"{name} decodes {last.body!r}, we {body!r}"
        if any(reading.complete for reading in readings[:-1]):
            return f"{name} ends the body before we do"
    return None

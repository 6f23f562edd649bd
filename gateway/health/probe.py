"""One look at one address: what it sends, how long it waits, and what it makes of the answer.

A probe never raises for what a target does. It reads no more than the head of the answer, follows no
redirect, and is over, with its connection closed, when its time is.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.entities.upstreams import ActiveChecks
from native.target_state import TargetReport

DEFAULT_TIMEOUT = 1.0
"""seconds, where 0 is configured: a probe must end"""
LATE = 0.1
"""seconds: when a time limit is noticed so much later (and by as much again as it is long), then this process
had no time, not the target"""
LONGEST_LINE = 8192
MOST_INTERIM_LINES = 100
"""lines of 1xx answers that are read before the final one"""
STATUS_LINE = re.compile(rb"HTTP/\d\.\d ([1-9]\d\d)(?: [^\r\n]*)?\r?\n")
HTTP_TYPES = ("http", "https")


class Outcome(NamedTuple):
    """What a probe says of its target."""

    report: TargetReport | None
    """None: nothing"""
    reason: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the addresses of an upstream are probed."""

    kind: str
    timeout: float
    """seconds for all of a probe"""
    path: str
    host_header: str | None
    headers: Mapping[str, Sequence[str]]
    good_statuses: frozenset[int]
    bad_statuses: frozenset[int]
    tls: ssl.SSLContext | None
    server_name: str | None

    @classmethod
    def of(cls, checks: ActiveChecks, host_header: str | None, tls: ssl.SSLContext | None) -> Recipe:
        """`host_header`: the upstream's; `tls` for probes of the type https."""
        return cls(
            checks.type or "http",
            checks.timeout or DEFAULT_TIMEOUT,
            checks.http_path or "/",
            host_header,
            checks.headers or {},
            frozenset(checks.healthy.http_statuses or ()),
            frozenset(checks.unhealthy.http_statuses or ()),
            tls if checks.type == "https" else None,
            checks.https_sni,
        )


async def probe(recipe: Recipe, ip: str, port: int, name: str) -> Outcome:
    """Look at an address of a target whose host is `name`."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(recipe.timeout):
            return await _look(recipe, ip, port, name)
    except TimeoutError:
        # (A connection attempt that the kernel gives up is a TimeoutError, too.)
        if time.monotonic() - started > recipe.timeout * 2 + LATE:
            return Outcome(None, "this process had no time to look")
        return Outcome(TargetReport.REPORT_TIMEOUT, "timeout")
    except ssl.SSLError as error:
        return Outcome(TargetReport.REPORT_TCP_FAILURE, f"TLS: {_said(error)}")
    except (OSError, EOFError) as error:
        return Outcome(TargetReport.REPORT_TCP_FAILURE, _said(error))
    except ValueError as error:
        return Outcome(TargetReport.REPORT_TCP_FAILURE, str(error))


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, EOFError):
        return "connection closed"
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


async def _look(recipe: Recipe, ip: str, port: int, name: str) -> Outcome:
    """Raises OSError, EOFError, ValueError (not HTTP)."""
    bare_name = name.strip("[]")
    server_name = (recipe.server_name or _host_of(recipe.host_header) or bare_name) if recipe.tls else None
    reader, writer = await asyncio.open_connection(
        ip, port, ssl=recipe.tls, server_hostname=server_name, limit=LONGEST_LINE
    )
    try:
        if recipe.kind not in HTTP_TYPES:
            return Outcome(TargetReport.REPORT_SUCCESS, "connected")
        writer.write(request(recipe, name))
        status = await read_status(reader)
    finally:
        # (Not closed in order: nothing is to wait for a target that hangs.)
        writer.transport.abort()
    if status in recipe.good_statuses:
        return Outcome(TargetReport.REPORT_SUCCESS, f"status {status}")
    if status in recipe.bad_statuses:
        return Outcome(TargetReport.REPORT_HTTP_FAILURE, f"status {status}")
    return Outcome(None, f"status {status}")


def request(recipe: Recipe, name: str) -> bytes:
    """The head of the request that is sent. As in Kong, the Host field has no port but what is configured."""
    lines = [f"GET {recipe.path} HTTP/1.1", "Connection: close"]
    own_host = False
    for field, values in recipe.headers.items():
        own_host = own_host or field.lower() == "host"
        lines += [f"{field}: {value}" for value in values]
    if not own_host:
        lines.append(f"Host: {recipe.host_header or name}")
    text = "".join(line.replace("\r", " ").replace("\n", " ") + "\r\n" for line in lines)
    return f"{text}\r\n".encode("utf-8", "surrogateescape")


async def read_status(reader: asyncio.StreamReader) -> int:
    """The status of the final answer. Raises EOFError, ValueError (not HTTP), OSError."""
    lines = 0
    while True:
        status = _status_in(await _line(reader))
        if not 100 <= status < 200 or status == 101:
            return status
        is_over = False
        while not is_over:
            is_over = not (await _line(reader)).rstrip(b"\r\n")
            lines += 1
            if lines > MOST_INTERIM_LINES:
                raise ValueError("too many interim responses")


def _status_in(line: bytes) -> int:
    found = STATUS_LINE.fullmatch(line)
    if not found:
        raise ValueError("the answer is not HTTP")
    return int(found[1])


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ValueError("the answer is not HTTP") from None
        raise EOFError from None
    except asyncio.LimitOverrunError:
        raise ValueError("the answer is not HTTP") from None


def _host_of(host_header: str | None) -> str | None:
    """The host in a Host field: without port and brackets."""
    if not host_header:
        return None
    if host_header.startswith("["):
        return host_header[1:].partition("]")[0]
    return host_header.partition(":")[0]

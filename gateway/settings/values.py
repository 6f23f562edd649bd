"""How the text of a setting becomes a value: one `Kind` per form of value.

A parser gets the text with outer blanks removed and raises ValueError when it is not of its form. The
exception's text, if there is any, says more than the kind's `allowed` line, which is always part of the
message.
"""

import os
import re
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A form of value: `parse` turns text into it, `allowed` says to a person which texts are possible."""

    parse: Callable[[str], Any]
    allowed: str


def is_number(text: str) -> bool:
    """Whether a text consists of ASCII digits."""
    return text.isascii() and text.isdecimal()


_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)", re.IGNORECASE)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _parse_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def _parse_duration(text: str) -> float:
    """Seconds. `90`, `90s`, `1m30s`, `500ms`; a number without a unit is seconds."""
    total, at = 0.0, 0
    while at < len(text):
        match = _DURATION_PART.match(text, at)
        if not match or (match[2] is None and match[0] != text):
            raise ValueError
        total += float(match[1]) * _SECONDS[match[2] or "s"]
        at = match.end()
    if not text:
        raise ValueError
    return round(total, 3)


def size(least: int = 0, most: int = 1 << 40) -> Kind:
    """Bytes, with nginx's units."""

    def parse(text: str) -> int:
        value = _parse_size(text)
        if not least <= value <= most:
            raise ValueError
        return value

    return Kind(parse, f"a size in bytes or with k, m or g ('8m'), from {_sized(least)} to {_sized(most)}")


def _sized(value: int) -> str:
    for unit, shift in (("g", 30), ("m", 20), ("k", 10)):
        if value and not value % (1 << shift):
            return f"{value >> shift}{unit}"
    return str(value)


def duration(least: float = 0, most: float = 365 * 86400) -> Kind:
    """Seconds (float), from nginx's notation."""

    def parse(text: str) -> float:
        value = _parse_duration(text)
        if not least <= value <= most:
            raise ValueError
        return value

    return Kind(parse, f"seconds, or a time with ms, s, m, h or d ('1m30s'), from {least:g} s to {most:g} s")


def duration_or_off(least: float, most: float) -> Kind:
    """Seconds, or 0 for something that is not to happen."""
    kind = duration(least, most)
    return Kind(lambda text: 0.0 if _parse_duration(text) == 0 else kind.parse(text), f"0, or {kind.allowed}")


def optional_duration(least: float = 0) -> Kind:
    """Seconds, or None for an empty text."""
    kind = duration(least)
    return Kind(lambda text: kind.parse(text) if text else None, f"nothing, or {kind.allowed}")


def number(least: int, most: int) -> Kind:
    """A whole number."""

    def parse(text: str) -> int:
        if not is_number(text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return Kind(parse, f"a whole number from {least} to {most}")


def milliseconds(least: int, most: int) -> Kind:
    """Seconds (float) that are written as a whole number of milliseconds."""
    kind = number(least, most)
    return Kind(lambda text: kind.parse(text) / 1000, f"milliseconds: {kind.allowed}")


def number_or_auto(automatic: Callable[[], int], least: int, most: int, meaning: str) -> Kind:
    """A whole number, or `auto` for what `automatic` finds out about this machine."""
    kind = number(least, most)
    return Kind(
        lambda text: automatic() if text.lower() == "auto" else kind.parse(text),
        f"'auto' ({meaning}) or {kind.allowed}",
    )


DESCRIPTORS_BESIDE_CONNECTIONS = 512
"""file descriptors of a worker that are not connections: logs, snapshots, listening sockets, libraries"""


def descriptors_needed(connections: int) -> int:
    """File descriptors of a worker that serves so many clients: each has a connection to an upstream, too."""
    return 2 * connections + DESCRIPTORS_BESIDE_CONNECTIONS


def connections_possible() -> int:
    """Client connections for which this process may have descriptors, at most 16384."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return 16384
    beside = min(DESCRIPTORS_BESIDE_CONNECTIONS, hard // 4)
    return max(16, min(16384, (hard - beside) // 2))


def _parse_switch(text: str) -> bool:
    return {"on": True, "true": True, "off": False, "false": False}[text.lower()]


def _checked_switch(text: str) -> bool:
    try:
        return _parse_switch(text)
    except KeyError:
        raise ValueError from None


SWITCH = Kind(_checked_switch, "'on' or 'off'")


def choice(*values: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Kind(parse, "one of " + ", ".join(f"'{value}'" for value in values))


def _parse_router_flavor(text: str) -> str:
    if text == "expressions":
        raise ValueError("routes with an expression are not available; use the fields of a route")
    if text not in ("traditional_compatible", "traditional"):
        raise ValueError
    return text


ROUTER_FLAVOR = Kind(_parse_router_flavor, "'traditional_compatible' or 'traditional'")


def path(meaning: str) -> Kind:
    """A file or directory, relative to the directory of the start. None for an empty text."""
    return Kind(lambda text: Path(text).expanduser() if text else None, meaning)


def _parse_paths(text: str) -> tuple[Path, ...]:
    parts = filter(None, map(str.strip, text.replace(",", ":").split(":")))
    return tuple(Path(part).expanduser().absolute() for part in parts)


PATHS = Kind(_parse_paths, "files and directories, with ':' or ',' between them")


def _parse_log(text: str) -> Path | None:
    if text == "off":
        return None
    if not text or " " in text:
        raise ValueError("a named log format after the path is not available")
    return Path(text)


def _parse_audit_log(text: str) -> Path | None:
    return None if text in ("", "off") else Path(text)


AUDIT_LOG = Kind(_parse_audit_log, "a path (relative to the prefix), '/dev/stdout', '/dev/stderr' or 'off'")


def _parse_certificate(text: str) -> Path | None:
    if not text:
        return None
    if "-----BEGIN" in text:
        raise ValueError("the text of a certificate or key is not taken, only the path of its file")
    if "," in text:
        raise ValueError("one certificate is served, not several")
    return Path(text).expanduser()


CERTIFICATE = Kind(_parse_certificate, "the path of a PEM file, or nothing")

STANDARD_STREAMS = (Path("/dev/stdout"), Path("/dev/stderr"))
"""log files that are not files"""
LOG = Kind(_parse_log, "a path (relative to the prefix), '/dev/stdout', '/dev/stderr' or 'off'")
TEXT = Kind(lambda text: text or None, "any text")


def _parse_needed_text(text: str) -> str:
    if not text:
        raise ValueError
    return text


NEEDED_TEXT = Kind(_parse_needed_text, "any text but an empty one")
TRUSTED_CERTIFICATES = Kind(
    lambda text: tuple(word.strip() for word in text.split(",") if word.strip()) or ("system",),
    "'system' or the path of a PEM file",
)

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _parse_field_name(text: str) -> str:
    if text.lower() == "proxy_protocol":
        raise ValueError("the PROXY protocol is not available yet")
    if not _FIELD_NAME.fullmatch(text):
        raise ValueError
    return text


FIELD_NAME = Kind(_parse_field_name, "the name of a header")


# --- header lists ---------------------------------------------------------------------------------

LATENCY_HEADERS = (
    "X-Kong-Upstream-Latency",
    "X-Kong-Proxy-Latency",
    "X-Kong-Response-Latency",
    "X-Kong-Admin-Latency",
    "X-Kong-Total-Latency",
    "X-Kong-Third-Party-Latency",
    "X-Kong-Client-Latency",
)
SENDABLE_HEADERS = ("Server", "Via", *LATENCY_HEADERS, "X-Kong-Upstream-Status", "X-Kong-Request-Id")
_HEADER_TOKENS = {"server_tokens": ("Server", "Via"), "latency_tokens": LATENCY_HEADERS, "off": ()}


def header_list(*names: str) -> Kind:
    """Kong's `headers` syntax as a frozenset of header names; its token names stand for several headers."""
    known: dict[str, tuple[str, ...]] = {name.lower(): (name,) for name in names}
    if "Server" in names:
        known |= _HEADER_TOKENS
    known["off"] = ()

    def parse(text: str) -> frozenset[str]:
        words = [word.strip() for word in text.split(",") if word.strip()]
        for word in words:
            if word.lower() not in known:
                raise ValueError(f"unknown name '{word}'")
        return frozenset(name for word in words for name in known[word.lower()])

    tokens = ["server_tokens", "latency_tokens"] if "Server" in names else []
    return Kind(parse, "'off', or a comma-separated list of " + ", ".join([*tokens, *names]))


# --- processors -----------------------------------------------------------------------------------


def usable_processors() -> tuple[int, ...]:
    """Numbers of the processors that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def _parse_affinity(text: str) -> tuple[int, ...]:
    if text == "off":
        return ()
    if text == "auto":
        return usable_processors()
    chosen: list[int] = []
    for word in text.split(","):
        first, _, last = word.strip().partition("-")
        if not is_number(first) or not is_number(last or first) or int(last or first) > 4095:
            raise ValueError
        chosen += range(int(first), int(last or first) + 1)
    missing = sorted(set(chosen) - set(usable_processors()))
    if missing or not chosen:
        raise ValueError(f"this process may not use processor {', '.join(map(str, missing))}")
    return tuple(chosen)


AFFINITY = Kind(_parse_affinity, "'off', 'auto' (one processor per worker) or a list of processors ('0,2-3')")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _parse_uuid(text: str) -> str | None:
    if text and not _UUID.fullmatch(text):
        raise ValueError
    return text.lower() or None


UUID = Kind(_parse_uuid, "a UUID, or nothing")


DATABASE = choice("sqlite", "postgres", "off")

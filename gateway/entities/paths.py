"""Paths of routes: plain prefixes, which must be written in their normal form, and `~` regular
expressions."""

from __future__ import annotations

import re

from gateway.entities.patterns import pattern_problem
from gateway.entities.value_checks import percent_problem

PERCENT_TRIPLET = re.compile(rb"%([0-9A-Fa-f]{2})")
RESERVED = frozenset(b"!*'();:@&=+$,/?%#[]")
PLAIN_BEFORE_3_0 = re.compile(r"[a-zA-Z0-9.\-_~/%]*")
REGEX_META = frozenset(rb".^-{}\|")


def route_path_problem(path: str) -> str | None:
    """What is wrong with a path of a route (`/…` or `~/…`, without empty segments), or None."""
    if path.startswith("~"):
        return pattern_problem(path[1:])
    if problem := percent_problem(path):
        return problem
    normal = normal_path(path)
    return None if normal == path else f"non-normalized path, consider use '{normal}' instead"


def normal_path(path: str) -> str:
    """The normal form of a path: percent triplets of unreserved characters decoded, dot segments and repeated
    slashes removed (RFC 3986 §6.2.2; reserved characters stay encoded, with upper-case digits)."""
    if "%" in path:
        raw = PERCENT_TRIPLET.sub(_decode_unreserved, path.encode())
        path = raw.decode(errors="replace")
    if "." not in path and "//" not in path:
        return path
    segments: list[str] = []
    parts = path.split("/")[1:]
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "..":
            if segments:
                segments.pop()
            if last:
                segments.append("")
        elif part == "." or part == "":
            if last:
                segments.append("")
        else:
            segments.append(part)
    return "/" + "/".join(segments)


def _decode_unreserved(found: re.Match[bytes]) -> bytes:
    code = int(found[1], 16)
    return found[0].upper() if code in RESERVED else bytes((code,))


def path_of_older_format(path: str) -> str:
    """A path of `_format_version` 1.1 or 2.1 in today's form.

    Those formats had no `~`: a path with characters that plain paths do not have was a regular expression,
    and percent triplets were decoded when matching. Plain paths are brought into their normal form.
    """
    if PLAIN_BEFORE_3_0.fullmatch(path):
        return normal_path(path)
    pattern = PERCENT_TRIPLET.sub(_decode_for_pattern, path.encode()).decode(errors="replace")
    return f"~{pattern}"


def _decode_for_pattern(found: re.Match[bytes]) -> bytes:
    code = int(found[1], 16)
    if code in RESERVED:
        return found[0].upper()
    return b"\\" + bytes((code,)) if code in REGEX_META else bytes((code,))

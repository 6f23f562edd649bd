"""Rules about single values: each function answers the text of what is wrong with a value, or None."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.entities.hosts import INVALID_PORT, HostKind, InvalidHost, parse_host

PATH_CHARACTERS = re.compile(r"/[0-9A-Za-z.\-_~/%:@!$&'()*+,;=]*")
BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
PEM_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
PEM_LINE = re.compile(r"[A-Za-z0-9+/=]*|[A-Za-z\-]+: .*")


@dataclass(frozen=True)
class PatternRule:
    """A rule that an expression says, so that JSON Schemas can show it."""

    pattern: str
    """The whole text must match it. Written so that Python, ECMAScript and Rust read it alike."""
    text: str
    """What is wrong when it does not; `{}` stands for the value."""

    def __call__(self, value: str) -> str | None:
        return None if re.fullmatch(self.pattern, value) else self.text.format(value)


# Names of services, routes, plugin instances: letters, digits and . - _ ~, and what is not ASCII.
name_problem = PatternRule(
    r"[^\x00-,/:-@\[-\^`{-}\x7f]+",
    "invalid value '{}': the only accepted ascii characters are alphanumerics or ., -, _, and ~",
)
# Printable ASCII but "," and "/" (which join tags in a query), and what is not ASCII.
tag_problem = PatternRule(
    r"[^\x00-\x1f,/\x7f]+",
    "invalid tag '{}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences",
)
header_name_problem = PatternRule(
    r"[A-Za-z0-9_\-]+", "bad header name '{}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
)
# RFC 2616 token: no separators, no control characters.
cookie_name_problem = PatternRule(
    r"[!#$%&'*+\-.0-9A-Z\^_`a-z|~]+",
    "Invalid cookie name '{}', should be a valid HTTP token (see RFC 2616)",
)


def control_character_problem(text: str) -> str | None:
    """Texts that become part of a header: what ends a line, or is not to be seen, is nothing for them."""
    return "must not contain control characters" if CONTROL_CHARACTER.search(text) else None


def status_problem(status: float) -> str | None:
    """A status that an answer can have; after an interim one (1xx) clients wait for another."""
    if 200 <= status <= 599 and status == int(status):
        return None
    return "expected an integer between 200 and 599"


def url_problem(url: str) -> str | None:
    """An absolute http(s) URL."""
    if problem := control_character_problem(url):
        return problem
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as problem:
        return f"could not parse url. {problem}"
    if not host:
        return "missing host in url"
    return None if parts.scheme.lower() in ("http", "https") else "must be an http or https url"


def host_problem(host: str) -> str | None:
    """A host without a port."""
    try:
        parsed = parse_host(host)
    except InvalidHost as problem:
        return "must not have a port" if str(problem) == INVALID_PORT else f"invalid value: {host}"
    return None if parsed.port is None else "must not have a port"


def host_and_port_problem(host: str) -> str | None:
    """A host with or without a port."""
    try:
        parse_host(host)
    except InvalidHost as problem:
        return str(problem)
    return None


def route_host_problem(host: str) -> str | None:
    """A host to match: with or without a port, with at most one `*` as the whole first or last label."""
    if "*" in host:
        if host.count("*") > 1:
            return "invalid wildcard: must have at most one wildcard"
        if not (host.startswith("*.") or host.endswith(".*") or re.search(r"\.\*:[0-9]+\Z", host)):
            return "invalid wildcard: must be placed at leftmost or rightmost label"
    problem = host_and_port_problem(host.replace("*", "abc"))
    # Kong shows the host with its stand-in for the wildcard; the host as written is what can be found in a
    # file.
    return None if problem is None else problem.replace(host.replace("*", "abc"), host)


def server_name_problem(name: str) -> str | None:
    """A server name (SNI) without wildcards."""
    try:
        parsed = parse_host(name)
    except InvalidHost as problem:
        return "must not have a port" if str(problem) == INVALID_PORT else f"invalid value: {name}"
    if parsed.kind is not HostKind.NAME:
        return "must not be an IP"
    return None if parsed.port is None else "must not have a port"


def wildcard_server_name_problem(name: str) -> str | None:
    """A server name (SNI), possibly with one `*` at its start or end."""
    position = name.find("*")
    if position >= 0:
        if position not in (0, len(name) - 1):
            return "wildcard must be leftmost or rightmost character"
        if name.count("*") > 1:
            return "only one wildcard must be specified"
    problem = server_name_problem(name.replace("*", "wildcard"))
    return f"invalid value: {name}" if problem and problem.startswith("invalid value") else problem


def path_problem(path: str) -> str | None:
    """A URL path: the characters of RFC 3986, percent signs only before two hex digits."""
    if not PATH_CHARACTERS.fullmatch(path):
        return f"invalid path: '{path}' (characters outside of the reserved list of RFC 3986 found)"
    return percent_problem(path)


def percent_problem(path: str) -> str | None:
    """Percent signs that are not followed by two hex digits."""
    found = BAD_PERCENT.search(path)
    return f"invalid url-encoded value: '{found[0]}'" if found else None


def address_range_problem(text: str) -> str | None:
    """An IP address, or a range of them with its prefix length."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"invalid ip or cidr range: '{text}'"
    # Neither netmasks nor zones of IPv6, which the ipaddress module reads, too: only prefix lengths.
    if "%" in text or ("/" in text and not re.fullmatch("[0-9]{1,3}", text.rpartition("/")[2])):
        return f"invalid ip or cidr range: '{text}'"
    return None


def redirect_uri_problem(uri: str) -> str | None:
    """An OAuth 2 redirection endpoint: absolute, without a fragment (RFC 6749 §3.1.2)."""
    try:
        parts = urlsplit(uri)
        absolute = bool(parts.scheme and parts.hostname)
    except ValueError:
        absolute = False
    if not absolute:
        return f"cannot parse '{uri}'"
    return f"fragment not allowed in '{uri}'" if "#" in uri else None


def pem_label(text: str) -> str | None:
    """The label of the first PEM block ("CERTIFICATE"), or None where there is no whole one (RFC 7468)."""
    begin = PEM_BEGIN.search(text)
    if begin is None:
        return None
    end = text.find(f"-----END {begin[1]}-----", begin.end())
    body = text[begin.end() : end].split("\n")
    whole = end >= 0 and any(body) and all(PEM_LINE.fullmatch(line.strip()) for line in body)
    return begin[1] if whole else None

"""Where an Admin API listens: a URL, or a unix socket (`unix:/path`)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_ADDRESS = "http://127.0.0.1:8001"


@dataclass(frozen=True, slots=True)
class Address:
    """The base of every request."""

    text: str
    """As it was given, without what is secret in it."""
    base_url: str
    socket_path: str | None = None


def parse_address(text: str) -> Address:
    """Read an address: `http(s)://host[:port][/base]`, `host:port`, `unix:/path`. Raises ValueError."""
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"'{text}' is no address: write a unix socket as unix:/path/of/the/socket")
        return Address(f"unix:{path}", "http://localhost", path)
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"'{text}' is no address of an Admin API: expected something like {DEFAULT_ADDRESS}")
    _ = parts.port  # raises ValueError for what is none
    shown = url.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)
    return Address(shown.rstrip("/"), url.rstrip("/"))

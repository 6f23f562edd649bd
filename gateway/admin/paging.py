"""Pages of lists: how a client asks for one, and where the next one begins.

An offset is the place after the last entity of a page, not a count: entities that come and go meanwhile are
neither shown twice nor left out.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from gateway.store.errors import invalid_offset, invalid_options, invalid_size

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
MOST_TAGS = 5
NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d{1,2})?", re.ASCII)
# Offsets look as Kong's do without a database, where its default workspace has this id.
WORKSPACE = "0dc6f45b-8f8d-40d2-a504-473544ee190b"


@dataclass(frozen=True)
class TagFilter:
    """Which entities a list is restricted to."""

    tags: frozenset[str]
    every: bool
    """An entity has all of the tags; else one of them is enough."""

    def fits(self, tags: Sequence[str]) -> bool:
        """Whether an entity with these tags is one of them."""
        return self.tags.issubset(tags) if self.every else not self.tags.isdisjoint(tags)


@dataclass(frozen=True)
class PageRequest:
    """What the query of a list asks for."""

    size: int
    after: tuple[str, ...] | None
    """The place after which the page begins; None: at the first."""
    tags: TagFilter | None
    path: str
    """As it was called."""
    kept: str
    """What the address of the next page has besides the offset: `&tags=a&size=3`."""


def page_request(
    request: Request, type_name: str, *, places: int = 1, with_filter: bool = True
) -> PageRequest:
    """What a query asks for. Raises EntityError: 7 (offset), 9 (size), 11 (tags).

    `places`: parts of the place of an entity (see `offset_of`); `with_filter`: the list knows `tags`, and the
    address of its next page repeats the parameters.
    """
    query = request.query_params
    kept = ""
    tags = None
    if with_filter and "tags" in query:
        texts = query.getlist("tags")
        tags = tag_filter(texts)
        kept += "".join(f"&tags={quote(text, safe='')}" for text in texts)
    size = DEFAULT_SIZE
    if "size" in query:
        size = page_size(query["size"])
        kept += f"&size={quote(query['size'], safe='')}"
    after = place_of(query["offset"], type_name, places) if "offset" in query else None
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path = raw.decode("ascii", "replace").rstrip("/")
    return PageRequest(size, after, tags, path, kept if with_filter else "")


def page_size(text: str) -> int:
    """The number of entities of a page. Raises EntityError (9)."""
    if not NUMBER.fullmatch(text.strip()):
        raise invalid_size("size must be a number")
    number = float(text)
    if not number.is_integer() or not 1 <= number <= LARGEST_SIZE:
        raise invalid_size(f"size must be an integer between 1 and {LARGEST_SIZE}")
    return int(number)


def tag_filter(texts: Sequence[str]) -> TagFilter:
    """`a,b`: both tags; `a/b`: one of them. Repeated parameters must all fit. Raises EntityError (11)."""
    text = ",".join(texts)
    if not text:
        raise invalid_options({"tags": "cannot be null"})
    separator = "/" if "/" in text else ","
    tags = tuple(text.split(separator))
    if ("," in text and "/" in text) or not any(tags):
        raise invalid_options({"tags": "invalid filter syntax"})
    if len(tags) > MOST_TAGS:
        raise invalid_options({"tags": f"cannot query more than {MOST_TAGS} tags"})
    return TagFilter(frozenset(tags), every=separator == ",")


def offset_of(type_name: str, place: Sequence[str]) -> str:
    """The offset of what follows a place: the values that a list is sorted by, the last one unique."""
    before = "|".join(place[:-1]) or "*"
    text = f"{type_name}|{WORKSPACE}|{before}|{place[-1]}\0"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(offset: str, type_name: str, places: int) -> tuple[str, ...]:
    """The place that an offset stands for. Raises EntityError (7)."""
    try:
        data = offset.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=").encode("ascii")
        text = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise invalid_offset(offset, "bad base64 encoding") from None
    middle = max(places - 1, 1)
    parts = text.decode("utf-8", "replace").split("|", middle + 2)
    if len(parts) != middle + 3 or parts[0] != type_name or not parts[-1].endswith("\0"):
        # Kong's offsets are JSON in a database, and this is its text for one that is not from it.
        raise invalid_offset(offset, "bad json encoding")
    last = parts[-1][:-1]
    return (last,) if places == 1 else (*parts[2 : 2 + middle], last)


def page_of(
    request: PageRequest,
    type_name: str,
    found: Sequence[Any],
    place: Callable[[Any], Sequence[str]],
    shown: Callable[[Any], Any],
) -> dict[str, Any]:
    """A page of `found`, which holds one more than the page when there are more: `place` is that of an item,
    `shown` its form in the answer."""
    items = found[: request.size]
    answer: dict[str, Any] = {"data": [shown(item) for item in items], "next": None}
    if len(found) > request.size:
        offset = offset_of(type_name, place(items[-1]))
        answer["offset"] = offset
        answer["next"] = f"{request.path}?offset={offset}{request.kept}"
    return answer

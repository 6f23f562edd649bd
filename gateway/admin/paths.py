"""Which endpoint a request's path is for.

A path is looked at as it was sent: split at its slashes first, percent-decoded afterwards, so that an encoded
slash or percent sign is part of a name and not of the path's structure (RFC 3986 §2.4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

T = TypeVar("T")


class UnreadablePath(Exception):
    """A path that is not valid UTF-8 when it is decoded."""


@dataclass
class _Place(Generic[T]):
    """A point in the tree of paths: what is here, and what follows."""

    found: T | None = None
    parameters: tuple[str, ...] = ()
    words: dict[str, _Place[T]] = field(default_factory=dict)
    any_word: _Place[T] | None = None


class PathTable(Generic[T]):
    """Paths such as `/services/{services}/routes` and what they stand for. Looking one up takes as long as
    the path is, however many there are."""

    def __init__(self) -> None:
        self._root: _Place[T] = _Place()

    def add(self, path: str, found: T) -> None:
        """Put a path into the table. The same parameter may have other names in other paths."""
        place = self._root
        parameters: list[str] = []
        for segment in _segments_of(path):
            if segment.startswith("{") and segment.endswith("}"):
                parameters.append(segment[1:-1])
                place.any_word = place.any_word or _Place()
                place = place.any_word
            else:
                place = place.words.setdefault(segment, _Place())
        place.found = found
        place.parameters = tuple(parameters)

    def find(self, segments: list[str]) -> tuple[T, dict[str, str]] | None:
        """What a path stands for, with its parameters. Words go before parameters: `/targets/all` is not a
        target."""
        return _find(self._root, segments, 0, [])


def _find(
    place: _Place[T], segments: list[str], position: int, values: list[str]
) -> tuple[T, dict[str, str]] | None:
    if position == len(segments):
        if place.found is None:
            return None
        return place.found, dict(zip(place.parameters, values, strict=True))
    segment = segments[position]
    word = place.words.get(segment)
    if word is not None and (result := _find(word, segments, position + 1, values)):
        return result
    if place.any_word is not None and segment:
        return _find(place.any_word, segments, position + 1, [*values, segment])
    return None


def _segments_of(path: str) -> list[str]:
    return path[1:].split("/") if len(path) > 1 else []


def path_segments(scope: Scope) -> list[str]:
    """The decoded segments of a request's path; one slash at the end is tolerated. Raises UnreadablePath."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if not raw.startswith(b"/"):
        return ["", ""]  # `OPTIONS *` is no path
    if len(raw) > 1 and raw.endswith(b"/"):
        raw = raw[:-1]
    if raw == b"/":
        return []
    try:
        return [unquote_to_bytes(segment).decode() for segment in raw[1:].split(b"/")]
    except UnicodeDecodeError:
        raise UnreadablePath from None

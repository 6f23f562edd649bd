"""The logic of the client without input and output: which requests are sent, and when one is sent again.

A piece of logic is a generator of `Steps`. It yields what it needs (a `Call` to be sent, a `Pause` to be
waited) and is given what came of it. `drivers` has the two loops, one blocking and one awaiting, that do what
is asked for; so everything else is written once for both clients.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import orjson

from gateway.client.errors import NotUnderstood, Unreachable, refusal

T = TypeVar("T")

REPEATABLE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
"""Asking twice is as good as asking once (RFC 9110 §9.2.2)."""
BUSY = frozenset((429, 503))
"""Statuses that mean "not now"."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the Admin API."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool | None = None
    """Whether it may be sent again when it is not known what became of it; None: the method tells."""

    @property
    def may_be_repeated(self) -> bool:
        """Whether sending it twice does no harm."""
        return self.method in REPEATABLE_METHODS if self.repeatable is None else self.repeatable


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes

    def json(self) -> Any:
        """The decoded body; None when there is none. Raises NotUnderstood."""
        if not self.content:
            return None
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            start = self.content[:80].decode("utf-8", "replace")
            raise NotUnderstood(
                f"this is no Admin API: it answered {self.status} with no JSON: {start!r}"
            ) from None


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing came back."""

    reason: str
    was_sent: bool
    """Whether the request, or a part of it, may have reached the other side."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Time to wait."""

    seconds: float


Steps: TypeAlias = "Generator[Call | Pause, Answer | Failure | None, T]"


@dataclass(frozen=True, slots=True)
class Retries:
    """When a request is sent again. Times in seconds."""

    most: int = 4
    """How often, besides the first time; 0: never."""
    first_pause: float = 0.1
    """It doubles each time; a random part, up to a half, is taken off so that not all come at once."""
    longest_pause: float = 5.0
    """A `Retry-After` beyond this is not waited for: the answer is told."""

    def pause(self, number: int, asked_for: float | None) -> float | None:
        """How long to wait before the retry with that number (from 0); None: do not."""
        if number >= self.most or (asked_for or 0.0) > self.longest_pause:
            return None
        planned = min(self.first_pause * 2.0**number, self.longest_pause)
        return max(planned * random.uniform(0.5, 1.0), asked_for or 0.0)


def perform(call: Call, retries: Retries, address: str) -> Steps[Answer]:
    """Send a request until there is an answer to give. Raises Unreachable.

    A request that may not be repeated is sent again only where it cannot have had an effect: when no
    connection came about, or when it was turned away with 429.
    """
    number = 0
    while True:
        outcome = yield call
        assert outcome is not None, "a call has an outcome"
        asked_for = None
        if isinstance(outcome, Answer):
            if outcome.status not in BUSY or not (call.may_be_repeated or outcome.status == 429):
                return outcome
            asked_for = retry_after(outcome.headers)
        elif outcome.was_sent and not call.may_be_repeated:
            raise Unreachable(address, outcome.reason, was_sent=True)
        pause = retries.pause(number, asked_for)
        if pause is None:
            if isinstance(outcome, Answer):
                return outcome
            raise Unreachable(address, outcome.reason, was_sent=outcome.was_sent)
        yield Pause(pause)
        number += 1


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a `Retry-After`; None without one, or when it is a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() else None


def accepted(answer: Answer) -> Answer:
    """The answer, when it is not a refusal. Raises Refused, or NotUnderstood for one in an unknown form."""
    if answer.status < 400:
        return answer
    # Some of Kong's refusals, such as 415, have an HTML body or none.
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    document = answer.json() if is_json else {}
    raise refusal(answer.status, document if isinstance(document, dict) else {})


def json_call(method: str, path: str, document: Any = None, query: Mapping[str, str] | None = None) -> Call:
    """A request with a JSON body; without one when `document` is None."""
    if document is None:
        return Call(method, path, query or {})
    return Call(method, path, query or {}, orjson.dumps(document), "application/json")

"""What can go wrong when the Admin API is asked for something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Every error of this client is one of these. The text is for people."""


class Unreachable(ClientError):
    """Nobody answered: no listener, no route, a time limit, a broken connection. What was asked for may have
    happened when the connection broke after the request was sent (`was_sent`)."""

    def __init__(self, address: str, reason: str, *, was_sent: bool) -> None:
        super().__init__(f"the Admin API at {address} cannot be reached: {reason}")
        self.address = address
        self.reason = reason
        self.was_sent = was_sent


class NotUnderstood(ClientError):
    """The answer is none of an Admin API: something else listens there."""


class Refused(ClientError):
    """The Admin API said no. `code`, `name` and `fields` are Kong's, where the answer has them."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        self.status = status
        self.answer = answer
        """The whole answer."""
        self.message = str(answer.get("message") or f"the answer has status {status}")
        self.code: int | None = answer.get("code")
        self.name: str | None = answer.get("name")
        self.fields: Mapping[str, Any] = answer.get("fields") or {}
        """What is wrong, by field."""
        super().__init__(self.message)


class NotFound(Refused):
    """404: there is no such entity, or no such path."""


class NotAllowed(Refused):
    """401 or 403: the token is missing, wrong, or only good for reading."""


class Conflict(Refused):
    """409: another entity has a value that must be unique."""


_BY_STATUS: Mapping[int, type[Refused]] = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict}


def refusal(status: int, answer: Mapping[str, Any]) -> Refused:
    """The error for an answer of that status."""
    return _BY_STATUS.get(status, Refused)(status, answer)

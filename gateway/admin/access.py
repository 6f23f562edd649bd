"""Who may use the Admin API: tokens, and how those who guess them are slowed down.

Without ADMIN_TOKEN and ADMIN_READ_TOKEN whoever reaches a listener may do everything, as in Kong. With one of
them every request shows a token, in `Kong-Admin-Token` or as `Authorization: Bearer`.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response
from starlette.types import Scope

from gateway.entities.masking import hide_in_path
from gateway.settings import Settings
from gateway.settings.tokens import MOST_BYTES, AdminToken, token_digest

from .paths import UnreadablePath, path_segments
from .responses import message_response

log = logging.getLogger(__name__)

CALLER = "sluicegate.caller"
"""where a request's scope has its Caller"""
READING = frozenset(("GET", "HEAD", "OPTIONS"))
QUESTION = "explain"
"""the first segment of a path whose POST asks something and changes nothing"""
REALM = 'Bearer realm="admin"'
WHOLE_CONFIGURATION = "config"
"""the first segment of the path that shows every entity with its secrets, in one text"""


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    kind: Literal["admin", "read", "anonymous"]
    """which sort of token was shown; none is needed from "anonymous" """
    name: str
    """of the token; empty for one without a name"""
    address: str

    @property
    def sees_secrets(self) -> bool:
        """Whether keys and passwords are part of what this caller is shown."""
        return self.kind != "read"


class Refused(Exception):
    """A request that goes no further, with its answer."""

    def __init__(self, response: Response, reason: str, caller: Caller | None = None) -> None:
        """`caller`: where it is known who sent the request."""
        super().__init__(reason)
        self.response = response
        self.caller = caller


class Access:
    """Tells who a caller is and what that caller may do."""

    def __init__(self, settings: Callable[[], Settings], guesses: Guesses | None = None) -> None:
        """`settings` gives the current ones."""
        self._settings = settings
        self._guesses = guesses or Guesses()

    async def admit(self, scope: Scope) -> Caller:
        """The caller of a request. Raises Refused (401, 403, 429)."""
        settings = self._settings()
        address = client_address(scope)
        if not settings.admin_token and not settings.admin_read_token:
            return Caller("anonymous", "", address)
        if is_preflight(scope):
            # A browser asks so without the token, before it sends the request of an allowed page with it.
            return Caller("anonymous", "", address)
        if self._guesses.are_too_many(address):
            # Not even looked at: an answer at once would make guessing fast again.
            raise Refused(
                message_response(429, "too many wrong tokens from this address", {"Retry-After": "1"}),
                "too many wrong tokens",
            )
        caller = identify(scope, settings, address)
        if caller is None:
            shown = bool(shown_tokens(scope))
            reason = "wrong token" if shown else "no token"
            count = self._guesses.note(address, guessed=shown)
            if count <= Guesses.AT_ONCE or count % 100 == 0:
                path = hide_in_path(scope["path"])
                log.warning(
                    "Admin API: %s from %s (%d in a row): %s %s",
                    reason,
                    address,
                    count,
                    scope["method"],
                    path,
                )
            if shown:  # without a token nothing was guessed
                await self._guesses.wait(address)
            raise Refused(unauthorized(shown), reason)
        if caller.kind == "read":
            refuse_to_reader(scope, caller)
        return caller


def identify(scope: Scope, settings: Settings, address: str) -> Caller | None:
    """The caller that a request's token stands for; None without exactly one right token."""
    shown = shown_tokens(scope)
    # Two different ones: whoever put the second one there may not be whom the first one belongs to.
    if len(shown) != 1:
        return None
    (secret,) = shown
    digest = token_digest(secret[: MOST_BYTES + 1])
    admin = matching(digest, settings.admin_token)
    read = matching(digest, settings.admin_read_token)
    if admin is not None:
        return Caller("admin", admin.name, address)
    return Caller("read", read.name, address) if read is not None else None


def matching(digest: bytes, tokens: tuple[AdminToken, ...]) -> AdminToken | None:
    """The token with that digest. Takes the same time whichever it is, and whether there is one."""
    found = None
    for token in tokens:
        if hmac.compare_digest(digest, token.digest):
            found = token
    return found


def shown_tokens(scope: Scope) -> set[bytes]:
    """The different tokens that a request shows, empty ones left out."""
    shown = set()
    for name, value in scope["headers"]:
        if name == b"kong-admin-token":
            shown.add(value.strip())
        elif name == b"authorization":
            scheme, _, rest = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                shown.add(rest.strip())
    return shown - {b""}


def refuse_to_reader(scope: Scope, caller: Caller) -> None:
    """Raise Refused for what a token of ADMIN_READ_TOKEN is not good for."""
    if scope["method"] not in READING and not is_path(scope, QUESTION):
        raise Refused(message_response(403, "this token may only read"), "a token that may only read", caller)
    if is_path(scope, WHOLE_CONFIGURATION) and scope["method"] != "OPTIONS":
        text = "this token may not read the whole configuration, which holds secrets"
        raise Refused(message_response(403, text), "a token that may not see secrets", caller)


def is_path(scope: Scope, first: str) -> bool:
    """Whether a request's path begins with this segment, however it is encoded."""
    try:
        return path_segments(scope)[:1] == [first]
    except UnreadablePath:
        return False


def unauthorized(shown: bool) -> Response:
    """The answer to a request without a token, or with a wrong one (`shown`)."""
    if shown:
        headers = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
        return message_response(401, "Unauthorized", headers)
    return message_response(401, "No admin token found in request", {"WWW-Authenticate": REALM})


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what a page of another origin may do."""
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names


def client_address(scope: Scope) -> str:
    """The address that a request came from; "unix" for a unix socket."""
    client = scope.get("client")
    return str(client[0]) if client and client[0] else "unix"


@dataclass
class Guesser:
    """An address from which wrong tokens, or none, come."""

    wrong: int = 0
    missing: int = 0
    last: float = 0.0
    waiting: int = 0
    """requests that wait for their refusal"""


class Guesses:
    """Wrong tokens by address. After a few, each refusal takes a second, only a few are waited for at once.

    So many guesses a second an address has, while others notice nothing of it.
    """

    AT_ONCE = 5
    """wrong tokens that are refused at once"""
    DELAY = 1.0
    """seconds until a refusal after that"""
    MOST_WAITING = 8
    """requests of one address that wait for their refusal; more are not looked at"""
    MOST_WAITING_TOGETHER = 512
    """of all addresses; more are not looked at, but from addresses that guessed no more than a few times"""
    FORGOTTEN_AFTER = 60.0
    """seconds without a wrong token"""
    MOST_ADDRESSES = 4096
    """those that were heard of least recently are forgotten first"""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guessers: OrderedDict[str, Guesser] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._guessers)

    def are_too_many(self, address: str) -> bool:
        """Whether requests of an address are not to be looked at now."""
        known = self._guessers.get(network(address))
        if known is None:
            return False
        crowded = self._waiting >= self.MOST_WAITING_TOGETHER and known.wrong > self.AT_ONCE
        return crowded or known.waiting >= self.MOST_WAITING

    def note(self, address: str, *, guessed: bool) -> int:
        """Note a wrong token (`guessed`), or a request without one; how many there were lately."""
        key = network(address)
        known = self._guessers.setdefault(key, Guesser())
        now = self._clock()
        if now - known.last > self.FORGOTTEN_AFTER:
            known.wrong = known.missing = 0
        known.last = now
        self._guessers.move_to_end(key)
        while len(self._guessers) > self.MOST_ADDRESSES:
            self._guessers.popitem(last=False)
        if guessed:
            known.wrong += 1
            return known.wrong
        known.missing += 1
        return known.missing

    async def wait(self, address: str) -> None:
        """Return when the sender of a wrong token may be told."""
        known = self._guessers.get(network(address))
        if known is None or known.wrong <= self.AT_ONCE:
            return
        known.waiting += 1
        self._waiting += 1
        try:
            await asyncio.sleep(self.DELAY)
        finally:
            known.waiting -= 1
            self._waiting -= 1


def network(address: str) -> str:
    """What counts as one address: of IPv6 the first half, all of which one guest of a network may have."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return address

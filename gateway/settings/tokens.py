"""The form of the settings ADMIN_TOKEN and ADMIN_READ_TOKEN: secrets that callers of the Admin API show.

Several tokens are given while one replaces another, or where every caller has a name of its own in the audit
log: `old-secret, ci:another-secret, file:/run/secrets/admin-tokens`.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.settings.values import Kind

MOST_BYTES = 1024
"""of a token"""
WEAK_BELOW = 16
"""characters; a shorter token can be guessed"""

_FROM_FILE = "file"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SECRET = re.compile(r"[!-9;-~]+")


@dataclass(frozen=True)
class AdminToken:
    """One token. The secret itself is not kept: what is compared are digests, which have one length."""

    name: str
    """under which the audit log has its user; empty for a token without one"""
    digest: bytes = field(repr=False)
    """sha256 of the secret"""
    is_weak: bool = False


def token_digest(secret: bytes) -> bytes:
    """The form in which secrets are compared."""
    return hashlib.sha256(secret).digest()


def first_secret(text: str) -> str | None:
    """The secret that a client shows which has the gateway's own setting: that of the first token; None when
    there is none. Raises ValueError when the file that is named cannot be read."""
    return next((word.rpartition(":")[2] for word in _words(text)), None)


def _parse_tokens(text: str) -> tuple[AdminToken, ...]:
    tokens = tuple(_token(word) for word in _words(text))
    if len({token.digest for token in tokens}) < len(tokens):
        raise ValueError("a token appears twice")
    return tokens


def _words(text: str) -> Iterator[str]:
    for word in filter(None, map(str.strip, text.split(","))):
        kind, colon, place = word.partition(":")
        if colon and kind == _FROM_FILE:
            yield from _lines(Path(place))
        else:
            yield word


def _lines(path: Path) -> Iterator[str]:
    """The tokens of a file: one per line, blank lines and lines that begin with # left out."""
    if not path.is_absolute():
        raise ValueError("the path of a file of tokens must be absolute")
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} holds characters that a token cannot have") from None
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        # Rather no start than an Admin API that is open because a secret was not mounted.
        raise ValueError(f"the file {path} holds no token")
    yield from found


def _token(word: str) -> AdminToken:
    name, colon, secret = word.partition(":")
    if not colon:
        name, secret = "", word
    elif not _NAME.fullmatch(name):
        raise ValueError("the name before the colon is not a word of letters, digits and ._-")
    if not _SECRET.fullmatch(secret) or len(secret) > MOST_BYTES:
        raise ValueError("a token has characters that are not allowed, or is too long")
    return AdminToken(name, token_digest(secret.encode("ascii")), len(secret) < WEAK_BELOW)


def _parse_one_token(text: str) -> AdminToken | None:
    tokens = _parse_tokens(text)
    if len(tokens) > 1:
        raise ValueError("there can be one token only")
    return tokens[0] if tokens else None


TOKENS = Kind(
    _parse_tokens,
    "nothing, or a comma-separated list of tokens (visible ASCII without comma and colon, at most "
    f"{MOST_BYTES} characters), each as '<token>', '<name>:<token>', or 'file:<absolute path>' of a file "
    "with one on each line",
)
ONE_TOKEN = Kind(
    _parse_one_token,
    "nothing, or a token (visible ASCII without comma and colon, at most "
    f"{MOST_BYTES} characters), or 'file:<absolute path>' of a file that holds it",
)

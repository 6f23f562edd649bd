"""What the authentication plugins share off the request path."""

from __future__ import annotations


def challenge(scheme: str, realm: str | None) -> str:
    """The value of WWW-Authenticate: the scheme, and the realm when there is one."""
    if realm is None:
        return scheme
    # a quoted-string of RFC 9110 §5.6.4
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'{scheme} realm="{quoted}"'

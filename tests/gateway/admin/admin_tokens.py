"""Tokens to ask the Admin API with."""

from __future__ import annotations

ADMIN = "admin-token-0123456789"
READER = "reader-token-0123456789"
TOKENS = {"admin_token": ADMIN, "admin_read_token": READER}
BOB = b'{"_format_version":"3.0","consumers":[{"username":"bob","keyauth_credentials":[{"key":"sesame"}]}]}'
JSON = ("Content-Type", "application/json")


def by_header(token: str) -> list[tuple[str, str]]:
    return [("Kong-Admin-Token", token)]


def by_bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]

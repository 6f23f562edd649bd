"""What is declared of a setting."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from gateway.settings.values import Kind


class Scope(enum.StrEnum):
    """When a changed setting takes effect."""

    LIVE = "live"
    """at a reload, in the running workers"""
    WORKERS = "workers"
    """at a reload, which replaces the workers; the old ones finish their requests"""
    RESTART = "restart"
    """only when the gateway is started again"""


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What is known of a setting apart from its value."""

    name: str
    """of the attribute; `GATEWAY_` and the name in capitals is the environment variable"""
    kind: Kind
    default: str | Callable[[], str]
    scope: Scope
    meaning: str
    kong_names: tuple[str, ...]
    """further names that Kong has for it, besides its own (lower case)"""
    secret: bool
    performance: bool = False
    """whether speed or capacity depend on it: docs/tuning.md then says how much, with a measurement"""

    def default_text(self) -> str:
        """The text used when the setting is given nowhere."""
        return self.default if isinstance(self.default, str) else self.default()


def setting(
    kind: Kind,
    default: str | Callable[[], str],
    scope: Scope,
    meaning: str,
    *,
    kong: tuple[str, ...] = (),
    secret: bool = False,
    performance: bool = False,
) -> Any:
    """A field of `Settings`; the arguments are those of its Declaration, `kong` its further names."""
    declaration = Declaration("", kind, default, scope, meaning, kong, secret, performance)
    return dataclasses.field(metadata={"declaration": declaration}, repr=not secret)

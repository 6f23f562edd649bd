"""Options that most commands share, and how commands speak."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

Conf = Annotated[Path | None, typer.Option("--conf", "-c", help="Conf file.", show_default=False)]
Prefix = Annotated[
    Path | None, typer.Option("--prefix", "-p", help="Run directory, instead of PREFIX.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated.", show_default=False),
]


def fail(*lines: str) -> NoReturn:
    """End the command with exit code 1 and these lines on standard error; the first one after 'Error:'."""
    print(f"Error: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr)
    raise SystemExit(1)


def warn(lines: Sequence[str]) -> None:
    """Print warnings on standard error."""
    for line in lines:
        print(f"Warning: {line}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Invocation:
    """How a command was called: what it says about the settings."""

    conf: Path | None
    flags: Mapping[str, str]
    """by setting name"""

    @classmethod
    def of(
        cls,
        conf: Path | None,
        prefix: Path | None,
        override: Sequence[str] | None,
        named: Mapping[str, str | None] | None = None,
    ) -> "Invocation":
        """From the options. Ends the command for a --set that is not NAME=VALUE."""
        flags = {}
        for item in override or ():
            name, equals, value = item.partition("=")
            if not equals:
                fail(f"--set {item}: expected NAME=VALUE")
            flags[name.strip().lower()] = value
        flags |= {name: value for name, value in (named or {}).items() if value is not None}
        if prefix:
            flags["prefix"] = str(prefix)
        return cls(conf, flags)

    def prefix(self) -> Path:
        """The run directory, found even when other settings are wrong."""
        from gateway.settings import find_prefix

        return find_prefix(self.conf, os.environ, self.flags)

"""Options that most commands share, and how commands speak."""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click


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

    def with_flags(self, named: Mapping[str, str | None]) -> "Invocation":
        """The same with the settings that a command has options of their own for, where they were given."""
        given = {name: value for name, value in named.items() if value is not None}
        return Invocation(self.conf, {**self.flags, **given})

    def prefix(self) -> Path:
        """The run directory, found even when other settings are wrong."""
        from gateway.settings import SettingsError, find_prefix

        try:
            return find_prefix(self.conf, os.environ, self.flags)
        except SettingsError as error:
            fail(*error.problems)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --conf, --prefix and --set; it gets them as its argument `invocation`."""

    @click.option("--conf", "-c", metavar="FILE", help="Conf file.")
    @click.option("--prefix", "-p", metavar="DIRECTORY", help="Run directory, instead of PREFIX.")
    @click.option(
        "--set", "overrides", multiple=True, metavar="NAME=VALUE", help="A setting; may be repeated."
    )
    @functools.wraps(command)
    def wrapped(conf: str | None, prefix: str | None, overrides: Sequence[str], **others: Any) -> None:
        flags = {}
        for item in overrides:
            name, equals, value = item.partition("=")
            if not equals:
                fail(f"--set {item}: expected NAME=VALUE")
            flags[name.strip().lower()] = value
        if prefix:
            flags["prefix"] = prefix
        command(Invocation(Path(conf) if conf else None, flags), **others)

    return wrapped

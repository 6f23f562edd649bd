"""Reading and writing declarative files for commands."""

import os
import sys
from pathlib import Path

from gateway.cli.options import fail
from gateway.cli.python_plugins import know_plugins
from gateway.store import DeclarativeError, Parsed, parse_declarative

STDIN = STDOUT = Path("-")


def read_file(file: Path, problem: str = "{file} is not valid:") -> Parsed:
    """What a declarative file holds; `-` is standard input. With a mistake in it the command ends with
    `problem` and every error on a line."""
    try:
        text = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}")
    know_plugins()
    try:
        return parse_declarative(text, source="standard input" if file == STDIN else str(file))
    except DeclarativeError as error:
        fail(problem.format(file=file), *error.lines())


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, since secrets are in it: all of it or nothing."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
            temporary.replace(file)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")

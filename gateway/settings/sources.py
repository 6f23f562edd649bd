"""Where settings come from: a conf file, the environment, flags; and how those are recorded for a reload.

A running gateway reads its settings again at each reload, from the same places. `gateway reload` may come
from another shell with other variables and flags: they are laid over those of the start, and the result is
recorded in the prefix (`settings.json`, readable by the owner only), where the master reads it when it is
told to reload.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.run_directory import open_new

ENVIRONMENT_PREFIXES = ("GATEWAY_", "KONG_")
CONF_LOCATIONS = (
    Path("/etc/gateway/gateway.conf"),
    Path("/etc/kong/kong.conf"),
    Path("/etc/kong.conf"),
)
"""searched in this order when no conf file is named"""
RECORD_NAME = "settings.json"
PATHS = (
    *("prefix", "declarative_config", "dns_hostsfile"),
    *("_ssl_cert", "_ssl_cert_key", "admin_ssl_client_ca"),
)
"""ends of the names of settings whose relative paths count from the directory of the start"""


class ConfError(Exception):
    """A conf file that cannot be read; str() says which and why."""


@dataclasses.dataclass(frozen=True)
class Given:
    """A setting's text and where it was found."""

    text: str
    origin: str


@dataclasses.dataclass(frozen=True)
class Sources:
    """Places to read settings from. Relative paths in values count from `directory`."""

    conf: Path | None
    environ: Mapping[str, str]
    """only variables that begin with GATEWAY_ or KONG_"""
    flags: Mapping[str, str]
    """by setting name in lower case"""
    directory: Path

    @classmethod
    def collect(cls, conf: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> "Sources":
        """The sources of a command: its --conf, the environment it runs in, its flags."""
        chosen = {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_PREFIXES)}
        named = conf or (Path(chosen["GATEWAY_CONF"]) if chosen.get("GATEWAY_CONF") else None)
        lowered = {name.lower().removeprefix("gateway_"): value for name, value in flags.items()}
        return cls(named.absolute() if named else None, chosen, lowered, Path.cwd())

    def conf_file(self) -> Path | None:
        """The conf file that is read: the named one, or the first that exists of the usual ones."""
        if self.conf:
            return self.conf
        return next((path for path in CONF_LOCATIONS if path.is_file()), None)

    def overlaid(self, newer: "Sources") -> "Sources":
        """These sources with those of a later command on top."""
        return Sources(
            newer.conf or self.conf,
            {**self.environ, **newer.environ},
            {**self.flags, **newer.flags},
            self.directory,
        )

    def absolute(self) -> "Sources":
        """The same with paths in the environment and in flags made absolute: to be read from another
        directory.
        """
        return Sources(self.conf, self._resolved(self.environ), self._resolved(self.flags), self.directory)

    def _resolved(self, texts: Mapping[str, str]) -> dict[str, str]:
        resolved = dict(texts)
        for name, text in texts.items():
            is_path = name.lower().endswith(PATHS)
            if is_path and text and not text.startswith("~"):
                resolved[name] = str(self.directory / text)
        return resolved

    def record(self, prefix: Path) -> None:
        """Write them into the prefix. Only the owner may read the file: values may be secrets."""
        document = {
            "conf": str(self.conf) if self.conf else None,
            "environ": dict(self.environ),
            "flags": dict(self.flags),
            "directory": str(self.directory),
        }
        target = prefix / RECORD_NAME
        temporary = target.with_suffix(f".{os.getpid()}")
        with os.fdopen(open_new(temporary, 0o600), "w", encoding="utf-8") as file:
            json.dump(document, file)
            if os.geteuid() == 0:
                _let_the_gateway_read(file.fileno(), prefix, target)
        temporary.replace(target)

    @classmethod
    def recorded(cls, prefix: Path) -> "Sources | None":
        """The recorded sources of a prefix; None when there are none that can be read."""
        try:
            document: Any = json.loads((prefix / RECORD_NAME).read_text(encoding="utf-8"))
            return cls(
                Path(document["conf"]) if document["conf"] else None,
                document["environ"],
                document["flags"],
                Path(document["directory"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _let_the_gateway_read(descriptor: int, prefix: Path, target: Path) -> None:
    """Root writes the record of a gateway that runs as somebody else: as owner of the prefix, or as USER."""
    owner = prefix.stat()
    if owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    elif target.exists():
        recorded = target.stat()
        os.fchown(descriptor, recorded.st_uid, recorded.st_gid)
        os.fchmod(descriptor, recorded.st_mode & 0o640)


def read_conf(path: Path) -> dict[str, tuple[str, int]]:
    """Settings of a conf file in Kong's syntax: name -> (text, line number). Raises ConfError.

    A line is `name = value`; `#` starts a comment unless a backslash stands before it; blanks around are
    dropped.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfError(f"the conf file {path} cannot be read: {reason}") from None
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = _without_comment(line).strip()
        if not content:
            continue
        name, equals, value = content.partition("=")
        if not equals or not name.strip():
            raise ConfError(f"{path}:{number}: expected 'name = value', found '{content}'")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip().lower()] = (value, number)
    return found


def _without_comment(line: str) -> str:
    at = line.find("#")
    while at > 0 and line[at - 1] == "\\":
        at = line.find("#", at + 1)
    return (line if at < 0 else line[:at]).replace("\\#", "#")

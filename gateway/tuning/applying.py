"""Putting advice into force: files of our own, and the kernel's values at once. Nothing else is touched.

First everything is planned (`plan_changes`), so that it can be shown; then written (`apply`). A file that is
there and does not begin with our mark is somebody else's. Of one of ours the former content is kept beside it
(`….before`), and what it sets and the advice no longer mentions, because it is in force by now, stays in it:
to apply twice changes nothing.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.run_directory import open_new
from gateway.tuning.advice import Advice
from gateway.tuning.facts import PER_NETWORK, Facts, sysctl_path
from gateway.tuning.presets import (
    DROP_IN,
    ENVIRONMENT,
    LIMITS,
    MARK,
    SYSCTL,
    content,
    fitted_files,
    parse_assignments,
)
from gateway.tuning.profiles import Profile
from gateway.tuning.rules import Area, Verdict

PLACES = {
    ENVIRONMENT: "etc/gateway/gateway.env",
    SYSCTL: "etc/sysctl.d/90-sluicegate.conf",
    DROP_IN: "etc/systemd/system/sluicegate.service.d/tuning.conf",
    LIMITS: "etc/security/limits.d/90-sluicegate.conf",
}
NEEDED = {DROP_IN: "etc/systemd/system", LIMITS: "etc/security/limits.d", SYSCTL: "etc/sysctl.d"}
"""a directory without which nobody would read the file"""
BEFORE = ".before"


class ApplyError(Exception):
    """Something that may not or cannot be written; str() says what, why, and what to do instead."""


@dataclass(frozen=True)
class Change:
    """Something to write."""

    path: Path
    before: str | None
    """None: it is not there yet"""
    after: str
    kernel: bool = False
    """a value of the running kernel, not a file"""


@dataclass(frozen=True)
class Plan:
    """What would be written, and what cannot be, with the reason."""

    changes: tuple[Change, ...]
    refused: tuple[str, ...] = ()


def plan_changes(facts: Facts, profile: Profile, advice: Sequence[Advice], root: Path = Path("/")) -> Plan:
    """What to write below `root` for what is to change. Raises ApplyError for a file that is not ours."""
    wanted = [one for one in advice if one.verdict is Verdict.CHANGE and one.wanted is not None]
    if not wanted:
        return Plan(())
    kernel = {one.name: str(one.wanted) for one in wanted if one.area is Area.KERNEL}
    refused = []
    changes = []
    for name, text in fitted_files(profile, advice).items():
        if name == SYSCTL and (facts.container or not facts.sysctls_writable):
            if kernel:
                refused.append(_for_the_host(facts, kernel))
            continue
        if name in NEEDED and not (root / NEEDED[name]).is_dir():
            continue
        if change := _file_change(root / PLACES[name], name, text):
            changes.append(change)
    if facts.sysctls_writable and not facts.container:
        changes += [
            Change(sysctl_path(root, name), facts.sysctls.get(name), value, kernel=True)
            for name, value in kernel.items()
        ]
    return Plan(tuple(changes), tuple(refused))


def _for_the_host(facts: Facts, kernel: Mapping[str, str]) -> str:
    where = "in a container" if facts.container else "without permission"
    network = " ".join(
        f"--sysctl {name}='{value}'" for name, value in kernel.items() if name.startswith(PER_NETWORK)
    )
    others = ", ".join(
        f"{name} = {value}" for name, value in kernel.items() if not name.startswith(PER_NETWORK)
    )
    parts = [f"kernel settings cannot be changed here ({where})"]
    if network:
        parts.append(
            f"docker run {network}" if facts.container else f"as root: {network.replace('--sysctl ', '')}"
        )
    if others:
        parts.append(f"on the host: {others}")
    return "; ".join(parts)


def _file_change(path: Path, name: str, text: str) -> Change | None:
    """The change of one file; None when it says that already."""
    before = _ours(path)
    if before is not None:
        text = _merged(name, before, text)
    if not parse_assignments(text) and name in (ENVIRONMENT, SYSCTL) and before is None:
        return None
    return None if text == before else Change(path, before, text)


def _ours(path: Path) -> str | None:
    """The content of a file of ours, None when there is none. Raises ApplyError when it is another's."""
    if not path.is_symlink() and not path.exists():
        return None
    try:
        text = "" if path.is_symlink() or not path.is_file() else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text.startswith(MARK):
        raise ApplyError(
            f"{path} is there and was not written by gateway tune: it stays as it is. Move it away first."
        )
    return text


def _merged(name: str, before: str, after: str) -> str:
    """The new content with the assignments that only the old one has."""
    if name not in (ENVIRONMENT, SYSCTL):
        return after
    values = {**parse_assignments(before), **parse_assignments(after)}
    if values == parse_assignments(before):
        return before
    about = after.splitlines()[1].removeprefix("# ")
    equals = "=" if name == ENVIRONMENT else " = "
    return content(name, about, [f"{key}{equals}{value}" for key, value in values.items()])


def apply(plan: Plan) -> list[str]:
    """Write what is planned; returns a line for each thing done.

    Raises ApplyError, before anything is written when something may not be.
    """
    for change in plan.changes:
        _check_writable(change)
    return [_write(change) for change in plan.changes]


def _check_writable(change: Change) -> None:
    place = (
        change.path
        if change.kernel
        else next(parent for parent in (change.path, *change.path.parents) if parent.exists())
    )
    if not os.access(place, os.W_OK):
        raise ApplyError(
            f"cannot write {change.path}: {'needs root' if os.geteuid() else 'it is read-only'}. Run "
            "it as root "
            "(sudo gateway tune --apply), or write the files elsewhere with --output DIRECTORY"
        )


def _write(change: Change) -> str:
    try:
        if change.kernel:
            change.path.write_text(change.after, encoding="utf-8")
            return f"set {change.path}: {change.before} -> {change.after}"
        change.path.parent.mkdir(parents=True, exist_ok=True)
        if change.before is not None:
            write_file(change.path.with_name(change.path.name + BEFORE), change.before)
        write_file(change.path, change.after)
    except OSError as error:
        raise ApplyError(f"cannot write {change.path}: {error.strerror}") from None
    kept = f" (before: {change.path.name}{BEFORE})" if change.before is not None else ""
    return f"wrote {change.path}{kept}"


def write_file(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(open_new(temporary, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_output(directory: Path, profile: Profile, advice: Sequence[Advice]) -> list[str]:
    """Write the files into a directory instead, for somebody else to install. Raises ApplyError."""
    written = []
    for name, text in fitted_files(profile, advice).items():
        path = directory / name
        try:
            _ours(path)
            directory.mkdir(parents=True, exist_ok=True)
            write_file(path, text)
        except OSError as error:
            raise ApplyError(f"cannot write {path}: {error.strerror}") from None
        written.append(f"wrote {path}")
    return written

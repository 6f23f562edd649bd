"""A declarative file on disk that is replaced as a whole: who looks at it sees the old content or the new.

Writers of one file exclude each other by a lock on its directory, which leaves nothing behind there.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.store.check import read_file
from gateway.store.errors import FileUnavailable
from gateway.store.interface import StoreError

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 5.0  # seconds that another gateway may take to write
LOCK_INTERVAL = 0.01


@dataclass(frozen=True, slots=True)
class Content:
    """What was in the file, and the signs by which a later one is told from it."""

    data: bytes
    signs: tuple[int, ...]


class DeclarativeFile:
    """A file that is read, and replaced. Symbolic links are followed; the file they lead to is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check_writable(self) -> None:
        """Raise StoreError when the file could not be replaced."""
        target = self._target()
        directory = target.parent
        setting = f"DECLARATIVE_WRITABLE: {self.path}"
        if not target.is_file():
            raise StoreError(f'{setting}: no such file (`_format_version: "3.0"` is enough to begin with)')
        if _is_mount_point(target):
            raise StoreError(
                f"{setting} is a mount point and cannot be replaced: mount the directory {directory} instead"
            )
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreError(
                f"{setting} cannot be replaced: this user may not write to the directory {directory}"
            )

    def read(self) -> Content:
        """The content of the file. Raises DeclarativeError."""
        while True:
            before = self._signs()
            data = read_file(self.path)
            if before == self._signs():
                return Content(data, before)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other gateways from writing the file. Raises FileUnavailable."""
        directory = self._target().parent
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise FileUnavailable(f"{directory} cannot be locked: {problem.strerror}") from None
        try:
            _lock(descriptor, directory)
            self._remove_leftovers()
            yield
        finally:
            os.close(descriptor)

    def replace(self, data: bytes, before: Content) -> Content | None:
        """Make `data` the content; only inside of `locked()`. None when the file is not any more what it was
        `before`. Raises FileUnavailable: then the file is what it was."""
        target = self._target()
        temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            _write(temporary, data, target)
            if self._signs() != before.signs:
                return None  # an editor does not know our lock
            temporary.replace(target)
            _sync(target.parent)
        except OSError as problem:
            raise FileUnavailable(f"{self.path} cannot be written: {problem.strerror}") from None
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return Content(data, self._signs())

    def _target(self) -> Path:
        return Path(os.path.realpath(self.path))

    def _signs(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except (OSError, ValueError):
            return ()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _remove_leftovers(self) -> None:
        """Delete what writers left that were killed: whoever has the lock is the only one."""
        target = self._target()
        for leftover in target.parent.glob(f".{target.name}.*.new"):
            with suppress(OSError):
                leftover.unlink()


def _lock(descriptor: int, directory: Path) -> None:
    end = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise FileUnavailable(f"{directory} is locked by another process") from None
            time.sleep(LOCK_INTERVAL)
        except OSError as problem:
            raise FileUnavailable(f"{directory} cannot be locked: {problem.strerror}") from None


def _write(path: Path, data: bytes, like: Path) -> None:
    """Write a new file with the owner, mode and extended attributes of another one."""
    model = like.stat()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        _take_owner(descriptor, model, like)
        os.fchmod(descriptor, stat.S_IMODE(model.st_mode))
        for name in _attributes(like):
            with suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(like, name))
        os.fsync(descriptor)


def _take_owner(descriptor: int, model: os.stat_result, like: Path) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) == (model.st_uid, model.st_gid):
        return
    try:
        os.fchown(descriptor, model.st_uid, model.st_gid)
    except PermissionError:
        with suppress(OSError):
            os.fchown(descriptor, -1, model.st_gid)
        log.warning("%s belongs to this process's user now: only root can keep its owner", like)


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []


def _sync(directory: Path) -> None:
    """Make a rename outlive a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as problem:  # the content is in place; some file systems cannot do this
        log.warning("%s cannot be synchronised: %s", directory, problem.strerror)
    finally:
        os.close(descriptor)


def _is_mount_point(path: Path) -> bool:
    """Whether a file is mounted by itself, as containers do it."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    wanted = str(path).replace("\\", "\\134").replace(" ", "\\040")
    return any(line.split(" ", 5)[4] == wanted for line in mounts.splitlines())

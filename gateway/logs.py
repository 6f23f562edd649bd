"""The error log: one line per event, in nginx's form, written at once so that processes can share a file.

2026/11/22 10:00:00 [notice] 4711#0: worker 1 (pid 4713) ended by signal 9, starting it again
"""

import os
import re
import time
from pathlib import Path

LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")

NOTICE = 25
"""what an operator wants to see of normal operation; Python's logging has no level for it"""

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
"""what would begin another line, or give orders to a terminal; clients choose the paths in the log"""

LONGEST_TEXT = 16 * 1024
"""characters of a line, more are cut off; a name in it may have millions"""

LOG_MODE = 0o640
"""rights of a new log file: what clients ask for may be secret (tokens in a query)"""

PRIVATE_LOG_MODE = 0o600
"""rights of a new audit log: it tells who does what"""


class ErrorLog:
    """Writes events at or above a level to a descriptor, whose number stays when the file is reopened."""

    def __init__(self, fd: int, level: str = "notice") -> None:
        self.fd = fd
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Write events at or above this level from now on."""
        self.level = LEVELS.index(level)

    def write(self, level: str, text: str) -> None:
        """Write a line if its level is severe enough. A full disk or a closed pipe loses only the line."""
        if LEVELS.index(level) < self.level:
            return
        stamp = time.strftime("%Y/%m/%d %H:%M:%S")
        flat = text.replace("\r", "").replace("\n", "\\n")
        if len(flat) > LONGEST_TEXT:
            flat = f"{flat[:LONGEST_TEXT]}… ({len(flat)} characters)"
        flat = CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found[0]):02x}", flat)
        line = f"{stamp} [{level}] {os.getpid()}#0: {flat}\n".encode(errors="backslashreplace")
        try:
            os.write(self.fd, line)
        except OSError:
            pass

    def info(self, text: str) -> None:
        """Write an event of little interest."""
        self.write("info", text)

    def notice(self, text: str) -> None:
        """Write an event of normal operation that an operator wants to see."""
        self.write("notice", text)

    def warn(self, text: str) -> None:
        """Write something that works but should not stay so."""
        self.write("warn", text)

    def error(self, text: str) -> None:
        """Write a failure."""
        self.write("error", text)

    def crit(self, text: str) -> None:
        """Write a failure that keeps the gateway from serving."""
        self.write("crit", text)


def open_log(path: Path | None) -> int:
    """A descriptor for a log file, appending; `None` gives /dev/null. Directories are made. Raises OSError.

    /dev/stdout and /dev/stderr give the process's own, which open() could not always (a socket, another
    user's tty).
    """
    own = {Path("/dev/stdout"): 1, Path("/dev/stderr"): 2}.get(path) if path else None
    if own is not None:
        return os.dup(own)
    if path is None:
        return os.open(os.devnull, os.O_WRONLY)
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, LOG_MODE)


def reopen_log(fd: int, path: Path | None) -> None:
    """Make `fd` write to a new file at `path`, after a log rotation renamed the old one. Raises OSError.

    Standard output and error follow where they wrote to the same file, as they do in the background.
    """
    new = open_log(path)
    try:
        old = os.fstat(fd)
        following = [number for number in (1, 2) if os.path.samestat(os.fstat(number), old)]
        os.dup2(new, fd, inheritable=False)
        for number in following:
            os.dup2(new, number)
    finally:
        os.close(new)

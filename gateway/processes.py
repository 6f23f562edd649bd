"""What the processes of a gateway ask of the kernel: names, death with the parent, limits, a lock."""

import ctypes
import errno
import fcntl
import os
import resource
import signal
import struct
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_libc = ctypes.CDLL(None, use_errno=True)


def set_name(name: str) -> None:
    """Name the calling thread for `ps -L` and `top`, 15 bytes. The main thread's name is the process's."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """End the calling process when its parent does (SIGTERM), also when the parent is gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def forbid_new_privileges() -> None:
    """Keep the calling process and its children from ever gaining rights, by a set-uid program for example.

    Raises OSError.
    """
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")


def raise_descriptor_limit(needed: int) -> str | None:
    """Raise RLIMIT_NOFILE to `needed` descriptors per process, above the hard limit where that is allowed.

    Returns None, or a sentence that says what could not be had.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return None
    if hard != resource.RLIM_INFINITY and hard < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
            return None
        except (ValueError, OSError):
            pass
    reachable = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    if reachable == needed:
        return None
    return (
        f"a worker may need {needed} file descriptors (two per connection, WORKER_CONNECTIONS) but this "
        f"process may have {reachable}: raise the limit (ulimit -n, LimitNOFILE=) or lower "
        "WORKER_CONNECTIONS; as it is, clients wait to be accepted when descriptors run short"
    )


class SignalReader:
    """Signals as numbers to be read from a descriptor, so that one poll() waits for them and for everything
    else.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        # Ctrl-C reaches every process of the terminal; the master decides what it means.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def read(self) -> bytes:
        """The signals that came since the last call, one byte each."""
        try:
            return os.read(self.fd, 256)
        except BlockingIOError:
            return b""


class PidFile:
    """The pid file of a prefix. A lock on it, not its content, says whether a gateway runs.

    The lock (POSIX, of the process) ends with the master however it dies, so a left-over file or a process id
    that now belongs to another program is never taken for a running gateway.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self) -> int:
        """Become the gateway of this prefix. Returns 0, or the pid of the gateway that already is."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return self.holder() or self.content() or -1
                raise
            if self._is_current(fd):
                break
            os.close(fd)  # removed by the gateway that held it before: lock the new file
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return 0

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the file and give the lock back."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def close_in_child(self) -> None:
        """Close the inherited descriptor. The lock stays with the master: POSIX locks do not cross a fork."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def holder(self) -> int | None:
        """Pid of the running gateway of this prefix; None when there is none."""
        if self._fd >= 0:
            return os.getpid()
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        finally:
            os.close(fd)
        if kind == fcntl.F_UNLCK:
            return None
        return pid if pid > 0 else self.content()

    def content(self) -> int | None:
        """The pid that the file names, whether or not that process exists."""
        if self._fd >= 0:
            return os.getpid()  # to open and close the file here would give the lock up
        try:
            return int(self.path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

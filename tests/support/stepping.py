"""A process that is gone through instruction by instruction (ptrace of Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from types import TracebackType

TRACE_ME, CONTINUE, SINGLE_STEP = 0, 7, 9

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class NotPermittedError(Exception):
    """This machine does not let a process trace its child."""


class SteppedProcess:
    """A fork that runs a function, which stops itself with SIGSTOP where the steps begin and where they end.

    It is killed in the end, wherever it is.
    """

    def __init__(self, body: Callable[[], None]) -> None:
        self.steps = 0
        self._ended = False
        self.pid = os.fork()
        if not self.pid:
            try:
                if _ptrace(TRACE_ME, 0, None, None) == 0:
                    body()
            finally:
                os._exit(1)
        try:
            if self._wait() != signal.SIGSTOP:
                raise NotPermittedError("it ends at once")
            self.step()
        except NotPermittedError:
            self.kill()
            raise

    def _wait(self) -> int:
        """The signal that has stopped it."""
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status):
            self.pid = 0
            return 0
        return os.WSTOPSIG(status)

    def _go_on(self, request: int) -> int:
        if _ptrace(request, self.pid, None, None) != 0:
            raise NotPermittedError(os.strerror(ctypes.get_errno()))
        return self._wait()

    def step(self, count: int = 1) -> bool:
        """So many instructions. False: it has come to the end of the steps."""
        for _ in range(count):
            if self._ended or self._go_on(SINGLE_STEP) != signal.SIGTRAP:
                self._ended = True
                return False
            self.steps += 1
        return True

    def run_on(self) -> None:
        """All the other steps."""
        if not self._ended:
            self._go_on(CONTINUE)
        self._ended = True

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def __enter__(self) -> SteppedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

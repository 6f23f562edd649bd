"""Run as a script: becomes the given command, pinned to CPUs and ended when the bench ends.

    python -I -S launch.py CPUS COMMAND…        CPUS like "0,1", or "-" for no pinning

The bench starts every process through it. `execvp` keeps the pid, so that the bench watches and signals the
command itself; the parent-death signal makes sure that even a bench killed with SIGKILL leaves nothing
behind. A script of its own, not a `preexec_fn`: that does not mix with threads, and the progress display has
one.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    cpus, command = sys.argv[1], sys.argv[2:]
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # the bench died between our start and the call above
        sys.exit(1)
    if cpus != "-":
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


main()

"""What the processes of a gateway may do: started as root, its children go on as the user that USER names.

The master stays root: it opens ports below 1024 at a reload, starts children again and owns the prefix. Its
children read bytes of strangers, so they give root up right after the fork. What they write is theirs
(snapshots/, control/, ssl/, the log files); the prefix itself is not, so that a child that was taken over
cannot put a link where the master writes.
"""

import os
import stat
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from gateway.logs import LOG_MODE, PRIVATE_LOG_MODE
from gateway.processes import forbid_new_privileges
from gateway.run_directory import RunDirectory
from gateway.settings import Settings
from gateway.settings.accounts import Account
from gateway.settings.sources import RECORD_NAME
from gateway.settings.values import STANDARD_STREAMS

ROOT_WARNING = (
    "all processes run as root: set USER to an ordinary user, as which the workers and the control process "
    "then run; or start the gateway as that user, with CAP_NET_BIND_SERVICE for ports below 1024 "
    "(setcap, or AmbientCapabilities= of systemd)"
)


class AccountError(Exception):
    """The user of the setting USER cannot run a gateway here; str() says why."""


def account_of_children(settings: Settings) -> Account | None:
    """Whom the children are to become; None: they stay what the master is."""
    return settings.user if os.geteuid() == 0 else None


def ids_of_children(settings: Settings) -> tuple[int, int] | None:
    """User id and group id of account_of_children()."""
    account = account_of_children(settings)
    return (account.uid, account.gid) if account else None


def warnings(settings: Settings) -> list[str]:
    """What is to be said at a start about the rights of the processes."""
    if os.geteuid():
        if settings.user is None:
            return []
        return [
            f"USER = '{settings.user}' ({settings.origin('user')}) has no effect: only a gateway that is "
            "started as root can run its workers as another user"
        ]
    if settings.user is None or settings.user.uid == 0:
        return [ROOT_WARNING]
    late = _out_of_reach(settings.user, {Path(path): os.R_OK | os.X_OK for path in _program()})
    if not late:
        return []
    return [
        f"USER = '{settings.user}': this user may not read {', '.join(map(str, late))}, where the program "
        "lies: install it where every user may read, else what is loaded late is missing"
    ]


def _program() -> set[str]:
    return {sysconfig.get_path("stdlib"), str(Path(__file__).parent)}


def lower_rights(account: Account | None) -> None:
    """Become `account`, for good, and never gain rights again (by a set-uid program, say).

    Raises OSError: the process must end then. The kernel forgets PR_SET_PDEATHSIG here.
    """
    if account:
        os.initgroups(account.user, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    forbid_new_privileges()


def hand_over(settings: Settings, account: Account) -> None:
    """Give the user what the children write in the prefix, and let them read what they must.

    Raises AccountError, or OSError.
    """
    directory = RunDirectory(settings.prefix)
    for owned in directory.of_children():
        os.chown(owned, account.uid, account.gid, follow_symlinks=False)
    recorded = settings.prefix / RECORD_NAME
    os.chown(recorded, 0, account.gid, follow_symlinks=False)
    recorded.chmod(0o640)  # the control process reads it at a reload; it may hold secrets
    hand_over_logs([settings], account)
    wanted = dict.fromkeys(directory.of_children(), os.W_OK | os.X_OK)
    read = (
        settings.declarative_config,
        settings.sources.conf_file(),
        *(settings.admin_ssl_cert, settings.admin_ssl_cert_key, settings.admin_ssl_client_ca),
        *(settings.status_ssl_cert, settings.status_ssl_cert_key),
    )
    wanted |= {path: os.R_OK for path in read if path}
    refused = _out_of_reach(account, wanted)
    if refused:
        raise AccountError(
            f"USER = '{account}' ({settings.origin('user')}): this user may not use "
            f"{', '.join(map(str, refused))}; check the rights of each directory on the way there"
        )


def hand_over_logs(of: Iterable[Settings], account: Account) -> None:
    """Make the log files, if they are not there, and give them to the user. Raises OSError.

    Only plain files are: never what a link leads to.
    """
    modes = {path: LOG_MODE for one in of for path in (one.proxy_error_log, one.proxy_access_log) if path}
    modes |= {one.admin_audit_log: PRIVATE_LOG_MODE for one in of if one.admin_audit_log}
    for path, mode in modes.items():
        if path in STANDARD_STREAMS or path.is_symlink() or (path.exists() and not path.is_file()):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, mode)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                os.fchown(descriptor, account.uid, account.gid)
        finally:
            os.close(descriptor)


def _out_of_reach(account: Account, wanted: dict[Path, int]) -> list[Path]:
    """Which paths the user may not use so (os.R_OK, …). Asked of the kernel by a process that is the user."""
    paths = list(wanted)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            lower_rights(account)
            os.write(writer, bytes(os.access(path, wanted[path]) for path in paths))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answers = pipe.read()
    os.waitpid(child, 0)
    if len(answers) < len(paths):
        raise AccountError(f"cannot become the user '{account.user}' (USER)")
    return [path for path, allowed in zip(paths, answers, strict=True) if not allowed]

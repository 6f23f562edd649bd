"""The form of the setting USER: a user of this machine, and a group if another than the user's is meant."""

import grp
import pwd
from dataclasses import dataclass

from gateway.settings.values import Kind


@dataclass(frozen=True)
class Account:
    """Whose rights a process has."""

    user: str
    group: str
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.user} {self.group}"


def _parse_account(text: str) -> Account | None:
    words = text.split()
    if not words:
        return None
    if len(words) > 2:
        raise ValueError
    try:
        user = pwd.getpwnam(words[0])
    except KeyError:
        raise ValueError(f"this machine has no user '{words[0]}'") from None
    try:
        group = grp.getgrnam(words[1]) if len(words) > 1 else None
    except KeyError:
        raise ValueError(f"this machine has no group '{words[1]}'") from None
    gid = group.gr_gid if group else user.pw_gid
    return Account(user.pw_name, group.gr_name if group else _group_name(gid), user.pw_uid, gid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


ACCOUNT = Kind(_parse_account, "the name of a user, or of a user and a group ('nobody nogroup')")

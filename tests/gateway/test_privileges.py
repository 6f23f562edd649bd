"""The setting USER and what is said about it; tests/integration/test_started_as_root.py has the processes."""

import os
import pwd
from pathlib import Path

import pytest

from gateway import privileges
from gateway.privileges import ROOT_WARNING, account_of_children
from gateway.run_directory import write_json
from gateway.settings import Settings, SettingsError, load_settings
from gateway.settings.accounts import Account


def settings(**flags: str) -> Settings:
    return load_settings(None, {}, flags)


def test_a_user_is_taken_with_its_own_group_or_another() -> None:
    entry = pwd.getpwnam("nobody")
    user = settings(user="nobody").user
    assert user
    assert (user.uid, user.gid) == (entry.pw_uid, entry.pw_gid)
    user = settings(user="nobody root").user
    assert user
    assert (user.uid, user.gid, str(user)) == (entry.pw_uid, 0, "nobody root")
    assert settings().user is None


def test_kongs_name_is_honoured() -> None:
    found = load_settings(None, {"KONG_NGINX_USER": "nobody"}, {})
    assert found.user
    assert found.user.user == "nobody"
    assert found.origin("user") == "environment KONG_NGINX_USER"
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no-such-user", "this machine has no user 'no-such-user'"),
        ("nobody no-such-group", "this machine has no group 'no-such-group'"),
        ("nobody root more", "allowed: the name of a user"),
    ],
)
def test_unknown_users_are_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings(user=text)
    (problem,) = error.value.problems
    assert problem.startswith(f"USER = '{text}' (flag)")
    assert reason in problem


def test_without_root_the_setting_has_no_effect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    given = settings(user="nobody", prefix=str(tmp_path))
    assert account_of_children(given) is None
    (warning,) = privileges.warnings(given)
    assert warning.startswith(f"USER = '{given.user}' (flag) has no effect")
    assert privileges.warnings(settings(prefix=str(tmp_path))) == []


def test_root_is_told_to_name_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert privileges.warnings(settings()) == privileges.warnings(settings(user="root")) == [ROOT_WARNING]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / f".state.json.{os.getpid()}").symlink_to(victim)
    write_json(tmp_path / "state.json", {"pid": 1})
    assert victim.read_text() == "untouched"
    assert (tmp_path / "state.json").read_text() == '{"pid": 1}'


def test_logs_behind_a_link_are_not_given_away(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    (tmp_path / "access.log").symlink_to(victim)
    given = settings(prefix=str(tmp_path), proxy_access_log="access.log", proxy_error_log="/dev/stderr")
    before = victim.stat()
    account = Account("somebody", "somebody", before.st_uid + 1, before.st_gid + 1)
    privileges.hand_over_logs([given], account)  # would fail, or change the owner
    assert victim.stat().st_uid == before.st_uid

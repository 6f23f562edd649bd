"""Who may own a prefix, and the rights of what the gateway makes in it."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.logs import open_log
from gateway.run_directory import RunDirectory, UnsafeDirectory, write_json
from gateway.snapshot.files import write_atomically

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make directories of another user")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which everybody may make others, as in /tmp, and only owners remove them."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o1777)
        yield Path(made)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(prefix: Path) -> str:
    """What nobody is told who prepares this prefix; empty: nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setresgid(NOBODY.pw_gid, NOBODY.pw_gid, NOBODY.pw_gid)
            os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)
            RunDirectory(prefix).prepare()
        except BaseException as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(child, 0)
    return told


def test_a_new_prefix_is_the_owners_and_the_groups(place: Path) -> None:
    directory = RunDirectory(place / "new" / "prefix")
    directory.prepare()
    assert mode(directory.prefix) == 0o750
    assert mode(directory.snapshots) == mode(directory.control) == 0o700
    directory.prepare()  # it may be there already
    directory.prefix.chmod(0o777)  # and its owner may open it to others
    directory.prepare()


def test_logs_are_not_for_everybody(tmp_path: Path) -> None:
    os.close(open_log(tmp_path / "access.log"))
    assert mode(tmp_path / "access.log") == 0o640


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_lies_where_a_temporary_is_made_is_not_written_to(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("a.snapshot", "a.json"):
        temporary = tmp_path / f".{name}.{os.getpid()}"
        if kind == "link":
            temporary.symlink_to(victim)
        else:
            temporary.hardlink_to(victim)
        if name == "a.json":
            write_json(tmp_path / name, {})
        else:
            write_atomically(tmp_path / name, b"new")
        assert victim.read_text() == "precious"
        assert not temporary.is_symlink()
    assert mode(tmp_path / "a.snapshot") == 0o600


@needs_root
@pytest.mark.parametrize("foreign", [".", "pids", "link"])
def test_what_belongs_to_another_user_is_refused(place: Path, foreign: str) -> None:
    prefix = place / "prefix"
    if foreign == "link":  # it leads to a directory of ours
        (place / "mine").mkdir(mode=0o750)
        prefix.symlink_to(place / "mine")
        os.chown(prefix, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    else:
        (prefix / foreign).mkdir(parents=True, exist_ok=True)
        os.chown(prefix / foreign, NOBODY.pw_uid, NOBODY.pw_gid)
    with pytest.raises(UnsafeDirectory, match=r"belongs to the user nobody, .* chown root /"):
        RunDirectory(prefix).prepare()
    RunDirectory(prefix).prepare((NOBODY.pw_uid, NOBODY.pw_gid))  # it is the user whom USER names


@needs_root
@pytest.mark.parametrize("foreign", ["pids", "snapshots", "control"])
def test_directories_that_somebody_put_into_a_prefix_are_refused(place: Path, foreign: str) -> None:
    prefix = place / "prefix"
    (prefix / foreign).mkdir(parents=True)
    os.chown(prefix, NOBODY.pw_uid, NOBODY.pw_gid)
    os.chown(prefix / foreign, 12345, 12345)
    assert "belongs to the user 12345" in as_nobody(prefix)


@needs_root
def test_a_prefix_of_root_that_others_may_write_to_is_refused(place: Path) -> None:
    prefix = place / "prefix"
    prefix.mkdir()
    prefix.chmod(0o777)
    told = as_nobody(prefix)
    assert told.startswith(f"more users than its owner, root, may write to {prefix}")
    assert told.endswith(f"chmod go-w {prefix}")
    assert str(prefix / "gateway") in told
    assert as_nobody(prefix / "gateway") == ""
    assert as_nobody(place / "another") == ""


@needs_root
def test_the_group_of_the_children_may_enter_a_new_prefix(place: Path) -> None:
    directory = RunDirectory(place / "prefix")
    directory.prepare((NOBODY.pw_uid, NOBODY.pw_gid))
    found = directory.prefix.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, NOBODY.pw_gid, 0o750)


@needs_root
def test_root_takes_back_what_children_of_an_earlier_start_had(place: Path) -> None:
    directory = RunDirectory(place / "prefix")
    directory.prepare()
    os.chown(directory.snapshots, NOBODY.pw_uid, NOBODY.pw_gid)
    directory.prepare()
    assert directory.snapshots.stat().st_uid == NOBODY.pw_uid  # a gateway may be running there
    directory.take_over()
    assert directory.snapshots.stat().st_uid == 0


def test_each_database_has_its_own_last_known_state(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.replica("one:5432/kong/") == directory.replica("one:5432/kong/")
    assert directory.replica("one:5432/kong/") != directory.replica("two:5432/kong/")

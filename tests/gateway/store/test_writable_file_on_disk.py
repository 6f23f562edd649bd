"""The declarative file that is written: links, full disks, owners, locks, what is wrong at the start."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.store import DeclarativeError, LoadMemory, declarative_file, operations
from gateway.store.declarative_file import DeclarativeFile
from gateway.store.errors import StoreUnavailable
from gateway.store.interface import Operation, Store, StoreError
from gateway.store.source import DeclarativeSource
from gateway.store.writable_file import WritableFileStore
from tests.support.written_file import FILE, File


def test_a_link_leads_to_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "kong.yml"
    target.write_text(FILE)
    target.chmod(0o640)
    link = tmp_path / "kong.yml"
    link.symlink_to(target)
    store = WritableFileStore(DeclarativeSource(path=link), LoadMemory())
    store.open()
    store.transact([_creation("x")])
    assert link.is_symlink()
    assert "name: x" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kong.yml", "kong.yml", "real"]


def _creation(name: str) -> Operation:
    values = {"name": name, "host": "h"}
    return Operation(
        "create", "services", lambda draft: operations.create(draft, ENTITY_TYPES["services"], values)
    )


def test_a_full_disk_changes_nothing(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.store.configuration

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        file.store.transact([_creation("x")])
    assert file.text == FILE
    assert file.store.configuration is before
    assert [path.name for path in file.path.parent.iterdir()] == ["kong.yml"]
    monkeypatch.undo()
    file.store.transact([_creation("x")])
    file.check()


def test_a_read_only_file_system_is_told(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.open

    def read_only(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return original(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StoreUnavailable, match=r"kong\.yml cannot be written: Read-only file system"):
        file.store.transact([_creation("x")])
    assert file.text == FILE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(file: File) -> None:
    os.chown(file.path, 1234, 5678)
    file.store.transact([_creation("x")])
    assert "name: x" in file.text
    assert (file.path.stat().st_uid, file.path.stat().st_gid) == (1234, 5678)


def test_a_file_that_is_mounted_by_itself_is_refused() -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [path for path in (Path(line.split(" ")[4]) for line in lines) if path.is_file()]
    if not mounted:
        pytest.skip("no file is mounted here")
    with pytest.raises(StoreError, match="mount the directory"):
        DeclarativeFile(mounted[0]).check_writable()


def test_a_locked_directory_is_told(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarative_file, "LOCK_TIMEOUT", 0.05)
    descriptor = os.open(file.path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="is locked by another process"):
            file.store.transact([_creation("x")])
    finally:
        os.close(descriptor)
    file.store.transact([_creation("x")])
    file.check()


def test_leftovers_of_killed_writers_are_removed(file: File) -> None:
    (file.path.parent / ".kong.yml.99999.new").write_text("half")
    file.store.transact([_creation("x")])
    assert [path.name for path in file.path.parent.iterdir()] == ["kong.yml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_refused_at_the_start(file: File) -> None:
    file.path.parent.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="may not write to the directory"):
            file.opened()
    finally:
        file.path.parent.chmod(0o755)


def test_a_start_without_a_file_is_refused(tmp_path: Path) -> None:
    for source, text in (
        (DeclarativeSource(), "set DECLARATIVE_CONFIG"),
        (DeclarativeSource(text="_format_version: '3.0'"), "DECLARATIVE_CONFIG_STRING cannot be written"),
        (DeclarativeSource(path=tmp_path / "none.yml"), "no such file"),
        (DeclarativeSource(path=tmp_path), "no such file"),
    ):
        store: Store = WritableFileStore(source, LoadMemory())
        with pytest.raises(StoreError, match=text):
            store.open()


def test_a_broken_file_at_the_start_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kong.yml"
    path.write_text("services: [")
    with pytest.raises(DeclarativeError):
        WritableFileStore(DeclarativeSource(path=path), LoadMemory()).open()

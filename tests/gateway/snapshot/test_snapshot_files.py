import os

import pytest

from gateway.run_directory import RunDirectory
from gateway.snapshot.files import remove_older, write_atomically


def test_paths(tmp_path):
    assert (
        RunDirectory(tmp_path).snapshot("configuration", 3)
        == tmp_path / "snapshots" / "configuration-3.snapshot"
    )
    assert RunDirectory(tmp_path).snapshot("peers", 4) == tmp_path / "snapshots" / "peers-4.snapshot"


def test_write(tmp_path):
    path = RunDirectory(tmp_path).snapshot("configuration", 1)
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_reader_keeps_the_file_it_has_open(tmp_path):
    path = RunDirectory(tmp_path).snapshot("peers", 1)
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new content")
        assert reader.read() == b"old"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    path = RunDirectory(tmp_path).snapshot("peers", 1)
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert len(list(path.parent.iterdir())) == 1


def test_remove_older(tmp_path):
    remove_older(tmp_path, "peers", 5)  # nothing there yet
    for number in (1, 2, 10):
        write_atomically(RunDirectory(tmp_path).snapshot("configuration", number), b"")
        write_atomically(RunDirectory(tmp_path).snapshot("peers", number), b"")
    (tmp_path / "snapshots" / "peers-x.snapshot").touch()
    remove_older(tmp_path, "peers", 10)
    left = {path.name for path in (tmp_path / "snapshots").iterdir()}
    assert left == {
        *("configuration-1.snapshot", "configuration-2.snapshot", "configuration-10.snapshot"),
        *("peers-10.snapshot", "peers-x.snapshot"),
    }

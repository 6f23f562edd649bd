import os

import pytest

from gateway.snapshot.files import configuration_path, peers_path, remove_older, write_atomically


def test_paths(tmp_path):
    assert configuration_path(tmp_path, 3) == tmp_path / "snapshots" / "configuration-3.snapshot"
    assert peers_path(tmp_path, 4) == tmp_path / "snapshots" / "peers-4.snapshot"


def test_write(tmp_path):
    path = configuration_path(tmp_path, 1)
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_reader_keeps_the_file_it_has_open(tmp_path):
    path = peers_path(tmp_path, 1)
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new content")
        assert reader.read() == b"old"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    path = peers_path(tmp_path, 1)
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
        write_atomically(configuration_path(tmp_path, number), b"")
        write_atomically(peers_path(tmp_path, number), b"")
    (tmp_path / "snapshots" / "peers-x.snapshot").touch()
    remove_older(tmp_path, "peers", 10)
    left = {path.name for path in (tmp_path / "snapshots").iterdir()}
    assert left == {
        *("configuration-1.snapshot", "configuration-2.snapshot", "configuration-10.snapshot"),
        *("peers-10.snapshot", "peers-x.snapshot"),
    }

"""Declarative files on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.store import DeclarativeError, check_file


def lines_of(path: Path | str) -> list[str]:
    with pytest.raises(DeclarativeError) as caught:
        check_file(path)
    return caught.value.lines()


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "kong.yml"
    path.write_text("_format_version: '3.0'\nservices: [{name: a, host: h}]\n")
    assert len(check_file(path)) == len(check_file(str(path))) == 1


def test_a_bad_file_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "kong.yml"
    path.write_text("_format_version: '3.0'\nservices:\n- name: a\n")
    assert lines_of(path) == [f"{path}:3: services[0].host: required field missing"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "none.yml") == [f"{tmp_path}/none.yml: no such file"]
    assert lines_of(tmp_path) == [f"{tmp_path}: is a directory, not a declarative file"]
    assert lines_of("a\0b") == ["a\0b: cannot be read: embedded null byte"]
    path = tmp_path / "file"
    path.touch()
    assert lines_of(path / "below") == [f"{path}/below: cannot be read: Not a directory"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.yml"
    path.touch(mode=0)
    assert lines_of(path) == [f"{path}: not readable by this user (permission denied)"]

"""Whenever a process is killed: what it acknowledged is there, and nothing of a transaction is half there."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.support.gateway import wait_for
from tests.support.nodes import Place

KILLS = 8
WRITER = Path(__file__).with_name("writer.py")
ROOT = Path(__file__).parents[4]


def start_writer(place: Place, prefix: str, turns: int, output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, str(WRITER), str(place.path), prefix, str(turns)],
            stdout=file,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )


def acknowledged(output: Path) -> list[str]:
    """The complete lines that a writer printed after the first."""
    return output.read_text().split("\n")[1:-1]


def require_whole(place: Place, prefix: str) -> set[str]:
    """Check that transactions are there as a whole or not at all; the names of the consumers of a writer."""
    configuration = place.store().configuration
    keys = {entity.key for entity in configuration.of("keyauth_credentials").values()}  # type: ignore[attr-defined]
    found = {
        entity.username  # type: ignore[attr-defined]
        for entity in configuration.of("consumers").values()
        if entity.username.startswith(prefix)  # type: ignore[attr-defined]
    }
    newest = len(found) - 1
    assert found == {f"{prefix}{number}" for number in range(newest + 1)}
    for number in range(newest + 1):
        assert f"{prefix}{number} kept" in keys
        assert (f"{prefix}{number} given up" in keys) == (number == newest)
    return found


def test_killed_at_random_moments(embedded: Place, tmp_path: Path) -> None:
    chance = random.Random(3)
    for kill in range(KILLS):
        prefix, output = f"run{kill}-", tmp_path / f"output-{kill}"
        process = start_writer(embedded, prefix, 0, output)
        try:
            wait_for(lambda output=output: output.stat().st_size > 6, what="the writer writes", seconds=30)
            time.sleep(chance.uniform(0, 0.15))  # not a wait for anything: the moment is to be random
        finally:
            process.kill()
            process.wait()
        found = require_whole(embedded, prefix)
        told = {line.split()[0] for line in acknowledged(output)}
        assert told <= found
        assert len(found) - len(told) <= 1, "at most the commit whose acknowledgement was cut off"
    assert embedded.path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(embedded.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_several_processes_on_one_file(embedded: Place, tmp_path: Path) -> None:
    """Their rules hold together: each shared name is won once. One of them is killed on the way."""
    turns, writers = 10, 5
    outputs = [tmp_path / f"output-{number}" for number in range(writers)]
    processes = [
        start_writer(embedded, f"writer{number}-", turns, output) for number, output in enumerate(outputs)
    ]
    try:
        wait_for(lambda: acknowledged(outputs[0]), what="the writers write", seconds=60)
        processes[0].kill()
        for process in processes[1:]:
            assert process.wait(120) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for number in range(writers):
        found = require_whole(embedded, f"writer{number}-")
        assert number == 0 or len(found) == turns
    won = [
        line.split()[0].split("-")[1] for output in outputs for line in acknowledged(output) if "won" in line
    ]
    assert len(won) == len(set(won))
    names = [e.username for e in embedded.store().configuration.of("consumers").values()]  # type: ignore[attr-defined]
    assert sorted(n for n in names if n.startswith("shared")) == sorted(f"shared {n}" for n in range(turns))

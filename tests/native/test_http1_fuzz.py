"""The fuzzer (tests/fuzz/run.py): it replays its corpus, and it finds and keeps what goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parents[1] / "fuzz" / "run.py"

# Stands in for native.http1: dies at one input, depends on the splits at another.
BROKEN_PARSER = """
import os, signal
class BodyKind: pass
class TargetForm: pass
class ChunkResult: CHUNK_ERROR = -1
def parse_request(data, sizes=None):
    if b"deadly" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0 if b"splits" in data and sizes else -400
def parse_response(data, sizes=None): return -400
def decode_chunked(data, sizes=None): return -1, b"", 0
"""


def fuzz(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        [sys.executable, str(RUN), "--seed", "1", *arguments],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip


def test_corpus_and_a_moment_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    done = fuzz("--seconds", "0.3", "--crashes", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 1\n")
    assert " 0 found" in done.stdout
    assert list(tmp_path.iterdir()) == []


def broken_parser(tmp_path: Path, data: bytes) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer on the broken parser with this one input as its corpus."""
    (tmp_path / "native").mkdir()
    (tmp_path / "native" / "__init__.py").touch()
    (tmp_path / "native" / "http1.py").write_text(BROKEN_PARSER)
    for kind in ("request", "response", "chunked"):
        (tmp_path / "corpus" / kind).mkdir(parents=True)
        (tmp_path / "corpus" / kind / "seed").write_bytes(data)
    crashes = str(tmp_path / "crashes")
    return fuzz(
        "--seconds", "0", "--crashes", crashes, "--corpus", str(tmp_path / "corpus"), path=tmp_path
    )  # fmt: skip


def test_input_that_kills_the_parser_is_kept(tmp_path: Path) -> None:
    done = broken_parser(tmp_path, b"a deadly one")
    assert done.returncode == 1
    assert "the parser died with status -9" in done.stdout
    assert [path.read_bytes() for path in (tmp_path / "crashes").iterdir()] == [b"a deadly one"]


def test_input_that_breaks_a_rule_is_kept(tmp_path: Path) -> None:
    done = broken_parser(tmp_path, b"splits matter")
    assert done.returncode == 1
    assert "1 found" in done.stdout
    assert [path.name.split("-")[0] for path in (tmp_path / "crashes").iterdir()] == ["request"]

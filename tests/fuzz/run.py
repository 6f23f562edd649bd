"""Fuzzes the HTTP/1.1 parser for a bounded time: `python tests/fuzz/run.py --seconds 60`.

Inputs are mutations of the corpus and freshly made messages. Each is parsed at once and in pieces (the
results must be equal, every offset inside the head) and compared with h11 and llhttp (http1_oracles.py).
It needs only the built extension and those two, so it runs on a build with sanitizers as well.

The work is done in a child process, which notes each input before it is parsed: when the child dies (a
crash, a sanitizer's report), the parent still has the input. Inputs that crash or break a rule are saved in
--crashes. Exit status: 0 when nothing was found.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent

NOTE_BYTES = 1 << 16  # room for the input under work

# Kind of input -> (parse in pieces, compare with the oracles, make a fresh one).
TARGETS: dict[str, tuple[Callable, Callable, Callable]] = {}


def load_targets() -> None:
    """Import the parser late, so that the parent process never loads it."""
    import http1_oracles as oracles
    from http1_messages import make_chunked, make_request, make_response
    from native.http1 import decode_chunked, parse_request, parse_response

    TARGETS["request"] = (parse_request, oracles.check_request, make_request)
    TARGETS["response"] = (parse_response, oracles.check_response, make_response)
    TARGETS["chunked"] = (decode_chunked, oracles.check_chunked, make_chunked)


def check_input(kind: str, data: bytes, splits: list[int]) -> str | None:
    """A complaint about how `data` is parsed, or None."""
    parse, compare, _ = TARGETS[kind]
    at_once = parse(data)
    in_pieces = parse(data, splits)
    if at_once != in_pieces:
        return f"in pieces of {splits}: {in_pieces!r}; at once: {at_once!r}"
    return compare(data)


def accepts(kind: str, data: bytes) -> bool:
    result = TARGETS[kind][0](data)
    return isinstance(result, dict) or (isinstance(result, tuple) and result[0] >= 0)


def read_corpus(folder: Path, kind: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / kind).iterdir()) if path.is_file()]


def save(folder: Path, kind: str, data: bytes, complaint: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    print(f"FOUND {path}: {complaint}", flush=True)


def work(arguments: argparse.Namespace) -> int:
    """The child: replay the corpus, then make and check inputs until the time is over."""
    import http1_messages as messages

    load_targets()
    kinds = list(TARGETS) if arguments.target == "all" else [arguments.target]
    corpus = {kind: read_corpus(arguments.corpus, kind) for kind in kinds}
    source = random.Random(arguments.seed)
    executed = found = 0
    with arguments.note.open("r+b") as file, mmap.mmap(file.fileno(), NOTE_BYTES) as note:

        def run(kind: str, data: bytes) -> None:
            nonlocal executed, found
            header = f"{kind} {len(data)}\n".encode()
            note[: len(header) + len(data)] = header + data
            splits = messages.random_splits(source, len(data))
            complaint = check_input(kind, data, splits)
            executed += 1
            if complaint:
                found += 1
                save(arguments.crashes, kind, data, complaint)

        for kind in kinds:
            for data in corpus[kind]:
                run(kind, data)
        replayed = executed
        end = time.monotonic() + arguments.seconds
        while time.monotonic() < end and found < arguments.max_found:
            kind = source.choice(kinds)
            if source.random() < 0.4:
                data = TARGETS[kind][2](source, source.choice([0.0, 0.02, 0.1]))
            else:
                data = source.choice(corpus[kind])
            if source.random() < 0.8:
                data = messages.mutate(source, data, corpus[kind])
            run(kind, data)
            # Inputs that are accepted are good parents; keep a bounded number of them.
            if len(corpus[kind]) < 2000 and source.random() < 0.01 and accepts(kind, data):
                corpus[kind].append(data)
        note[:2] = b"-\n"  # nothing under work
    print(f"{replayed} corpus inputs and {executed - replayed} made ones checked, {found} found", flush=True)
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long to make new inputs (default 60)")
    parser.add_argument("--seed", type=int, help="of the random numbers; printed")
    parser.add_argument("--target", choices=["all", "request", "response", "chunked"], default="all")
    parser.add_argument("--corpus", type=Path, default=HERE / "corpus")
    parser.add_argument("--crashes", type=Path, default=Path("build/fuzz-crashes"), help="for findings")
    parser.add_argument("--max-found", type=int, default=20, help="stop after this many findings")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="check only these")
    parser.add_argument("--note", type=Path, help=argparse.SUPPRESS)  # given by the parent to its child
    arguments = parser.parse_args()
    if arguments.replay:
        load_targets()
        complaints = 0
        for path in arguments.replay:
            data = path.read_bytes()
            complaint = check_input(path.name.partition("-")[0], data, [1] * len(data))
            complaints += complaint is not None
            print(f"{path}: {complaint or 'nothing wrong'}")
        return 1 if complaints else 0
    if arguments.note:
        return work(arguments)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    arguments.crashes.mkdir(parents=True, exist_ok=True)
    note = arguments.crashes / f"under-work-{os.getpid()}"
    note.write_bytes(bytes(NOTE_BYTES))
    print(f"seed {seed}", flush=True)
    try:
        command = [sys.executable, __file__, *sys.argv[1:], "--seed", str(seed), "--note", str(note)]
        status = subprocess.run(command, check=False).returncode
        if status not in (0, 1):
            header, _, rest = note.read_bytes().partition(b"\n")
            if b" " in header:
                kind, length = header.decode().split()
                save(arguments.crashes, kind, rest[: int(length)], f"the parser died with status {status}")
        return 0 if status == 0 else 1
    finally:
        note.unlink()


if __name__ == "__main__":
    sys.exit(main())

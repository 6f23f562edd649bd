"""What the master is built of: listening sockets, the pid file, limits, logs."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.listening import SHARED, ListenError, ListeningSockets
from gateway.logs import ErrorLog, open_log, reopen_log
from gateway.processes import PidFile
from gateway.run_directory import read_json, write_json
from gateway.settings import Listener
from tests.support.gateway import free_port


def in_process(code: str) -> str:
    """Output of Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


# --- listening sockets --------------------------------------------------------------------------------


def ports_of(sockets: ListeningSockets, workers: int) -> list[list[tuple[int, int]]]:
    """For each worker: (port, flags) of what it is lent."""
    return [
        [(port, flags) for _, port, flags in sockets.for_worker(slot, workers, {})] for slot in range(workers)
    ]


def test_each_worker_has_its_own_socket_of_a_reuseport_address() -> None:
    port, shared_port = free_port(), free_port()
    listeners = [Listener("127.0.0.1", port, reuseport=True), Listener("127.0.0.1", shared_port)]
    sockets = ListeningSockets.open(listeners, 3)
    try:
        assert ports_of(sockets, 3) == [[(port, 0), (shared_port, SHARED)]] * 3
        descriptors = {sockets.for_worker(slot, 3, {})[0][0] for slot in range(3)}
        assert len(descriptors) == 3
        assert {sockets.for_worker(slot, 3, {})[1][0] for slot in range(3)} != descriptors
        assert sockets.for_worker(0, 3, {port: 80})[0][1] == 80
        # one worker: nobody to share with, and it looks after all queues
        assert ports_of(sockets, 1) == [[(port, 0), (port, 0), (port, 0), (shared_port, 0)]]
        assert sorted(map(len, ports_of(sockets, 2))) == [2, 3]
    finally:
        sockets.close()


def test_sockets_are_kept_from_one_set_to_the_next() -> None:
    first, second = Listener("127.0.0.1", free_port(), reuseport=True), Listener("127.0.0.1", free_port())
    old = ListeningSockets.open([first], 2)
    new = ListeningSockets.open([first, second], 3, old)
    kept = {fd for slot in range(2) for fd, _, _ in old.for_worker(slot, 2, {})}
    assert kept < {fd for slot in range(3) for fd, _, _ in new.for_worker(slot, 3, {})}
    old.close_except(new)
    socket.create_connection(("127.0.0.1", first.port)).close()
    new.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first.port))


def test_nothing_stays_open_after_a_failure() -> None:
    good = Listener("127.0.0.1", free_port(), reuseport=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(ListenError, match=r"Address already in use \(another program listens there"):
            ListeningSockets.open([good, Listener("127.0.0.1", other.getsockname()[1])], 2)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    ListeningSockets.open([good], 1).close()


def test_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match="this machine does not have the address"):
        ListeningSockets.open([Listener("192.0.2.1", 80)], 1)


def test_unix_sockets(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    listener = Listener("", 0, path=str(path))
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    sockets = ListeningSockets.open([listener], 2)
    with pytest.raises(ListenError, match="another program does"):
        ListeningSockets.open([listener], 2)
    assert ports_of(sockets, 2) == [[(0, SHARED)]] * 2
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    sockets.close()
    assert not path.exists()
    path.write_text("somebody's data")
    with pytest.raises(ListenError, match="not a socket"):
        ListeningSockets.open([listener], 2)


@pytest.mark.parametrize(("private", "rights"), [(False, 0o666), (True, 0o600)])
def test_who_may_connect_to_a_unix_socket(tmp_path: Path, private: bool, rights: int) -> None:
    path = tmp_path / "one.sock"
    before = os.umask(0)
    try:
        sockets = ListeningSockets.open([Listener("", 0, path=str(path))], 1, private=private)
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == rights
    sockets.close()


# --- pid file -----------------------------------------------------------------------------------------


def test_pid_file_tells_who_runs(tmp_path: Path) -> None:
    mine = PidFile(tmp_path / "pids" / "gateway.pid")
    assert mine.holder() is None
    assert mine.acquire() == 0
    assert mine.content() == mine.holder() == os.getpid()
    ask = "from gateway.processes import PidFile; from pathlib import Path; "
    ask += f"p = PidFile(Path({str(mine.path)!r}));"
    assert in_process(f"{ask} print(p.holder(), p.acquire())") == f"{os.getpid()} {os.getpid()}"
    mine.release()
    assert not mine.path.exists()
    assert in_process(f"{ask} print(p.holder(), p.acquire())") == "None 0"
    assert mine.content() is not None  # that process left it behind
    assert mine.holder() is None


@pytest.mark.parametrize("content", ["", "nonsense", "1"])
def test_left_over_pid_file_does_not_matter(tmp_path: Path, content: str) -> None:
    file = PidFile(tmp_path / "gateway.pid")
    file.path.write_text(content)
    assert file.holder() is None
    assert file.acquire() == 0
    assert file.content() == os.getpid()
    file.release()


# --- limits -------------------------------------------------------------------------------------------

LIMITS = """
import resource
from gateway.processes import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 1000))
said = raise_descriptor_limit({needed})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], bool(said))
"""


def test_descriptor_limit_is_raised_as_needed() -> None:
    assert in_process(LIMITS.format(needed=50)) == "100 False"
    assert in_process(LIMITS.format(needed=900)) == "900 False"


def test_descriptor_limit_that_cannot_be_had_is_reported() -> None:
    """Above the hard limit it depends on the rights of whoever runs the tests; either it is had or it is
    said.
    """
    assert in_process(LIMITS.format(needed=2000)) in ("1000 True", "2000 False")


# --- logs and documents -------------------------------------------------------------------------------


def test_error_log_lines(tmp_path: Path) -> None:
    path = tmp_path / "new" / "error.log"
    log = ErrorLog(open_log(path), "warn")
    log.notice("not severe enough")
    log.error("first\nsecond \ud800")
    log.set_level("debug")
    log.info("now it is")
    log.info("\x1b[2J\x9b\x00\u2028\ttab")
    log.info("long" * 1_000_000)
    lines = path.read_text().splitlines()
    assert re.fullmatch(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#0: first\\nsecond \\ud800", lines[0])
    assert lines[1].endswith("now it is")
    assert lines[2].endswith(r" \x1b[2J\x9b\x00\x2028" + "\ttab")
    assert len(lines[3]) < 20_000
    assert lines[3].endswith("long… (4000000 characters)")
    moved = tmp_path / "moved"
    path.rename(moved)
    reopen_log(log.fd, path)
    log.error("third")
    assert "third" in path.read_text()
    assert "third" not in moved.read_text()
    os.close(log.fd)
    log.error("a closed descriptor loses the line only")


def test_documents_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read_json(path) == {}
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
    for damaged in ("", "[1]", "{", "\x00"):
        path.write_text(damaged)
        assert read_json(path) == {}

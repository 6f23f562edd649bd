"""Supervision by the real master, of made-up workers (fakes/fake_gateway.py)."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.run_directory import RunDirectory, read_json
from gateway.supervision import FIRST_DELAY, HEALTHY_LIFE, LONGEST_DELAY, Child
from tests.support.gateway import free_port, is_running, wait_for

FAKE = Path(__file__).parent / "fakes" / "fake_gateway.py"
PATIENCE = 15.0
"""seconds that anything may take on a busy machine before a test fails"""


def wait_until(condition: Callable[[], Any]) -> Any:
    """The first true answer of `condition`."""
    return wait_for(condition, seconds=PATIENCE, what=condition.__name__)


class FakeGateway:
    """A running fake gateway and what is known of it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.directory = RunDirectory(prefix)
        self.port = free_port()
        self.log_path = prefix / "error.log"
        self.conf = prefix / "gateway.conf"
        self.settings = {
            "proxy_listen": f"127.0.0.1:{self.port} reuseport",
            "worker_processes": "2",
            "mem_cache_size": "1m",
            "proxy_error_log": str(self.log_path),
        }
        prefix.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, **settings: str) -> None:
        """Write the conf file."""
        self.settings |= settings
        self.conf.write_text("".join(f"{name} = {value}\n" for name, value in self.settings.items()))

    def start(self, *, ready: bool = True) -> "FakeGateway":
        """Start it; with `ready`, return when it serves."""
        self.configure()
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "KONG_"))
        }
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE), "--conf", str(self.conf), "--ready-fd", str(writer)],
            env=environ | {"GATEWAY_PREFIX": str(self.prefix)},
            pass_fds=(writer,),
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read(6) if ready else b""
        if ready:
            assert said == b"ready\n", self.log()
        return self

    def signal(self, number: int) -> None:
        """Send a signal to the master."""
        assert self.process
        self.process.send_signal(number)

    def wait(self) -> int:
        """Exit code of the master."""
        assert self.process
        return self.process.wait(PATIENCE)

    def log(self) -> str:
        """The error log."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def state(self) -> dict[str, Any]:
        """What the master says about itself."""
        return read_json(self.directory.state)

    def shared(self) -> dict[str, Any]:
        """What the fake control process sees in the shared memory."""
        return read_json(self.prefix / "shared.json")

    def workers(self) -> list[int]:
        """Pids of the workers that are to stay."""
        return [worker["pid"] for worker in self.state()["workers"] if not worker["leaving"]]

    def all_pids(self) -> list[int]:
        """Pids of master, control process and workers."""
        state = self.state()
        return [state["pid"], state["control_pid"], *(worker["pid"] for worker in state["workers"])]

    def ask(self) -> int:
        """Connect to the proxy port: the pid of the worker that answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            return int(connection.recv(16))

    def stop(self) -> None:
        """End it whatever it is doing."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
            if self.process.stderr:
                self.process.stderr.close()
        for pid in self.all_pids() if self.state() else []:
            wait_until(lambda pid=pid: not is_running(pid))


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    one = FakeGateway(tmp_path / "prefix")
    yield one
    one.stop()


def test_serves_with_every_worker(gateway: FakeGateway) -> None:
    gateway.start()
    workers = gateway.workers()
    assert len(set(workers)) == 2
    answers = set()
    wait_until(lambda: answers.add(gateway.ask()) or answers == set(workers))
    assert gateway.directory.pid_file.holder() == gateway.state()["pid"]


def test_master_and_workers_stay_small(gateway: FakeGateway) -> None:
    gateway.start()
    modules = wait_until(lambda: (gateway.prefix / "worker-0.modules").read_text()).split()
    heavy = {"granian", "starlette", "msgspec", "orjson", "yaml", "click", "typer", "rich", "asyncio", "ssl"}
    assert not heavy & {name.partition(".")[0] for name in modules}


def test_killed_worker_comes_back_on_its_block(gateway: FakeGateway) -> None:
    gateway.start()
    victim, other = gateway.state()["workers"]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: len(gateway.workers()) == 2 and victim["pid"] not in gateway.workers())
    fresh = next(worker for worker in gateway.state()["workers"] if worker["slot"] == victim["slot"])
    assert fresh["block"] == victim["block"]
    assert other in gateway.state()["workers"]
    wait_until(lambda: f"block {victim['block']} counts 2 starts" in gateway.log())
    wait_until(lambda: gateway.shared().get("worker_restarts") == 1)
    # the counter went on, the gauge of the dead one is gone
    wait_until(lambda: gateway.shared()["totals"]["requests_total"] == 3)
    wait_until(lambda: gateway.shared()["totals"]["connections_active"] == 2)


def test_connections_waiting_at_a_killed_worker_are_served(gateway: FakeGateway) -> None:
    gateway.settings["worker_processes"] = "1"
    idle = gateway.prefix / "worker-idle"
    idle.touch()
    gateway.start()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as waiting:
        (victim,) = gateway.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in gateway.workers())
        idle.unlink()
        assert int(waiting.recv(16)) != victim


def test_killed_control_process_comes_back(gateway: FakeGateway) -> None:
    gateway.start()
    victim = gateway.state()["control_pid"]
    workers = gateway.workers()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: gateway.state()["control_pid"] not in (0, victim))
    wait_until(lambda: gateway.shared().get("control_restarts") == 1)
    assert gateway.workers() == workers


def test_nothing_outlives_a_killed_master(gateway: FakeGateway) -> None:
    gateway.start()
    pids = gateway.all_pids()
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    for pid in pids:
        wait_until(lambda pid=pid: not is_running(pid))
    assert gateway.directory.pid_file.holder() is None
    assert gateway.directory.pid_file.content() == pids[0]  # a left-over, which does not matter
    gateway.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fast_stop(gateway: FakeGateway, number: int) -> None:
    gateway.start()
    pids = gateway.all_pids()
    gateway.signal(number)
    assert gateway.wait() == 0
    assert all(not is_running(pid) for pid in pids)
    assert not gateway.directory.pid_file.path.exists()
    assert not gateway.state()


def test_second_stop_kills(gateway: FakeGateway) -> None:
    (gateway.prefix / "worker-ignores").touch()
    gateway.start()
    gateway.signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in gateway.log())
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
    assert "was ended by signal 9" in gateway.log()


def test_drain_lets_requests_end(gateway: FakeGateway) -> None:
    hold = gateway.prefix / "hold"
    hold.touch()
    gateway.start()
    workers, control = gateway.workers(), gateway.state()["control_pid"]
    gateway.signal(signal.SIGQUIT)
    wait_until(lambda: gateway.state().get("stopping"))
    wait_until(lambda: all(worker["state"] == 3 for worker in gateway.shared()["workers"]))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE)
    assert not any(not is_running(pid) for pid in [*workers, control])
    hold.unlink()
    assert gateway.wait() == 0
    assert "was ended by signal" not in gateway.log()


def test_drain_has_a_limit(gateway: FakeGateway) -> None:
    (gateway.prefix / "hold").touch()
    gateway.settings["worker_shutdown_timeout"] = "100ms"
    gateway.start()
    gateway.signal(signal.SIGQUIT)
    assert gateway.wait() == 0
    assert "letting requests end within 0.1 s" in gateway.log()


def test_stop_during_a_drain(gateway: FakeGateway) -> None:
    (gateway.prefix / "hold").touch()
    gateway.settings["worker_shutdown_timeout"] = "0"
    gateway.start()
    gateway.signal(signal.SIGQUIT)
    wait_until(lambda: gateway.state().get("stopping"))
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0


def test_start_is_given_up_when_workers_die(gateway: FakeGateway) -> None:
    (gateway.prefix / "worker-dies").touch()
    gateway.start(ready=False)
    assert gateway.wait() == 1
    assert "the start failed: worker" in gateway.log()
    assert not gateway.directory.pid_file.path.exists()


def test_start_is_given_up_when_the_control_process_fails(gateway: FakeGateway) -> None:
    (gateway.prefix / "control-fails").touch()
    gateway.start(ready=False)
    assert gateway.wait() == 1
    assert "the control process ended with exit code 78 before it was ready" in gateway.log()


def test_port_in_use(gateway: FakeGateway) -> None:
    with socket.socket() as other:
        # The other program would share the port, too: it must not get part of the traffic.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", gateway.port))
        other.listen()
        gateway.start(ready=False)
        assert gateway.wait() == 1
    assert f"cannot listen on 127.0.0.1:{gateway.port}: Address already in use" in gateway.log()


def test_one_gateway_per_prefix(gateway: FakeGateway) -> None:
    gateway.start()
    second = FakeGateway(gateway.prefix)
    second.start(ready=False)
    assert second.wait() == 1
    assert second.process
    assert second.process.stderr
    assert b"runs already" in second.process.stderr.read()
    second.process.stderr.close()
    assert gateway.directory.pid_file.holder() == gateway.state()["pid"]


# --- reload ---------------------------------------------------------------------------------------


def reload(gateway: FakeGateway, **settings: str) -> dict[str, Any]:
    """Change the conf file, reload, and return the state when the reload is over."""
    before = gateway.state()["reloads"]
    gateway.configure(**settings)
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: gateway.state()["reloads"] > before and not gateway.state()["replacing"])
    return gateway.state()


def test_reload_of_a_live_setting_keeps_the_workers(gateway: FakeGateway) -> None:
    gateway.start()
    workers = gateway.workers()
    reload(gateway, log_level="info")
    assert gateway.workers() == workers
    wait_until(lambda: "control process has log level info" in gateway.log())


def test_reload_replaces_the_workers_when_a_setting_needs_it(gateway: FakeGateway) -> None:
    hold = gateway.prefix / "hold"
    hold.touch()
    gateway.start()
    old = gateway.state()["workers"]
    state = reload(gateway, worker_processes="3")
    assert state["generation"] == 2
    assert len(gateway.workers()) == 3
    leaving = [worker for worker in state["workers"] if worker["leaving"]]
    assert {worker["pid"] for worker in leaving} == {worker["pid"] for worker in old}
    assert len({worker["block"] for worker in state["workers"]}) == 5
    answers = set()
    wait_until(lambda: answers.add(gateway.ask()) or len(answers) == 3)
    assert answers == set(gateway.workers())
    hold.unlink()
    wait_until(lambda: len(gateway.state()["workers"]) == 3)
    # fewer workers than sockets: the third socket goes to one of them, and free blocks are used again
    reload(gateway, worker_processes="2")
    wait_until(lambda: len(gateway.state()["workers"]) == 2)
    assert {worker["block"] for worker in gateway.state()["workers"]} == {0, 1}
    wait_until(lambda: "listens on 2" in gateway.log())
    for _ in range(20):
        assert gateway.ask() in gateway.workers()


def test_reload_opens_and_closes_addresses(gateway: FakeGateway) -> None:
    gateway.start()
    first = gateway.port
    second = free_port()
    reload(gateway, proxy_listen=f"127.0.0.1:{first} reuseport, 127.0.0.1:{second}")
    gateway.port = second
    assert gateway.ask() in gateway.workers()
    reload(gateway, proxy_listen=f"127.0.0.1:{second}")
    wait_until(lambda: len(gateway.state()["workers"]) == 2)
    assert gateway.ask() in gateway.workers()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first), timeout=PATIENCE)


def test_bad_reload_changes_nothing(gateway: FakeGateway) -> None:
    gateway.start()
    workers = gateway.workers()
    state = reload(gateway, worker_processes="many", log_level="loud")
    assert len(state["reload_problems"]) == 2
    assert "WORKER_PROCESSES = 'many'" in gateway.log()
    assert "LOG_LEVEL = 'loud'" in gateway.log()
    state = reload(gateway, worker_processes="2", log_level="notice")
    assert state["reload_problems"] == []
    assert gateway.workers() == workers


def test_reload_with_an_address_in_use_changes_nothing(gateway: FakeGateway) -> None:
    gateway.start()
    workers = gateway.workers()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        state = reload(gateway, proxy_listen=f"127.0.0.1:{gateway.port} reuseport, {taken}")
    assert any(f"cannot listen on {taken}" in problem for problem in state["reload_problems"])
    assert gateway.workers() == workers
    assert gateway.ask() in workers


def test_new_workers_that_die_are_given_up(gateway: FakeGateway) -> None:
    gateway.start()
    workers = gateway.workers()
    (gateway.prefix / "worker-dies").touch()
    state = reload(gateway, worker_connections="1000")
    assert any("the new workers were given up" in problem for problem in state["reload_problems"])
    (gateway.prefix / "worker-dies").unlink()
    wait_until(lambda: gateway.workers() == workers)
    assert gateway.ask() in workers
    state = reload(gateway, worker_connections="2000")
    assert state["reload_problems"] == []
    assert not set(workers) & set(gateway.workers())


def test_restart_settings_are_left_alone(gateway: FakeGateway) -> None:
    gateway.start()
    workers = gateway.workers()
    state = reload(gateway, mem_cache_size="2m")
    assert state["reload_problems"] == []
    assert gateway.workers() == workers
    assert "only a restart applies: MEM_CACHE_SIZE" in gateway.log()


def test_reload_while_workers_are_replaced_waits(gateway: FakeGateway) -> None:
    gateway.start()
    gateway.configure(worker_connections="1000")
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: gateway.state()["reloads"] >= 1)
    gateway.configure(worker_connections="1001")
    gateway.signal(signal.SIGHUP)
    wait_until(lambda: gateway.state()["reloads"] >= 2)
    wait_until(lambda: gateway.state()["generation"] == 3)
    wait_until(lambda: len(gateway.state()["workers"]) == 2)


def test_old_workers_make_room(gateway: FakeGateway) -> None:
    """Workers that do not finish cannot keep a reload from finding blocks (there are 16)."""
    (gateway.prefix / "hold").touch()
    gateway.settings["worker_processes"] = "2"
    gateway.start()
    for connections in range(1000, 1004):
        reload(gateway, worker_processes="5", worker_connections=str(connections))
    assert len(gateway.workers()) == 5
    assert "is stopped to make room for new workers" in gateway.log()


def test_logs_are_reopened(gateway: FakeGateway) -> None:
    gateway.start()
    rotated = gateway.prefix / "error.log.1"
    gateway.log_path.rename(rotated)
    gateway.signal(signal.SIGUSR1)
    wait_until(gateway.log_path.exists)
    wait_until(lambda: gateway.log().count("reopens") == 2)
    reload(gateway, log_level="info")
    assert "the settings were read again" in gateway.log()
    assert "the settings were read again" not in rotated.read_text()


# --- delays ---------------------------------------------------------------------------------------


def test_delays_grow_and_start_over() -> None:
    child = Child("worker 0", started=100.0)
    delays = [child.died(100.0) for _ in range(9)]
    assert delays[:3] == [0.0, FIRST_DELAY, 2 * FIRST_DELAY]
    assert delays[-1] == LONGEST_DELAY
    assert child.start_due == 100.0 + LONGEST_DELAY
    assert child.died(100.0 + HEALTHY_LIFE) == 0.0

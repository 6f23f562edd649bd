"""The command line with real gateways: start, stop, quit, reload, restart, health; what is said when it goes
wrong.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.run_directory import RunDirectory, read_json
from tests.support.gateway import Gateway, free_port, is_running, one_service, wait_for
from tests.support.upstreams import Connection, Upstream, response

PATIENCE = 60.0


class Commands:
    """A prefix, ports, a conf file, and the command `gateway` with them."""

    def __init__(self, directory: Path) -> None:
        self.prefix = directory / "prefix"
        self.directory = RunDirectory(self.prefix)
        self.conf = directory / "gateway.conf"
        self.file = directory / "kong.json"
        self.proxy_port, self.admin_port, self.status_port = free_port(), free_port(), free_port()
        self.settings = {
            "proxy_listen": f"127.0.0.1:{self.proxy_port} reuseport",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "status_listen": f"127.0.0.1:{self.status_port}",
            "worker_processes": "2",
        }
        self.configure()

    def configure(self, **settings: str) -> None:
        """Write the conf file."""
        self.settings |= settings
        self.conf.write_text("".join(f"{name} = {value}\n" for name, value in self.settings.items()))

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "KONG_"))}
        return clean | {"GATEWAY_PREFIX": str(self.prefix), "GATEWAY_CONF": str(self.conf)}

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env=self.environment | environ,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    def start(self, *arguments: str) -> None:
        """Start it in the background."""
        result = self.run("start", "--daemon", *arguments)
        assert (result.returncode, result.stdout) == (0, "Sluicegate started\n"), result.stderr

    def serve(self, document: object) -> None:
        """Make this the declarative file."""
        self.file.write_text(json.dumps(document))
        self.configure(declarative_config=str(self.file))

    def get(self, path: str = "/") -> int:
        """Status of a request through the proxy."""
        status, _, _ = Gateway.call(self.proxy_port, "GET", path)
        return status

    def pid(self) -> int | None:
        """Of the running master."""
        return self.directory.pid_file.holder()

    def error_log(self) -> str:
        """What was logged."""
        path = self.prefix / "logs" / "error.log"
        return path.read_text() if path.exists() else ""

    def clean_up(self) -> None:
        """Leave no process behind."""
        pid = self.pid()
        if pid:
            family = [pid, *children(pid)]
            os.kill(pid, signal.SIGKILL)
            wait_until_ended(family)


def children(pid: int) -> list[int]:
    """Pids of a process's children and theirs."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def wait_until_ended(pids: list[int]) -> None:
    """Fail the test if one of these processes does not end."""
    wait_for(lambda: not any(is_running(pid) for pid in pids), seconds=PATIENCE, what=f"the end of {pids}")


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    one = Commands(tmp_path)
    yield one
    one.clean_up()


def test_life_in_the_background(commands: Commands) -> None:
    with Upstream() as upstream:
        commands.serve(one_service(upstream.port))
        commands.start()
        assert commands.get("/x") == 200  # at once: start returns when all serve
        result = commands.run("health")
        assert result.returncode == 0
        assert "workers.......2 of 2 running" in result.stdout
        assert result.stdout.endswith(f"Sluicegate is healthy at {commands.prefix}\n")
        result = commands.run("start", "--daemon")
        assert result.returncode == 1
        assert "is already running in" in result.stderr
        assert commands.run("start").returncode == 1
        first = commands.pid()
        result = commands.run("restart")
        assert result.stdout == "Sluicegate stopped\nSluicegate started\n", result.stderr
        assert commands.pid() not in (None, first)
        assert commands.get("/x") == 200
        family = children(commands.pid() or 0)
        assert len(family) == 3
        assert commands.run("stop").stdout == "Sluicegate stopped\n"
        assert not any(is_running(pid) for pid in family)
    assert commands.run("health").returncode == 1
    assert commands.run("stop").returncode == 1
    access = (commands.prefix / "logs" / "access.log").read_text()
    assert access.count('"GET /x HTTP/1.1" 200') == 2


def test_memory_of_master_and_workers(commands: Commands) -> None:
    """The memory budget, and none of the control plane's libraries in the data plane."""
    commands.start()
    state = read_json(commands.directory.state)
    pids = [state["pid"], *(worker["pid"] for worker in state["workers"])]
    for pid in pids:
        assert psutil.Process(pid).memory_full_info().uss < 60 << 20
        maps = Path(f"/proc/{pid}/maps").read_text()
        for library in ("granian", "msgspec", "orjson", "_yaml", "pydantic"):
            assert library not in maps


def test_names_of_the_processes(commands: Commands) -> None:
    commands.start()
    state = read_json(commands.directory.state)
    assert psutil.Process(state["pid"]).name() == "gateway-master"
    assert psutil.Process(state["control_pid"]).name() == "gateway-control"
    names = {psutil.Process(worker["pid"]).name() for worker in state["workers"]}
    assert names == {"gateway-work/0", "gateway-work/1"}
    threads = {
        (task / "comm").read_text().strip()
        for worker in state["workers"]
        for task in Path(f"/proc/{worker['pid']}/task").iterdir()
    }
    assert threads >= {"gateway-loop/0", "gateway-log/0", "gateway-loop/1", "gateway-log/1"}


def test_pinned_workers(commands: Commands) -> None:
    commands.configure(cpu_affinity="auto")
    commands.start()
    processors = sorted(os.sched_getaffinity(0))
    for worker in read_json(commands.directory.state)["workers"]:
        expected = {processors[worker["slot"] % len(processors)]}
        assert os.sched_getaffinity(worker["pid"]) == expected


# --- in the foreground --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_foreground(commands: Commands, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "start"],
        env=commands.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: read_json(commands.directory.state).get("serving"), seconds=PATIENCE)
        assert commands.pid() == process.pid  # the command has become the master: supervisors see one process
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "the gateway serves" in errors
    assert errors.rstrip().endswith("stopped")
    assert not (commands.prefix / "logs" / "error.log").exists()


def test_control_c_reaches_the_whole_group(commands: Commands) -> None:
    """A terminal sends SIGINT to every process: the children leave it to the master."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "start"],
        env=commands.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: read_json(commands.directory.state).get("serving"), seconds=PATIENCE)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "starting it again" not in errors


# --- what can be wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["proxy_listen", "admin_listen", "status_listen"])
def test_port_in_use(commands: Commands, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        commands.configure(**{setting: address + " reuseport"})
        result = commands.run("start", "--daemon")
    assert result.returncode == 1
    assert f"cannot listen on {address}: Address already in use" in result.stderr
    assert "Sluicegate did not start" in result.stderr
    assert commands.pid() is None
    assert not commands.directory.pid_file.path.exists()


def test_left_over_pid_file(commands: Commands) -> None:
    commands.start()
    pid = commands.pid()
    assert pid
    family = [pid, *children(pid)]
    os.kill(pid, signal.SIGKILL)
    wait_until_ended(family)
    assert commands.directory.pid_file.content() == pid
    assert commands.run("health").returncode == 1
    result = commands.run("start", "--daemon")
    assert result.returncode == 0, result.stderr
    assert "Removing a pid file whose process is gone" in result.stderr
    assert commands.pid() not in (None, pid)


def test_warnings_are_shown_at_each_start(commands: Commands) -> None:
    result = commands.run(
        "start",
        "--daemon",
        GATEWAY_PROXY_LISTN="x",
        KONG_LUA_PACKAGE_PATH="db",
        KONG_PLUGINSERVER_NAMES="hunter2",
    )
    assert result.returncode == 0
    assert "unknown setting GATEWAY_PROXY_LISTN; did you mean GATEWAY_PROXY_LISTEN?" in result.stderr
    assert (
        "have no meaning here and are ignored: KONG_LUA_PACKAGE_PATH, KONG_PLUGINSERVER_NAMES"
        in result.stderr
    )
    assert "KONG_LUA_PACKAGE_PATH" in commands.error_log()
    assert "hunter2" not in result.stderr + commands.error_log()


def test_recorded_settings_are_private(commands: Commands) -> None:
    commands.start()
    assert (commands.prefix / "settings.json").stat().st_mode & 0o777 == 0o600
    assert (commands.prefix / "snapshots").stat().st_mode & 0o777 == 0o700


# --- reload -------------------------------------------------------------------------------------------


def test_reload_of_the_declarative_file(commands: Commands) -> None:
    with Upstream() as upstream:
        commands.serve(one_service(upstream.port))
        commands.start()
        assert commands.get() == 200
        workers = read_json(commands.directory.state)["workers"]
        commands.serve({"_format_version": "3.0"})
        result = commands.run("reload")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("Sluicegate reloaded (configuration ")
        assert commands.get() == 404  # at once: reload returns when every worker has it
        assert read_json(commands.directory.state)["workers"] == workers


def test_reload_with_mistakes_changes_nothing(commands: Commands) -> None:
    with Upstream() as upstream:
        document = one_service(upstream.port)
        commands.serve(document)
        commands.start()
        document["services"][0]["routes"][0]["paths"] = ["x", "//"]
        commands.serve(document)
        result = commands.run("reload")
        assert result.returncode == 1
        assert "routes[0].paths[0]: should start with: /" in result.stderr
        assert "routes[0].paths[1]" in result.stderr
        assert commands.get() == 200
        # the same by a bare signal: the control process refuses it and says why
        pid = commands.pid()
        assert pid
        os.kill(pid, signal.SIGHUP)
        report = wait_for(lambda: read_json(commands.directory.reload), seconds=PATIENCE)
        assert report["ok"] is False
        assert len(report["errors"]) == 2
        assert "should start with: /" in commands.error_log()
        assert commands.get() == 200
        commands.configure(log_level="loud", worker_processes="-1")
        result = commands.run("reload")
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 3
        assert commands.get() == 200


def test_reload_of_settings(commands: Commands) -> None:
    with Upstream() as upstream:
        commands.serve(one_service(upstream.port))
        commands.start()
        commands.configure(client_max_body_size="10")
        workers = read_json(commands.directory.state)["workers"]
        assert commands.run("reload").returncode == 0
        assert read_json(commands.directory.state)["workers"] == workers
        status, _, _ = Gateway.call(commands.proxy_port, "POST", "/", b"x" * 11)
        assert status == 413
        # new workers: another address, another number; from a flag and a variable of the reload's own
        port = free_port()
        result = commands.run(
            "reload", "--set", "worker_processes=3", GATEWAY_PROXY_LISTEN=f"127.0.0.1:{port}"
        )
        assert result.returncode == 0, result.stderr
        state = read_json(commands.directory.state)
        assert state["generation"] == 2
        assert len([worker for worker in state["workers"] if not worker["leaving"]]) == 3
        commands.proxy_port = port
        assert commands.get() == 200
        # they stay in force when the next reload does not name them
        assert commands.run("reload").returncode == 0
        assert commands.get() == 200
        assert "3 of 3" in commands.run("health").stdout


# --- requests under way -------------------------------------------------------------------------------


class Slow:
    """An upstream whose answer waits until the test allows it."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.allowed = threading.Event()
        self.upstream = Upstream(self.handle)

    def handle(self, connection: Connection) -> None:
        while connection.read_head():
            self.arrived.set()
            self.allowed.wait(PATIENCE)
            connection.send(response(b"late"))

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        self.allowed.set()
        self.upstream.close()


class Client:
    """One request through the proxy, in a thread."""

    def __init__(self, port: int) -> None:
        self.result: object = None
        self.thread = threading.Thread(target=self.run, args=(port,))
        self.thread.start()

    def run(self, port: int) -> None:
        try:
            status, _, body = Gateway.call(port, "GET", "/")
            self.result = (status, body)
        except Exception as error:
            self.result = error

    def wait(self) -> object:
        """The status and body, or the exception."""
        self.thread.join(PATIENCE)
        return self.result


def test_quit_waits_for_requests(commands: Commands) -> None:
    with Slow() as slow:
        commands.serve(one_service(slow.upstream.port))
        commands.start()
        client = Client(commands.proxy_port)
        assert slow.arrived.wait(PATIENCE)
        with subprocess.Popen(
            [sys.executable, "-m", "gateway", "quit"],
            env=commands.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as quitting:
            wait_for(lambda: read_json(commands.directory.state).get("stopping"), seconds=PATIENCE)
            wait_for(lambda: refuses(commands.proxy_port), seconds=PATIENCE)
            assert quitting.poll() is None
            slow.allowed.set()
            output, _ = quitting.communicate(timeout=PATIENCE)
    assert client.wait() == (200, b"late")
    assert output == "Sluicegate stopped (gracefully)\n"
    assert quitting.returncode == 0


def refuses(port: int) -> bool:
    """Whether nobody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def test_quit_has_a_limit(commands: Commands) -> None:
    with Slow() as slow:
        commands.serve(one_service(slow.upstream.port))
        commands.start()
        client = Client(commands.proxy_port)
        assert slow.arrived.wait(PATIENCE)
        result = commands.run("quit", "--timeout", "0.2")
        assert result.returncode == 0
        assert "were cut" in result.stdout
        assert isinstance(client.wait(), Exception)


def test_reload_of_the_workers_lets_requests_end(commands: Commands) -> None:
    with Slow() as slow:
        commands.serve(one_service(slow.upstream.port))
        commands.start()
        client = Client(commands.proxy_port)
        assert slow.arrived.wait(PATIENCE)
        commands.configure(worker_connections="500")
        result = commands.run("reload")
        assert result.returncode == 0, result.stderr
        assert any(worker["leaving"] for worker in read_json(commands.directory.state)["workers"])
        slow.allowed.set()
        assert client.wait() == (200, b"late")
    wait_for(lambda: len(read_json(commands.directory.state)["workers"]) == 2, seconds=PATIENCE)


class Load:
    """Clients that send one request after the other until told to stop; `failures` has what went wrong."""

    def __init__(self, port: int, clients: int = 3) -> None:
        self.port = port
        self.answers = 0
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        while not self.stopping.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(f"status {answer.status}")
                self.answers += 1
                if number == 0:  # a new connection for each request
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def test_replacing_the_workers_under_load_fails_no_request(commands: Commands) -> None:
    """More and fewer of them, so that listening sockets come and change hands."""
    with Upstream() as upstream:
        commands.serve(one_service(upstream.port))
        commands.start()
        with Load(commands.proxy_port) as load:
            for round_number, workers in enumerate(("3", "1", "2")):
                commands.configure(worker_processes=workers, worker_connections=str(1000 + round_number))
                result = commands.run("reload")
                assert result.returncode == 0, result.stderr
            served = load.answers
            wait_for(lambda: load.answers > served + 100, seconds=PATIENCE)
        assert load.failures == []
    wait_for(lambda: len(read_json(commands.directory.state)["workers"]) == 2, seconds=PATIENCE)


def test_log_rotation(commands: Commands) -> None:
    logs = commands.prefix / "logs"
    with Upstream() as upstream:
        commands.serve(one_service(upstream.port))
        commands.start()
        for name in ("access.log", "error.log"):
            (logs / name).rename(logs / f"{name}.1")
        pid = commands.pid()
        assert pid
        os.kill(pid, signal.SIGUSR1)
        wait_for(lambda: (logs / "access.log").exists() and (logs / "error.log").exists(), seconds=PATIENCE)
        # every worker has its own copy of the descriptor
        for worker in read_json(commands.directory.state)["workers"]:
            wait_for(lambda pid=worker["pid"]: "access.log.1" not in open_files(pid), seconds=PATIENCE)
        assert commands.get("/after") == 200
    assert commands.run("stop").returncode == 0
    assert "/after" in (logs / "access.log").read_text()
    assert "/after" not in (logs / "access.log.1").read_text()
    assert "stopped" in (logs / "error.log").read_text()


def open_files(pid: int) -> str:
    """Names of the files that a process has open."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    return " ".join(str(link.readlink()) for link in links if link.is_symlink())


# --- the quick start ----------------------------------------------------------------------------------


@contextlib.contextmanager
def quickstart(commands: Commands, port: int, *options: str) -> Iterator[str]:
    """`gateway quickstart` until Ctrl-C; gives what it prints at its start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "quickstart", "--backend-port", str(port), *options],
        env=commands.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        printed = ""
        for line in iter(process.stdout.readline, ""):
            printed += line
            if "Ctrl-C" in line:
                break
        assert "Sluicegate is running" in printed
        yield printed
        family = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        wait_until_ended(family)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()


def test_quickstart(commands: Commands) -> None:
    port = free_port()
    with quickstart(commands, port) as printed:
        assert "examples/quickstart.yml was imported" in printed
        status, headers, body = Gateway.call(commands.proxy_port, "GET", "/echo/hello?x=1")
        assert status == 200
        assert headers["Via"]
        echoed = json.loads(body)
        assert (echoed["path"], echoed["query"]) == ("/hello", {"x": ["1"]})
        assert Gateway.call(commands.proxy_port, "GET", "/mine/hello")[0] == 404
        # The lines that it prints do what it says.
        lines = [line.strip() for line in printed.splitlines() if line.strip().startswith("curl ")]
        answers = [
            subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout  # noqa: S602
            for line in lines
        ]
        assert [answer.split()[1] for line, answer in zip(lines, answers, strict=True) if " -i " in line] == [
            *["200"] * 4,
            "404",
            "200",
        ]
        assert json.loads(answers[-1].partition("\n\n")[2])["path"] == "/hello"
        (command,) = [line.split() for line in printed.splitlines() if line.strip().startswith("gateway get")]
        assert "mine" in commands.run(*command[1:]).stdout
    # What was made is there the next time, and the example is not imported again.
    assert commands.run("config", "db_export", str(commands.prefix / "export.yml")).returncode == 0
    with quickstart(commands, port) as printed:
        assert "goes on with what is kept" in printed
        assert Gateway.call(commands.proxy_port, "GET", "/mine/hello")[0] == 200
    with quickstart(commands, port, "--fresh") as printed:
        assert "examples/quickstart.yml was imported" in printed
        assert Gateway.call(commands.proxy_port, "GET", "/mine/hello")[0] == 404
        assert Gateway.call(commands.proxy_port, "GET", "/echo/hello")[0] == 200


def test_quickstart_without_a_database(commands: Commands) -> None:
    commands.configure(database="off")
    with quickstart(commands, free_port()) as printed:
        assert "without a database" in printed
        assert Gateway.call(commands.proxy_port, "GET", "/echo/hello")[0] == 200


def test_quickstart_with_a_port_in_use(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        commands.configure(proxy_listen=f"127.0.0.1:{port}")
        result = commands.run("quickstart", "--backend-port", str(port))
    assert result.returncode == 1
    assert result.stderr.count("is taken") == 2
    assert "GATEWAY_PROXY_LISTEN" in result.stderr
    assert "--backend-port" in result.stderr

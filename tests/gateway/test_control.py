"""The control process without its listeners: publication, acknowledgement, restoring, following addresses."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.control import CANNOT_START, run_control
from gateway.control import publisher as publisher_module
from gateway.control.joined import joined_for_peers
from gateway.control.logs import NOTICE, ErrorLogHandler, configure_logging
from gateway.control.plane import ControlPlane
from gateway.control.process import ControlProcess
from gateway.control.publisher import Publisher
from gateway.control.remembered import Remembered
from gateway.dns import ResolverOptions
from gateway.logs import ErrorLog
from gateway.run_directory import RunDirectory, read_json
from gateway.settings import Settings, load_settings
from gateway.snapshot import Resolution, ResolutionState, ResolvedAddress, compile_peers
from gateway.store import Configuration, EntityJson, LoadMemory, load_declarative_document
from gateway.store.read_only import ReadOnlyStore
from gateway.store.source import DeclarativeSource
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import ROUTE_METRIC_SLOTS, SharedState, WorkerState
from native.snapshot import PeerSetState, describe, find_peer_set
from tests.support.gateway import PATIENCE, wait_for

NODE = "6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01"


def configuration(*hosts: str, **more: Any) -> Configuration:
    """A service for each host."""
    services = [{"name": f"s{number}", "host": host, "port": 80} for number, host in enumerate(hosts)]
    return load_declarative_document({"_format_version": "3.0", "services": services, **more})


def ready(*ips: str) -> Resolution:
    return Resolution(ResolutionState.READY, tuple(ResolvedAddress(ip) for ip in ips))


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for a true result and return it."""
    async with asyncio.timeout(PATIENCE):
        while not (result := condition()):
            await asyncio.sleep(0.002)
    return result


class Setting:
    """Shared memory with some workers' eventfds and a prefix."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.settings = load_settings(None, {}, {"prefix": str(prefix), "database": "off"})
        self.shared = SharedState.create(4)
        self.notify = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
        self.publisher = Publisher(self.shared, self.notify, prefix)

    def close(self) -> None:
        for descriptor in self.notify:
            os.close(descriptor)

    def snapshot(self, kind: Any, number: int) -> Path:
        return RunDirectory(self.prefix).snapshot(kind, number)

    def snapshots(self) -> list[str]:
        return sorted(path.name for path in (self.prefix / "snapshots").iterdir())

    async def publish(self, new: Configuration, **resolutions: Resolution) -> bool:
        return await self.publisher.publish(new, self.settings, resolutions, {})

    @asynccontextmanager
    async def worker(self, index: int, **options: Any) -> AsyncIterator[dict[str, list[int]]]:
        """A worker that takes over what is published when it is notified."""
        seen: dict[str, list[int]] = {"configuration": [], "peers": [], "identities": []}
        self.shared.set_worker(index, pid=os.getpid(), state=WorkerState.WORKER_SERVING, **options)

        def take_over() -> None:
            os.eventfd_read(self.notify[index])
            numbers = {
                "configuration": self.shared.configuration_number,
                "peers": self.shared.peers_number,
                "identities": self.shared.identities_number,
            }
            for kind, number in numbers.items():
                assert self.snapshot(kind, number).exists()
                seen[kind].append(number)
            self.shared.set_worker(index, **{f"{kind}_number": number for kind, number in numbers.items()})

        loop = asyncio.get_running_loop()
        loop.add_reader(self.notify[index], take_over)
        try:
            yield seen
        finally:
            loop.remove_reader(self.notify[index])
            self.shared.clear_worker(index)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for workers that will not acknowledge ends soon."""
    monkeypatch.setattr(publisher_module, "ACKNOWLEDGE_TIMEOUT", 0.05)


def run(test: Awaitable[None]) -> None:
    asyncio.run(test)  # type: ignore[arg-type]


# --- publisher -------------------------------------------------------------------------------------------


def test_publication_waits_for_every_worker(setting: Setting) -> None:
    async def test() -> None:
        async with setting.worker(0) as first, setting.worker(3) as second:
            assert await setting.publish(configuration("127.0.0.1"))
            assert first == second == {"configuration": [1], "peers": [1], "identities": [1]}
            assert setting.shared.configuration_hash == configuration("127.0.0.1").hash

    run(test())


def test_one_older_file_of_each_kind_is_kept(setting: Setting) -> None:
    async def test() -> None:
        async with setting.worker(0):
            for port in range(5):
                assert await setting.publish(configuration("127.0.0.1", f"10.0.0.{port}"))
            assert setting.snapshots() == [
                "configuration-4.snapshot",
                "configuration-5.snapshot",
                "identities-4.snapshot",
                "identities-5.snapshot",
                "peers-4.snapshot",
                "peers-5.snapshot",
            ]
            assert await setting.publisher.publish_peers({})
            assert setting.snapshots()[-2:] == ["peers-5.snapshot", "peers-6.snapshot"]
            assert setting.shared.configuration_number == 5

    run(test())


def test_a_worker_that_lags_is_reported_and_nothing_is_deleted(
    setting: Setting, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        setting.shared.set_worker(1, pid=os.getpid(), state=WorkerState.WORKER_STARTING)
        for _ in range(3):
            assert not await setting.publish(configuration("127.0.0.1"))
        assert len(setting.snapshots()) == 9
        assert f"no acknowledgement within 0.05 s from worker {os.getpid()}" in caplog.text

    run(test())


def test_dead_and_draining_workers_are_not_waited_for(setting: Setting) -> None:
    async def test() -> None:
        gone = os.fork()
        if not gone:
            os._exit(0)
        os.waitpid(gone, 0)
        setting.shared.set_worker(0, pid=gone, state=WorkerState.WORKER_SERVING)
        setting.shared.set_worker(1, pid=os.getpid(), state=WorkerState.WORKER_DRAINING)
        assert await setting.publish(configuration("127.0.0.1"))

    run(test())


def test_a_full_eventfd_is_a_notification_all_the_same(setting: Setting) -> None:
    async def test() -> None:
        os.eventfd_write(setting.notify[0], 2**64 - 2)
        assert await setting.publish(configuration("127.0.0.1"))

    run(test())


def test_numbers_go_on_after_those_in_shared_memory(setting: Setting) -> None:
    async def test() -> None:
        setting.shared.publish_configuration(41, "a" * 32)
        setting.shared.publish_peers(17)
        setting.shared.publish_identities(5)
        await setting.publish(configuration("127.0.0.1"))
        assert (setting.shared.configuration_number, setting.shared.peers_number) == (42, 18)
        assert setting.snapshots() == [
            "configuration-42.snapshot",
            "identities-6.snapshot",
            "peers-18.snapshot",
        ]

    run(test())


def test_peers_of_the_configuration_before_stay_while_workers_move(setting: Setting) -> None:
    async def test() -> None:
        resolutions = {"old.test": ready("10.0.0.1"), "new.test": ready("10.0.0.2")}
        await setting.publish(configuration("old.test"), **{"old.test": ready("10.0.0.1")})
        await setting.publisher.publish(configuration("new.test"), setting.settings, resolutions, {})
        data = setting.snapshot("peers", 2).read_bytes()
        for key in ("host:old.test:80", "host:new.test:80"):
            found = find_peer_set(data, key)
            assert found is not None
            assert found["state"] == PeerSetState.PEERS_READY
        await setting.publisher.publish(configuration("new.test"), setting.settings, resolutions, {})
        assert find_peer_set(setting.snapshot("peers", 3).read_bytes(), "host:old.test:80") is None

    run(test())


def test_nothing_to_publish_yet(setting: Setting) -> None:
    async def test() -> None:
        assert await setting.publisher.publish_peers({})
        assert setting.shared.peers_number == 0

    run(test())


# --- joined configurations ---------------------------------------------------------------------------------


def upstream(name: str, target: str) -> dict[str, Any]:
    return {"name": name, "targets": [{"target": target, "weight": 10}]}


def addresses(data: bytes, key: str) -> list[str]:
    """The peers of a set as the compiler names them."""
    found = find_peer_set(data, key)
    assert found is not None, key
    return [peer["name"] for peer in found["peers"]]


def test_a_service_that_points_elsewhere_has_both_peers() -> None:
    joined = joined_for_peers(configuration("10.0.0.2"), configuration("10.0.0.1"))
    data = compile_peers(joined, {}, number=1)
    assert addresses(data, "host:10.0.0.1:80") == ["10.0.0.1"]
    assert addresses(data, "host:10.0.0.2:80") == ["10.0.0.2"]


def test_an_upstream_of_both_has_the_targets_of_the_current_one() -> None:
    earlier = configuration(upstreams=[upstream("both", "10.0.0.1:80"), upstream("gone", "10.0.0.3:80")])
    current = configuration(upstreams=[upstream("both", "10.0.0.2:80"), upstream("new", "10.0.0.4:80")])
    data = compile_peers(joined_for_peers(current, earlier), {}, number=1)
    assert addresses(data, "upstream:both") == ["10.0.0.2:80"]
    assert addresses(data, "upstream:gone") == ["10.0.0.3:80"]
    assert addresses(data, "upstream:new") == ["10.0.0.4:80"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_name_that_is_an_upstream_before_or_after_is_what_it_is_now(turned: bool) -> None:
    as_host = configuration("both")
    as_upstream = configuration("both", upstreams=[upstream("both", "10.0.0.1:80")])
    current, earlier = (as_upstream, as_host) if turned else (as_host, as_upstream)
    data = compile_peers(joined_for_peers(current, earlier), {"both": ready("10.0.0.2")}, number=1)
    assert (find_peer_set(data, "upstream:both") is not None) == turned
    assert (find_peer_set(data, "host:both:80") is not None) == (not turned)


def test_one_configuration_alone_is_itself() -> None:
    only = configuration("10.0.0.1")
    assert joined_for_peers(only, None) is only
    assert joined_for_peers(only, only) is only


# --- remembered -----------------------------------------------------------------------------------


def test_what_is_remembered_is_what_was_live(tmp_path: Path) -> None:
    document = {
        "_format_version": "3.0",
        "services": [{"name": "a", "host": "h", "routes": [{"paths": ["/nameless"]}]}],
        "consumers": [
            {
                "username": "bob",
                "keyauth_credentials": [{}],
                "basicauth_credentials": [{"username": "b", "password": "p"}],
            }
        ],
        "upstreams": [upstream("u", "10.0.0.1:80")],
    }
    before = load_declarative_document(document)
    remembered = Remembered(tmp_path / "last.json")
    remembered.save(before, EntityJson())
    assert (tmp_path / "last.json").stat().st_mode & 0o777 == 0o600
    after = remembered.load()
    assert after == before
    assert after is not None
    assert after.hash == before.hash
    remembered.forget()
    assert remembered.load() is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"hash":"x","document":{"services":7}}'])
def test_a_damaged_file_is_reported_and_not_used(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "last.json").write_bytes(content)
    assert Remembered(tmp_path / "last.json").load() is None
    assert "cannot be used" in caplog.text


# --- plane ----------------------------------------------------------------------------------------


def plane_of(setting: Setting) -> ControlPlane:
    slots = MetricSlots(setting.prefix / "slots.json", ROUTE_METRIC_SLOTS, setting.shared.route_metrics)
    remembered = Remembered(setting.prefix / "last.json")
    memory = LoadMemory()
    store = ReadOnlyStore(DeclarativeSource(), memory)
    return ControlPlane(
        setting.settings, setting.shared, setting.publisher, slots, remembered, NODE, store, memory
    )


def test_addresses_that_change_are_published(setting: Setting) -> None:
    hosts = setting.prefix / "hosts"
    hosts.write_text("10.0.0.1 backend\n")
    setting.settings = load_settings(
        None, {}, {"prefix": str(setting.prefix), "dns_hostsfile": str(hosts), "dns_valid_ttl": "1"}
    )

    def published() -> list[str]:
        number = setting.shared.peers_number
        found = find_peer_set(setting.snapshot("peers", number).read_bytes(), "host:backend:80")
        assert found is not None
        return [peer["address"] for peer in found["peers"]]

    async def test() -> None:
        plane = plane_of(setting)
        plane.start()
        await plane.apply(configuration("backend"))
        assert setting.shared.peers_number == 1
        first = published()
        hosts.write_text("10.0.0.22 backend\n")
        # A changed option asks for every name at once, as a reload does.
        other = load_settings(
            None, {}, {"prefix": str(setting.prefix), "dns_hostsfile": str(hosts), "dns_stale_ttl": "7"}
        )
        plane._publication._resolver.configure(ResolverOptions.from_settings(other))
        await until(lambda: setting.shared.peers_number > 1 and published() != first)
        assert setting.shared.configuration_number == 1
        await plane.close()

    run(test())


def test_a_failed_load_leaves_settings_and_configuration(setting: Setting) -> None:
    async def test() -> None:
        plane = plane_of(setting)
        plane.start()
        await plane.apply(configuration("127.0.0.1"))
        before = plane.configuration
        other = load_settings(None, {}, {"prefix": str(setting.prefix), "log_level": "debug"})
        setting.publisher.publish = failing  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="a failure"):
            await plane.apply(configuration("127.0.0.2"), other)
        assert plane.configuration is before
        assert plane.settings is setting.settings
        assert not plane.loading
        await plane.close()

    async def failing(*_: Any) -> bool:
        raise RuntimeError("a failure")

    run(test())


# --- process --------------------------------------------------------------------------------------


class Child:
    """run_control() in a forked process, as the master runs it."""

    def __init__(self, setting: Setting, settings: Settings, reloaded: Callable[[], Settings]) -> None:
        self.log = setting.prefix / "error.log"
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                run_control(settings, setting.shared, setting.notify, reloaded, descriptor)
                status = 0
            except SystemExit as end:
                status = int(str(end.code))
            finally:
                os._exit(status)
        os.close(descriptor)

    def wait(self) -> int:
        """Its exit code, the negative signal number when one ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def quiet(setting: Setting) -> Callable[..., Settings]:
    """Settings without listeners."""

    def make(**more: str) -> Settings:
        flags = {
            "prefix": str(setting.prefix),
            "database": "off",
            "admin_listen": "off",
            "status_listen": "off",
            "proxy_error_log": str(setting.prefix / "error.log"),
            **more,
        }
        return load_settings(None, {}, flags)

    return make


def test_a_control_process_from_start_to_stop(setting: Setting, quiet: Callable[..., Settings]) -> None:
    file = setting.prefix / "kong.json"
    file.write_text('{"_format_version":"3.0","services":[{"name":"a","url":"http://127.0.0.1:1"}]}')
    settings = quiet(declarative_config=str(file))
    (setting.prefix / "snapshots").mkdir()
    (setting.prefix / "snapshots" / "configuration-99.snapshot").write_bytes(b"of an earlier master")
    child = Child(setting, settings, lambda: quiet(declarative_config=str(file), log_level="debug"))
    try:
        wait_for(lambda: setting.shared.configuration_number == 1 and setting.shared.control_heartbeat)
        first = setting.shared.configuration_hash
        assert "configuration-99.snapshot" not in setting.snapshots()

        report = RunDirectory(setting.prefix).reload
        file.write_text('{"_format_version":"3.0","services":[{"name":"b"}]}')
        os.kill(child.pid, signal.SIGHUP)
        found = wait_for(lambda: read_json(report))
        assert (found["sequence"], found["ok"], found["configuration_hash"]) == (1, False, first)
        assert found["errors"] == [f"{file}:1: services[0].host: required field missing"]

        file.write_text('{"_format_version":"3.0"}')
        os.kill(child.pid, signal.SIGHUP)
        found = wait_for(lambda: now if (now := read_json(report)).get("sequence") == 2 else {})
        assert (found["ok"], found["errors"], found["configuration_number"]) == (True, [], 2)
        assert found["configuration_hash"] == "0" * 32

        child.log.rename(setting.prefix / "error.log.1")
        os.kill(child.pid, signal.SIGUSR1)
        wait_for(child.log.exists)
    finally:
        os.kill(child.pid, signal.SIGTERM)
    assert child.wait() == 0


def test_a_crashed_control_process_restores_what_was_live(
    setting: Setting, quiet: Callable[..., Settings]
) -> None:
    settings = quiet()
    loaded = configuration("127.0.0.1")
    directory = RunDirectory(setting.prefix)
    directory.control.mkdir()
    directory.node_id.write_text(NODE)
    Remembered(directory.last_configuration).save(loaded, EntityJson())
    setting.shared.publish_configuration(7, "b" * 32)
    child = Child(setting, settings, lambda: settings)
    try:
        wait_for(lambda: setting.shared.configuration_number == 8)
        assert setting.shared.configuration_hash == loaded.hash
        assert directory.node_id.read_text() == NODE
    finally:
        os.kill(child.pid, signal.SIGQUIT)
    assert child.wait() == 0


def test_a_first_start_that_cannot_be(setting: Setting, quiet: Callable[..., Settings]) -> None:
    file = setting.prefix / "kong.yml"
    file.write_text("_format_version: '3.0'\nservices:\n- name: a\n")
    settings = quiet(declarative_config=str(file))
    child = Child(setting, settings, lambda: settings)
    assert child.wait() == CANNOT_START
    assert f"{file}:3: services[0].host: required field missing" in child.log.read_text()
    assert setting.shared.configuration_number == 0
    assert setting.shared.control_heartbeat == 0


def test_the_log_is_written_in_the_gateways_form(tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    try:
        configure_logging(descriptor, "notice")
        log = logging.getLogger("test")
        log.info("not severe enough")
        log.log(NOTICE, "two\nlines")
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("failed")
    finally:
        root.handlers[:], root.level = kept
        os.close(descriptor)
    first, second = path.read_text().splitlines()
    assert first.endswith(f"[notice] {os.getpid()}#0: control: two\\nlines")
    assert "[error]" in second
    assert "ValueError: why" in second


def test_a_reload_without_a_file_keeps_what_was_posted(
    setting: Setting, quiet: Callable[..., Settings]
) -> None:
    async def test() -> None:
        settings = quiet()
        process = ControlProcess(
            settings, setting.shared, setting.notify, lambda: settings, ErrorLogHandler(ErrorLog(2))
        )
        plane = plane_of(setting)
        plane.start()
        posted = configuration("127.0.0.1")
        await plane.apply(posted)
        await process._reload(plane)
        assert plane.configuration is posted
        assert setting.shared.configuration_number == 2
        await plane.close()

    run(test())


def test_snapshots_are_sound(setting: Setting) -> None:
    async def test() -> None:
        await setting.publish(configuration("127.0.0.1", "127.0.0.2"))
        found = describe(setting.snapshot("configuration", 1).read_bytes())
        assert found["number"] == 1

    run(test())

"""A gateway that is started as root and runs its children as another user (setting USER)."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.run_directory import RunDirectory, read_json
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.upstreams import Upstream

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of another user")

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def unstarted(upstream: Upstream | None = None, **settings: object) -> Gateway:
    """A gateway whose prefix everybody may enter (a temporary directory is its owner's alone)."""
    gateway = Gateway(one_service(upstream.port) if upstream else None, user="nobody", **settings)
    gateway.prefix.chmod(0o755)
    return gateway


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    with unstarted(upstream, worker_processes=2) as running:
        yield running


def fields(pid: int) -> dict[str, list[str]]:
    """The lines of /proc/<pid>/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


def assert_children_are_nobody(gateway: Gateway, count: int) -> list[int]:
    """Their pids."""
    children = [child.pid for child in gateway.family()]
    assert len(children) == count
    for pid in children:
        found = fields(pid)
        assert found["Uid"] == [str(NOBODY.pw_uid)] * 4
        assert found["Gid"] == [str(NOBODY.pw_gid)] * 4
        assert found["Groups"] == [str(NOBODY.pw_gid)]
        assert int(found["CapEff"][0], 16) == int(found["CapPrm"][0], 16) == 0
        assert found["NoNewPrivs"] == ["1"]
    return children


def reload(gateway: Gateway) -> None:
    result = gateway.run_command("reload")
    assert result.returncode == 0, result.stderr


def test_children_are_another_user_and_serve(gateway: Gateway) -> None:
    assert_children_are_nobody(gateway, 3)
    assert gateway.process
    assert fields(gateway.process.pid)["Uid"][0] == "0"
    assert gateway.request("/x")[0] == 200
    assert gateway.call(gateway.status_port, "GET", "/metrics")[0] == 200
    assert "run as root" not in gateway.output()


def test_configurations_and_reloads(gateway: Gateway, upstream: Upstream) -> None:
    gateway.configure(one_service(upstream.port, name="posted"))
    assert gateway.request("/x")[0] == 200
    reload(gateway)
    assert gateway.request("/x")[0] == 200
    gateway.settings["worker_processes"] = 1
    reload(gateway)
    wait_for(lambda: len(gateway.family()) == 2, what="the replaced workers end")
    assert_children_are_nobody(gateway, 2)
    assert gateway.request("/x")[0] == 200
    assert "only a restart applies" not in gateway.output()


def test_children_that_died_come_back_as_that_user(gateway: Gateway) -> None:
    count = len(gateway.family())
    before = assert_children_are_nobody(gateway, count)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: len(now := gateway.family()) == count and not {one.pid for one in now} & set(before),
        what="new children",
    )
    wait_for(gateway.serves, seconds=30, what="they serve")
    assert_children_are_nobody(gateway, count)
    assert gateway.request("/x")[0] == 200
    reload(gateway)


def test_logs_are_rotated(gateway: Gateway) -> None:
    access, error = gateway.prefix / "access.log", gateway.prefix / "error.log"
    for log in (access, error):
        log.rename(log.with_suffix(".old"))
    assert gateway.process
    gateway.process.send_signal(signal.SIGUSR1)

    def is_logged() -> bool:
        gateway.request("/after-rotation")
        return access.exists() and "/after-rotation" in access.read_text()

    wait_for(is_logged, what="a request in the new access log")
    assert error.stat().st_uid == access.stat().st_uid == NOBODY.pw_uid
    reload(gateway)
    wait_for(lambda: "control: reloaded" in error.read_text(), what="the control process in the new log")
    assert "cannot be opened again" not in gateway.output()


def test_children_cannot_write_where_the_master_does(gateway: Gateway) -> None:
    directory = RunDirectory(gateway.prefix)
    for path in (gateway.prefix, directory.pid_file.path.parent, directory.state, gateway.prefix / "logs"):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022
    recorded = (gateway.prefix / "settings.json").stat()
    assert (recorded.st_uid, recorded.st_gid, recorded.st_mode & 0o777) == (0, NOBODY.pw_gid, 0o640)
    assert read_json(directory.reload)["ok"]


def test_a_killed_master_takes_its_children_along(upstream: Upstream) -> None:
    with unstarted(upstream) as gateway:
        children = assert_children_are_nobody(gateway, 2)
        assert gateway.process
        gateway.process.kill()
        gateway.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), what="their end")


def test_a_prefix_that_the_user_cannot_enter_is_refused(upstream: Upstream) -> None:
    gateway = unstarted(upstream)
    gateway.prefix.chmod(0o700)
    try:
        result = gateway.run_command("start")
    finally:
        gateway.stop()
        gateway.directory.cleanup()
    assert result.returncode == 1
    assert "(environment GATEWAY_USER): this user may not use" in result.stdout + result.stderr


def test_root_without_user_is_warned_once(upstream: Upstream) -> None:
    with Gateway(one_service(upstream.port)) as gateway:
        reload(gateway)
        assert gateway.output().count("all processes run as root: set USER") == 1
        assert all(fields(child.pid)["NoNewPrivs"] == ["1"] for child in gateway.family())

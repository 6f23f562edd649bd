"""Where Python plugins come from, what the Admin API knows of them, and what a reload does."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.run_directory import read_json
from gateway.testing import PluginGateway
from gateway.testing.plugin_gateway import exchange
from tests.support.gateway import wait_for

BEHAVIOURS = Path(__file__).parents[2] / "support" / "python_plugins" / "behaviours.py"
VERSION = """
    import asyncio
    import msgspec
    from gateway.pdk import Plugin, respond

    class Versioned(Plugin):
        class Config(msgspec.Struct):
            {config}
        config: Config

        async def access(self, request):
            if request.path == "/wait":
                await asyncio.sleep(0.5)
            return respond(200, "{text}")
"""
OTHER = """
    from gateway.pdk import Plugin, respond

    class Other(Plugin):
        def access(self, request):
            return respond(200, "other")
"""


class Plugins:
    """A directory of plugin files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, code: str, **values: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(code).format(**values) if values else textwrap.dedent(code))
        return file

    def version(self, text: str, config: str = "old: int = 1") -> Path:
        return self.write("versioned.py", VERSION, text=text, config=config)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Plugins:
    return Plugins(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed package that announces a plugin."""
    site = tmp_path_factory.mktemp("site")
    (site / "installed_plugins.py").write_text(
        textwrap.dedent(OTHER).replace("Other", "Installed").replace("other", "installed")
    )
    information = site / "installed_plugins-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-plugins\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[gateway.plugins]\ninstalled = installed_plugins:Installed\n"
    )
    return site


@pytest.fixture(scope="module")
def gateway(plugins: Plugins, packages: Path) -> Iterator[PluginGateway]:
    plugins.version("one")
    plugins.write("other.py", OTHER)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(packages)
    try:
        with PluginGateway(plugins.directory, BEHAVIOURS, worker_processes=2) as gateway:
            yield gateway
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def admin(gateway: PluginGateway, path: str, document: Any = None) -> tuple[int, Any]:
    body = None if document is None else json.dumps(document).encode()
    status, _, answer = gateway.admin("GET" if body is None else "POST", path, body)
    return status, json.loads(answer)


# --- the Admin API ---------------------------------------------------------------------------------------


def test_plugins_are_among_those_that_are_enabled(gateway: PluginGateway) -> None:
    _, enabled = admin(gateway, "/plugins/enabled")
    assert {"versioned", "other", "installed", "fully-configured", "key-auth"} <= set(
        enabled["enabled_plugins"]
    )
    _, root = admin(gateway, "/")
    assert root["plugins"]["available_on_server"]["fully-configured"] == {"version": "1.2.3", "priority": 77}


def test_the_schema_is_told(gateway: PluginGateway) -> None:
    status, schema = admin(gateway, "/schemas/plugins/fully-configured")
    assert status == 200
    (config,) = [field["config"] for field in schema["fields"] if "config" in field]
    fields = {name: rules for field in config["fields"] for name, rules in field.items()}
    assert fields["secret"]["type"] == "string"
    assert fields["secret"]["required"] is True
    assert fields["secret"]["encrypted"] is True
    assert fields["secret"]["description"] == "Nobody sees it."
    assert (fields["number"]["type"], fields["number"]["gt"], fields["number"]["default"]) == (
        "integer",
        0,
        1,
    )
    assert fields["choice"]["one_of"] == ["red", "green"]
    assert fields["names"]["elements"]["type"] == "string"
    (per_second,) = fields["limits"]["fields"]
    assert per_second["per_second"]["between"] == [1, 100]
    assert fields["note"].get("required") in (None, False)


@pytest.mark.parametrize(
    ("config", "errors"),
    [
        ({}, {"config": {"secret": "required field missing"}}),
        ({"secret": 1}, {"config": {"secret": "expected a string"}}),
        ({"secret": "s", "number": 0}, {"config": {"number": "value must be greater than 0"}}),
        ({"secret": "s", "choice": "blue"}, {"config": {"choice": "expected one of: red, green"}}),
        ({"secret": "s", "names": ["a", "B"]}, {"config": {"names": [None, "must match ^[a-z]+$"]}}),
        (
            {"secret": "s", "limits": {"per_second": 0}},
            {"config": {"limits": {"per_second": "value should be between 1 and 100"}}},
        ),
        ({"secret": "s", "more": 1}, {"config": {"more": "unknown field"}}),
        ({"secret": "s", "choice": "green", "number": 11}, {"@entity": ["green goes up to 10"]}),
    ],
)
def test_configurations_are_checked(
    gateway: PluginGateway, config: dict[str, Any], errors: dict[str, Any]
) -> None:
    entity = {"name": "fully-configured", "config": config}
    status, answer = admin(gateway, "/schemas/plugins/validate", entity)
    assert (status, answer["fields"]) == (400, errors)


def test_plugins_get_what_was_configured(gateway: PluginGateway) -> None:
    gateway.use("fully-configured", {"secret": "s", "names": ["a"], "limits": {"per_second": 7}})
    assert gateway.get("/").json() == {
        "secret": "s",
        "number": 1,
        "choice": "red",
        "names": ["a"],
        "limits": {"per_second": 7},
        "note": None,
    }


def test_installed_packages_bring_plugins(gateway: PluginGateway) -> None:
    gateway.use("installed")
    assert gateway.get("/").body == b"installed"


# --- reload ----------------------------------------------------------------------------------------------


def errors_of_reload(gateway: PluginGateway) -> list[str]:
    """Reload as `gateway reload` does, without the time that a command takes."""
    report = gateway.prefix / "control" / "reload.json"
    before = read_json(report).get("sequence", 0)
    assert gateway._process is not None
    gateway._process.send_signal(signal.SIGHUP)
    wait_for(lambda: read_json(report).get("sequence", 0) > before, what="the reload")
    errors: list[str] = read_json(report)["errors"]
    return errors


def answers(gateway: PluginGateway) -> set[bytes]:
    """What all workers say."""
    return {gateway.get("/").body for _ in range(20)}


def test_an_edited_file_is_taken_up(gateway: PluginGateway, plugins: Plugins) -> None:
    plugins.version("one")
    assert gateway.reload().returncode == 0
    gateway.use("versioned")
    assert answers(gateway) == {b"one"}
    plugins.version("two")
    assert answers(gateway) == {b"one"}  # not before the reload
    late: list[bytes] = []
    waiting = threading.Thread(target=lambda: late.append(gateway.get("/wait").body))
    waiting.start()
    outcome = gateway.reload()
    assert outcome.returncode == 0, outcome.stderr
    assert answers(gateway) == {b"two"}
    waiting.join()
    assert late == [b"one"]  # it ends with the code it began with


def test_broken_files_cost_nobody_else(gateway: PluginGateway, plugins: Plugins) -> None:
    broken = {
        "class Versioned(Plugin)\n    pass\n": "versioned.py:1: SyntaxError: ",
        "import nothing_of_that_name\n": "import.py:1: ModuleNotFoundError: No module named ",
        "\n\nraise SystemExit('no')\n": "exit.py:3: SystemExit: no",
        OTHER.replace(
            "access", "excess"
        ): "empty.py: TypeError: Other: it has none of the functions rewrite, access,",
    }
    plugins.version("good")
    plugins.write("other.py", OTHER.replace('"other"', '"other before"'))
    assert errors_of_reload(gateway) == []
    plugins.write("other.py", OTHER.replace('"other"', '"other after"'))
    files = [
        plugins.write(problem.partition(":")[0].partition(".py")[0] + ".py", code)
        for code, problem in broken.items()
    ]
    errors = errors_of_reload(gateway)
    for problem in broken.values():
        assert any(problem in error for error in errors), problem
        assert problem in gateway.log()
    gateway.use("versioned")
    assert answers(gateway) == {b"good"}
    gateway.use("other")
    assert answers(gateway) == {b"other after"}
    for file in files:
        file.unlink()
    plugins.version("mended")
    assert errors_of_reload(gateway) == []


def test_a_version_that_refuses_what_is_configured_is_not_taken(
    gateway: PluginGateway, plugins: Plugins
) -> None:
    plugins.version("old", "old: int = 1")
    assert errors_of_reload(gateway) == []
    gateway.use("versioned", {"old": 5})
    plugins.version("new", "new: str")
    (error,) = errors_of_reload(gateway)
    assert 'versioned does not accept a configuration that is in use: {"old":"unknown field"' in error
    assert answers(gateway) == {b"old"}
    plugins.version("newer", "old: float = 1.0; more: int = 2")
    assert errors_of_reload(gateway) == []
    assert answers(gateway) == {b"newer"}


def test_a_file_that_is_gone(gateway: PluginGateway, plugins: Plugins) -> None:
    gone = plugins.write("gone.py", OTHER.replace("Other", "Gone"))
    assert errors_of_reload(gateway) == []
    gateway.use("gone")
    gone.unlink()
    assert "the plugin gone is gone, but in use; it stays" in errors_of_reload(gateway)[0]
    assert answers(gateway) == {b"other"}
    gateway.use()
    assert errors_of_reload(gateway) == []
    assert "gone" not in admin(gateway, "/plugins/enabled")[1]["enabled_plugins"]


def test_packages_have_modules_of_their_own(gateway: PluginGateway, plugins: Plugins) -> None:
    plugins.write("several/__init__.py", "from .parts import Several\n")
    plugins.write("several/words.py", "WORD = 'first'\n")
    plugins.write(
        "several/parts.py",
        """
        from gateway.pdk import Plugin, respond

        from .words import WORD

        class Several(Plugin):
            def access(self, request):
                return respond(200, WORD)
        """,
    )
    assert errors_of_reload(gateway) == []
    gateway.use("several")
    assert answers(gateway) == {b"first"}
    plugins.write("several/words.py", "WORD = 'second'\n")
    assert errors_of_reload(gateway) == []
    assert answers(gateway) == {b"second"}


def test_names_that_are_taken(gateway: PluginGateway, plugins: Plugins) -> None:
    clash = plugins.write("clash.py", OTHER.replace("Other(Plugin):", 'Cors(Plugin):\n        name = "cors"'))
    twice = plugins.write("twice.py", OTHER)
    errors = errors_of_reload(gateway)
    assert any(f"{clash}: cors is the name of a plugin of the gateway itself" in error for error in errors)
    assert any("twice.py: the plugin other is in" in error for error in errors)
    clash.unlink()
    twice.unlink()
    assert errors_of_reload(gateway) == []


def test_a_worker_that_dies_comes_back_with_the_plugins(gateway: PluginGateway, plugins: Plugins) -> None:
    plugins.version("there")
    assert errors_of_reload(gateway) == []
    gateway.use("versioned")
    plugins.version("not yet")
    workers = {worker["pid"] for worker in status_of(gateway)["workers"]}
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: (
            sum(w["state"] == "serving" and w["pid"] not in workers for w in status_of(gateway)["workers"])
            == 2
        ),
        what="new workers",
    )
    assert answers(gateway) == {b"there"}


def status_of(gateway: PluginGateway) -> Any:
    return json.loads(exchange(gateway._status_port, "GET", "/status")[2])


# --- start -----------------------------------------------------------------------------------------------


def test_a_database_and_files_that_are_not_there(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.py", tmp_path / "broken.py"
    good.write_text(textwrap.dedent(OTHER))
    broken.write_text("1 +\n")
    with PluginGateway(good, broken, tmp_path / "nowhere", database="sqlite") as gateway:
        assert f"{broken}:1: SyntaxError" in gateway.log()
        assert f"{tmp_path}/nowhere: there is no such file or directory" in gateway.log()
        service = {"name": "upstream", "url": f"http://127.0.0.1:{gateway.upstream.port}"}
        assert admin(gateway, "/services", service)[0] == 201
        assert admin(gateway, "/services/upstream/routes", {"paths": ["/"]})[0] == 201
        assert gateway.get("/").body == b"ok"
        assert admin(gateway, "/plugins", {"name": "other"})[0] == 201
        assert gateway.get("/").body == b"other"
        # A control process that begins anew does not find it: nothing is let through without it.
        good.unlink()
        (control,) = [
            process
            for process in psutil.Process(gateway._process.pid).children()
            if process.name() == "gateway-control"
        ]
        control.kill()
        gateway.wait_for_log("the plugin other is configured, but not available here")
        wait_for(lambda: gateway.get("/").status == 500, what="it is not served")
        status, listed = admin(gateway, "/plugins")
        assert (status, [plugin["name"] for plugin in listed["data"]]) == (200, ["other"])
        gateway.wait_for_log(
            "plugin other failed: SourceError: the plugin is configured, but not available here"
        )
        good.write_text(textwrap.dedent(OTHER))
        assert len(errors_of_reload(gateway)) == 2  # of the other two
        assert gateway.get("/").body == b"other"

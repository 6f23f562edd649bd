"""The command `gateway`, as far as it needs no running gateway (the rest: integration/test_processes.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import __version__
from gateway.cli import app
from gateway.cli.lifecycle import launch_command, python_module
from gateway.cli.options import Invocation
from gateway.settings import DECLARATIONS
from gateway.settings import sources as sources_module


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("GATEWAY_", "KONG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_PREFIX", str(tmp_path / "prefix"))
    monkeypatch.setattr(sources_module, "CONF_LOCATIONS", ())


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_version() -> None:
    result = run("version")
    assert (result.exit_code, result.stdout) == (0, f"{__version__}\n")


def test_every_version() -> None:
    lines = run("version", "-a").stdout.splitlines()
    assert lines[0].startswith(f"sluicegate {__version__} (speaks Kong 3.9")
    assert {line.split()[0] for line in lines} >= {"python", "granian", "msgspec"}


@pytest.mark.parametrize(
    "name", ["start", "stop", "quit", "reload", "restart", "check", "health", "config", "bench"]
)
def test_commands_are_explained(name: str) -> None:
    assert name in run("--help").stdout
    assert run(name, "--help").exit_code == 0


def test_version_loads_little() -> None:
    """What makes commands slow must only be loaded by those that need it."""
    code = "import sys; from gateway.cli import app; app(['version'], standalone_mode=False); "
    code += "print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in output.split()}
    assert not loaded & {"typer", "pydantic", "rich", "granian", "msgspec", "yaml", "starlette", "asyncio"}


# --- config show --------------------------------------------------------------------------------------


def test_config_show_has_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KONG_LOG_LEVEL", "warn")
    result = run("config", "show")
    assert result.exit_code == 0
    for name, declaration in DECLARATIONS.items():
        assert f"GATEWAY_{name.upper()} " in result.stdout
        assert declaration.meaning.split()[0] in result.stdout
    row = next(line for line in result.stdout.splitlines() if "GATEWAY_LOG_LEVEL " in line)
    assert "warn" in row
    assert "environment KONG_LOG_LEVEL" in row


def test_config_show_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_DECLARATIVE_CONFIG_STRING", "password: hunter2")
    result = run("config", "show", "--json", "--set", "SEND_TIMEOUT=3s")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert len(rows) == len(DECLARATIONS)
    assert rows["GATEWAY_SEND_TIMEOUT"]["value"] == "3s"
    assert rows["GATEWAY_SEND_TIMEOUT"]["origin"] == "flag"
    assert rows["GATEWAY_SEND_TIMEOUT"]["default"] == "60s"
    assert rows["GATEWAY_WORKER_PROCESSES"]["value"].startswith("auto (")
    assert "hunter2" not in result.stdout


def test_reference_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    text = run("config", "show", "--markdown").stdout
    for name, declaration in DECLARATIONS.items():
        assert f"## GATEWAY_{name.upper()}\n\n{declaration.meaning}.\n" in text
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "debug")
    assert run("config", "show", "--markdown").stdout == text


# --- check --------------------------------------------------------------------------------------------


def test_check_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("check").stdout == "the settings are valid\n"
    monkeypatch.setenv("GATEWAY_LOG_LEVL", "debug")
    result = run("check")
    assert result.exit_code == 0
    assert "Warning: unknown setting GATEWAY_LOG_LEVL; did you mean GATEWAY_LOG_LEVEL?" in result.stderr
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "loud")
    monkeypatch.setenv("KONG_DATABASE", "cassandra")
    result = run("check")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 3


def test_check_of_a_conf_file(tmp_path: Path) -> None:
    conf = tmp_path / "gateway.conf"
    conf.write_text("log_level = warn\n")
    assert run("check", str(conf)).stdout == f"configuration at {conf} is valid\n"
    conf.write_text("log_level = loud\n")
    result = run("check", str(conf))
    assert result.exit_code == 1
    assert f"LOG_LEVEL = 'loud' (conf file {conf}, line 1)" in result.stderr


def test_check_of_a_declarative_file(tmp_path: Path) -> None:
    file = tmp_path / "kong.yml"
    file.write_text("_format_version: '3.0'\nservices: []\n")
    assert run("check", str(file)).stdout == f"{file} is valid\n"
    file.write_text("_format_version: '3.0'\nservices:\n- host: a b\n  made_up: 1\n")
    result = run("check", str(file))
    assert result.exit_code == 1
    assert "services[0].host" in result.stderr
    assert "services[0].made_up" in result.stderr
    result = run("check", str(tmp_path / "missing.yml"))
    assert result.exit_code == 1
    assert "no such file" in result.stderr


def test_check_reads_the_declarative_configuration_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_DECLARATIVE_CONFIG_STRING", "nothing: 1")
    result = run("check")
    assert result.exit_code == 1
    assert "nothing: unknown field" in result.stderr
    monkeypatch.delenv("GATEWAY_DECLARATIVE_CONFIG_STRING")
    result = run("check", "--set", f"declarative_config={tmp_path}/none.yml")
    assert result.exit_code == 1
    assert "none.yml" in result.stderr


def test_the_example_is_valid() -> None:
    root = Path(__file__).parent.parent.parent
    assert run("check", str(root / "examples" / "quickstart.yml")).exit_code == 0
    assert run("check", str(root / "examples" / "gateway.conf")).exit_code == 0


# --- nothing runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stop", "quit", "reload", "health"])
def test_nothing_to_talk_to(command: str, tmp_path: Path) -> None:
    result = run(command)
    assert result.exit_code == 1
    assert result.stderr == f"Error: Sluicegate is not running in {tmp_path}/prefix\n"
    pid_file = tmp_path / "prefix" / "pids" / "gateway.pid"
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text("1\n")  # a left-over; the process with this id is somebody else
    result = run(command, "--prefix", str(tmp_path / "prefix"))
    assert result.exit_code == 1
    assert "is not running" in result.stderr


def test_stop_works_with_a_mistake_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "loud")
    assert "is not running" in run("stop").stderr


def test_stop_does_not_guess_a_prefix(tmp_path: Path) -> None:
    result = run("stop", "--conf", str(tmp_path / "missing.conf"))
    assert result.exit_code == 1
    assert "missing.conf cannot be read" in result.stderr


def test_start_reports_every_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "loud")
    result = run("start", "--worker-processes", "none")
    assert result.exit_code == 1
    assert "LOG_LEVEL = 'loud' (environment GATEWAY_LOG_LEVEL)" in result.stderr
    assert "WORKER_PROCESSES = 'none' (flag)" in result.stderr
    assert not (tmp_path / "prefix").exists()


def test_start_with_a_bad_declarative_file(tmp_path: Path) -> None:
    file = tmp_path / "kong.yml"
    file.write_text("_format_version: '3.0'\nroutes:\n- paths: [x]\n")
    result = run("start", "--declarative-config", str(file))
    assert result.exit_code == 1
    assert "kong.yml:3: routes[0].paths[0]: should start with: /" in result.stderr
    assert not (tmp_path / "prefix").exists()


def test_start_with_a_prefix_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("start", "--prefix", str(tmp_path / "file" / "prefix"))
    assert result.exit_code == 1
    assert f"cannot use the prefix {tmp_path}/file/prefix (flag): Not a directory" in result.stderr


def test_set_needs_name_and_value() -> None:
    result = run("check", "--set", "log_level")
    assert result.exit_code == 1
    assert result.stderr == "Error: --set log_level: expected NAME=VALUE\n"
    assert "unknown setting 'log_levl'" in run("check", "--set", "log_levl=debug").stderr


def test_master_gets_the_same_settings() -> None:
    invocation = Invocation(Path("a.conf"), {"log_level": "warn"})
    command = launch_command(invocation, "--background")
    assert command[0] == sys.executable
    assert command[-5:] == ["--background", "--conf", "a.conf", "--set", "log_level=warn"]
    assert "gateway.launch" in command


def test_modules_of_the_working_directory_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/usr/bin", *sys.path[1:]])  # as for an installed command
    assert python_module("gateway.launch")[1] == "-P"

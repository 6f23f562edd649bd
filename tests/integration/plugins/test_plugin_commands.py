"""gateway plugin: what authors of plugins call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "KONG_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_plugin_passes_its_own_test(tmp_path: Path) -> None:
    outcome = run("gateway", "plugin", "new", "ticket-office", "--directory", str(tmp_path / "plugins"))
    assert outcome.returncode == 0, outcome.stderr
    assert f"GATEWAY_PLUGIN_PATH={tmp_path}/plugins gateway start" in outcome.stdout
    tested = run(
        "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path / "plugins")
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    again = run("gateway", "plugin", "new", "ticket-office", "--directory", str(tmp_path / "plugins"))
    assert again.returncode == 1
    assert again.stderr == f"Error: {tmp_path}/plugins/ticket_office.py exists already\n"


def test_plugins_are_checked_and_listed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(
        "from gateway.pdk import Plugin\nclass Good(Plugin):\n    priority = 3\n    def log(self, *_): pass\n"
    )
    bad.write_text("import gateway.pdk\nx = 1 / 0\n")
    outcome = run("gateway", "plugin", "check", str(good))
    assert (outcome.returncode, outcome.stdout) == (0, f"{good} is all right: good\n")
    outcome = run("gateway", "plugin", "check", str(bad))
    assert outcome.returncode == 1
    assert outcome.stderr == f"Error: {bad} cannot be used:\n{bad}:2: ZeroDivisionError: division by zero\n"
    outcome = run("gateway", "plugin", "list", GATEWAY_PLUGIN_PATH=str(tmp_path))
    assert outcome.stdout == f"good 0.1.0  priority 3  {good}\n"
    assert (outcome.returncode, f"{bad}:2: ZeroDivisionError" in outcome.stderr) == (1, True)


def test_names_that_are_none() -> None:
    outcome = run("gateway", "plugin", "new", "Bad Name")
    assert outcome.returncode == 1
    assert "'Bad Name' cannot be the name of a plugin" in outcome.stderr


def test_files_are_checked_with_the_plugins_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import msgspec\nfrom gateway.pdk import Plugin\nclass Mine(Plugin):\n"
        "    class Config(msgspec.Struct):\n        word: str\n    def log(self, r, o): pass\n"
    )
    file = tmp_path / "kong.yml"
    file.write_text('_format_version: "3.0"\nplugins:\n- name: mine\n  config:\n    word: 1\n')
    outcome = run("gateway", "check", str(file))
    assert "plugin 'mine' not enabled" in outcome.stderr
    outcome = run("gateway", "check", str(file), GATEWAY_PLUGIN_PATH=str(tmp_path))
    assert "plugins[0].config.word: expected a string" in outcome.stderr

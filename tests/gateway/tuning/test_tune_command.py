"""`gateway tune`: what it prints, writes and leaves alone. Everything lies below a root of the test's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result
from fake_machines import SYSCTLS, machine, situation, write

from gateway.cli import app
from gateway.settings import sources as sources_module
from gateway.tuning.advice import advise
from gateway.tuning.applying import ApplyError, apply, plan_changes
from gateway.tuning.presets import MARK, fitted_files, parse_assignments
from gateway.tuning.profiles import PROFILES
from gateway.tuning.rules import Verdict

SCHEMA = {
    "type": "object",
    "required": ["format", "profile", "machine", "gateway", "advice"],
    "additionalProperties": False,
    "properties": {
        "format": {"const": 1},
        "profile": {"enum": list(PROFILES)},
        "machine": {"type": "object"},
        "gateway": {"type": ["object", "null"]},
        "advice": {
            "type": "array",
            "minItems": 20,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["area", "name", "current", "wanted", "verdict", "reason", "source", "effect"],
                "properties": {
                    "area": {"enum": ["setting", "limit", "kernel", "machine"]},
                    "name": {"type": "string"},
                    "current": {"type": ["string", "null"]},
                    "wanted": {"type": ["string", "null"]},
                    "verdict": {"enum": [verdict.value for verdict in Verdict]},
                    "reason": {"type": "string", "minLength": 10},
                    "source": {"type": "string"},
                    "effect": {"enum": ["at once", "at a reload", "at a restart"]},
                },
            },
        },
    },
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("GATEWAY_", "KONG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_PREFIX", str(tmp_path / "prefix"))
    monkeypatch.setattr(sources_module, "CONF_LOCATIONS", ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine whose listen queue is short, where the usual directories are."""
    root = tmp_path / "root"
    files = {f"proc/sys/{name.replace('.', '/')}": f"{value}\n" for name, value in SYSCTLS.items()}
    write(root, {**files, "proc/sys/net/core/somaxconn": "128\n", "proc/meminfo": "MemTotal: 8388608 kB\n"})
    for directory in ("etc/sysctl.d", "etc/systemd/system", "etc/security/limits.d"):
        (root / directory).mkdir(parents=True)
    return root


def tune(root: Path, *arguments: str, answer: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(
        app, ["tune", "--root", str(root), *arguments], input=answer, catch_exceptions=False
    )


def test_table_says_from_what_to_what_and_why(root: Path) -> None:
    result = tune(root, "--profile", "medium")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "net.core.somaxconn" in line)
    assert "128" in line
    assert "4096" in line
    assert "PROXY_LISTEN asks for 16384" in result.stdout
    assert "tcp_fin_timeout" not in result.stdout
    assert "does not shorten TIME-WAIT" in tune(root, "--all").stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_json_has_its_form(root: Path, profile: str) -> None:
    document = json.loads(tune(root, "--json", "--profile", profile).stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["profile"] == profile


def test_json_of_this_machine(tmp_path: Path) -> None:
    jsonschema.validate(json.loads(tune(Path("/"), "--json").stdout), SCHEMA)


def test_apply_shows_asks_writes_and_is_idempotent(root: Path) -> None:
    refused = tune(root, "--apply", "--profile", "medium", answer="n\n")
    assert refused.exit_code == 1
    assert "nothing was written" in refused.stderr
    assert "net.core.somaxconn = 4096" in refused.stderr
    assert list((root / "etc").rglob("*.conf")) == []

    done = tune(root, "--apply", "--profile", "medium", answer="y\n")
    assert done.exit_code == 0, done.output
    drop_in = root / "etc/sysctl.d/90-sluicegate.conf"
    assert drop_in.read_text().startswith(MARK)
    assert parse_assignments(drop_in.read_text())["net.core.somaxconn"] == "4096"
    assert (root / "proc/sys/net/core/somaxconn").read_text() == "4096"

    before = {path: path.read_text() for path in root.rglob("*") if path.is_file()}
    again = tune(root, "--apply", "--yes", "--profile", "medium")
    assert again.exit_code == 0
    assert {path: path.read_text() for path in root.rglob("*") if path.is_file()} == before


def test_what_was_applied_before_stays_in_the_file_and_beside_it(root: Path) -> None:
    tune(root, "--apply", "--yes", "--profile", "medium")
    (root / "proc/sys/fs/nr_open").write_text("1024\n")
    assert tune(root, "--apply", "--yes", "--profile", "medium").exit_code == 0
    drop_in = root / "etc/sysctl.d/90-sluicegate.conf"
    values = parse_assignments(drop_in.read_text())
    assert values.keys() == {"net.core.somaxconn", "fs.nr_open"}
    before = drop_in.with_name(drop_in.name + ".before")
    assert parse_assignments(before.read_text()).keys() == {"net.core.somaxconn"}


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_files_of_others_are_never_touched(root: Path, tmp_path: Path, kind: str) -> None:
    place = root / "etc/sysctl.d/90-sluicegate.conf"
    victim = tmp_path / "victim"
    victim.write_text(f"{MARK}\nprecious\n")
    if kind == "file":
        place.write_text("net.core.somaxconn = 64\n")
    elif kind == "link":
        place.symlink_to(victim)
    else:
        place.mkdir()
    result = tune(root, "--apply", "--yes", "--profile", "medium")
    assert result.exit_code == 1
    assert "was not written by gateway tune" in result.stderr
    assert victim.read_text() == f"{MARK}\nprecious\n"
    assert (root / "proc/sys/net/core/somaxconn").read_text() == "128\n"
    if kind == "file":
        assert place.read_text() == "net.core.somaxconn = 64\n"


def test_container_is_told_what_to_set_outside(root: Path) -> None:
    (root / ".dockerenv").touch()
    result = tune(root, "--apply", "--yes", "--profile", "medium")
    assert "docker run --sysctl net.core.somaxconn='4096'" in result.stderr
    assert not (root / "etc/sysctl.d/90-sluicegate.conf").exists()
    assert (root / "proc/sys/net/core/somaxconn").read_text() == "128\n"


def test_output_writes_files_elsewhere_and_nothing_else(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "files"
    result = tune(root, "--output", str(target), "--profile", "large")
    assert result.exit_code == 0
    assert {"gateway.env", "sysctl.conf"} <= {path.name for path in target.iterdir()}
    assert "# consider: GATEWAY_" in (target / "gateway.env").read_text()
    assert list((root / "etc").rglob("*.*")) == [root / "etc/sysctl.d", root / "etc/security/limits.d"]
    (target / "gateway.env").write_text("mine")
    assert tune(root, "--output", str(target)).exit_code == 1
    assert (target / "gateway.env").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_refusal_without_permission(root: Path) -> None:
    """As a user who may write nothing: a clear error, and nothing is half applied."""
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    facts = machine(sysctls={"net.core.somaxconn": "128"}, open_files_hard=1024)
    at = situation(facts)
    plan = plan_changes(facts, at.profile, advise(at), root)
    assert len(plan.changes) >= 3
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for parent in [*root.parents]:
                if parent.stat().st_uid == 0 and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
            os.setuid(65534)
            apply(plan)
        except ApplyError as error:
            status = 0 if "needs root" in str(error) and "--output" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list((root / "etc").rglob("*sluicegate*")) == []


def test_without_permission_kernel_settings_are_left_to_root(root: Path) -> None:
    facts = machine(sysctls={"net.core.somaxconn": "128"}, sysctls_writable=False)
    at = situation(facts)
    plan = plan_changes(facts, at.profile, advise(at), root)
    assert plan.changes == ()
    assert "as root" in plan.refused[0]


def test_settings_of_a_mistake_are_refused(root: Path) -> None:
    result = tune(root, "--set", "worker_processes=many")
    assert result.exit_code == 1
    assert "worker_processes" in result.stderr.lower()


def test_files_carry_changes_and_name_what_to_consider() -> None:
    at = situation(machine(memory=64 << 30, open_files_hard=4096), "large", upstream_keepalive_pool_size="1")
    files = fitted_files(at.profile, advise(at))
    assert parse_assignments(files["gateway.env"]) == {"GATEWAY_UPSTREAM_KEEPALIVE_POOL_SIZE": "512"}
    assert "# consider: GATEWAY_MEM_CACHE_SIZE=1g" in files["gateway.env"]
    assert "LimitNOFILE=66048" in files["systemd.conf"]
    assert "nofile 66048" in files["limits.conf"]


def test_environment_file_is_one_that_a_shell_and_the_gateway_read(tmp_path: Path) -> None:
    for profile in PROFILES:
        file = Path(__file__).parents[3] / "tuning" / profile / "gateway.env"
        values = parse_assignments(file.read_text())
        environ = {**os.environ, **values, "GATEWAY_PREFIX": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "check"],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

"""`make asan`: the native modules under AddressSanitizer and UBSan.

Builds them into a tree of their own (build/sanitized) beside copies of the Python packages, then runs there:
the unit tests of native/, the fuzz corpus, and an integration smoke with real gateway processes. Records and
buffers are not recycled in this build, so every use after they were given back is seen. Any report of a
sanitizer, in whatever process, fails the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "sanitized"
REPORTS = TREE / "reports"
FUZZ_SECONDS = "20"
INTEGRATION_SMOKE = [
    "tests/integration/test_http_keepalive.py",
    "tests/integration/test_http_bodies.py",
    "tests/integration/test_http_strictness.py",
    "tests/integration/test_http_responses.py",
    "tests/integration/test_http_upstream_errors.py",
    "tests/integration/test_http_upgrade.py",
    "tests/integration/test_http_retries.py",
    "tests/integration/test_http_desync.py",
    "tests/integration/test_http_chaos.py",
    "tests/integration/test_balancing.py",
    "tests/integration/plugins",
]


def library(name: str) -> str:
    """The path of a compiler runtime; the sanitizers must be loaded before Python itself."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    if path == name:
        sys.exit(f"{name} is not installed: it comes with gcc (Debian: apt install gcc)")
    return path


def build() -> None:
    for package in ("gateway", "tests", "bench"):
        shutil.rmtree(TREE / package, ignore_errors=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / package, TREE / package, ignore=ignore)
    subprocess.run(
        [
            sys.executable,
            "setup.py",
            "-q",
            "build_ext",
            f"--build-lib={TREE}",
            f"--build-temp={ROOT / 'build' / 'sanitized-objects'}",
            "--parallel=2",
        ],
        cwd=ROOT,
        env=os.environ | {"GATEWAY_SANITIZE": "1"},
        check=True,
    )
    for package in ("native", "native/steps"):
        shutil.copy(ROOT / package / "__init__.py", TREE / package / "__init__.py")
    shutil.copy(ROOT / "pyproject.toml", TREE / "pyproject.toml")
    shutil.copytree(ROOT / "examples", TREE / "examples", dirs_exist_ok=True)


def run(*command: str) -> bool:
    environment = os.environ | {
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        # CPython itself never frees everything; leaks of ours are found by tests that count
        "ASAN_OPTIONS": f"detect_leaks=0:quarantine_size_mb=32:log_path={REPORTS}/asan",
        "UBSAN_OPTIONS": f"print_stacktrace=1:halt_on_error=1:log_path={REPORTS}/ubsan",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(TREE),
        "GATEWAY_TEST_SANITIZED": "1",
    }
    print("+", *command, flush=True)
    return subprocess.run([sys.executable, *command], cwd=TREE, env=environment, check=False).returncode == 0


def main() -> int:
    build()
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    passed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/native")
    passed = run("tests/fuzz/run.py", "--seconds", FUZZ_SECONDS) and passed
    passed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", *INTEGRATION_SMOKE) and passed
    reports = sorted(REPORTS.iterdir())
    for report in reports:
        print(f"--- {report.name}\n{report.read_text(errors='replace')[:8000]}")
    return 0 if passed and not reports else 1


if __name__ == "__main__":
    sys.exit(main())

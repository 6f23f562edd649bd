"""Where processors are short, requests go first: before the control process, before new snapshots."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest

from gateway.control.process import NICENESS
from gateway.worker import NICENESS as WORKER_NICENESS
from tests.support.gateway import Gateway


def test_workers_go_first(shared_gateway: Gateway) -> None:
    _, _, body = shared_gateway.call(shared_gateway.admin_port, "GET", "/")
    pids = json.loads(body)["pids"]
    master = psutil.Process(pids["master"])
    others = [child for child in master.children() if child.pid not in pids["workers"]]
    assert [child.nice() for child in others] == [master.nice() + NICENESS]
    for pid in pids["workers"]:
        above = {name: nice - master.nice() for name, nice in niceness_of_threads(pid).items()}
        # there from the first job on, which others may have had here
        assert above.pop("gateway-py", WORKER_NICENESS + 1) > WORKER_NICENESS
        assert above == {"gateway-work": WORKER_NICENESS, "gateway-loop": 0, "gateway-log": 0}


def test_a_worker_gets_the_processor_at_once(shared_gateway: Gateway) -> None:
    """Its loop asks for shorter slices than others, where the kernel tells (Linux 6.12)."""
    slices: dict[str, int] = {}
    for task in Path(f"/proc/{shared_gateway.worker_pids()[0]}/task").iterdir():
        if not (task / "sched").exists():
            pytest.skip("this kernel does not show what its scheduler does")
        found = re.search(r"^se\.slice\s*:\s*(\d+)", (task / "sched").read_text(), re.MULTILINE)
        if found is None:
            pytest.skip("this kernel knows no slices")
        slices[(task / "comm").read_text().partition("/")[0]] = int(found[1])
    assert slices["gateway-loop"] == 100_000 < slices["gateway-work"]


def niceness_of_threads(pid: int) -> dict[str, int]:
    """By the part of a thread's name before its number."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(")")
        found[name.partition("/")[0]] = int(fields.split()[16])
    return found

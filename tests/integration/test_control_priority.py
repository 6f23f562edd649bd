"""Where processors are short, requests go first: before the control process, before new snapshots."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

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
        assert above == {"gateway-work": WORKER_NICENESS, "gateway-loop": 0, "gateway-log": 0}


def niceness_of_threads(pid: int) -> dict[str, int]:
    """By the part of a thread's name before its number."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(")")
        found[name.partition("/")[0]] = int(fields.split()[16])
    return found

"""The control process stands back behind the workers where processors are short."""

from __future__ import annotations

import json

import psutil

from gateway.control.process import NICENESS
from tests.support.gateway import Gateway


def test_workers_go_first(shared_gateway: Gateway) -> None:
    _, _, body = shared_gateway.call(shared_gateway.admin_port, "GET", "/")
    pids = json.loads(body)["pids"]
    master = psutil.Process(pids["master"])
    others = [child for child in master.children() if child.pid not in pids["workers"]]
    assert [child.nice() for child in others] == [master.nice() + NICENESS]
    assert {psutil.Process(pid).nice() for pid in pids["workers"]} == {master.nice()}

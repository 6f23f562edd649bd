"""What a gateway holds on to: descriptors, memory, mapped snapshots. To compare before and after trouble."""

from __future__ import annotations

import http.client
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.gateway import PATIENCE, Gateway, wait_for

MEMORY_SLACK = 1 << 20
"""bytes of private memory that may come and go; 100 bytes lost by each of 10,000 requests show"""


def workers(gateway: Gateway) -> list[dict[str, Any]]:
    """The blocks of the serving workers, as the status listener shows them."""
    return [worker for worker in gateway.status()["workers"] if worker["state"] == "serving"]


def other_workers(gateway: Gateway, pids: set[int], count: int) -> bool:
    """Whether `count` workers serve, none of `pids` among them. False while the status listener is down."""
    try:
        serving = {worker["pid"] for worker in workers(gateway)}
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return len(serving) == count and not serving & pids


def other_control(gateway: Gateway, pid: int) -> bool:
    """Whether another control process than `pid` serves, and its Admin API with it (though it may want a
    token)."""
    try:
        serving = gateway.status()["control"]["pid"]
        admin, _, _ = gateway.call(gateway.admin_port, "GET", "/status")
        ready, _, _ = gateway.call(gateway.status_port, "GET", "/status/ready")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return serving != pid and admin in (200, 401) and ready == 200


BAD_LINE = re.compile(r"not given back|\[crit\]|ended by signal (?!9\b)|ended with exit code (?!0\b)")
"""in the error log: only what a test kills with signal 9 may end unasked"""


class TidyGateway(Gateway):
    """A gateway whose workers must have given back every buffer and record when they end."""

    def stop(self) -> None:
        problem = ""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=PATIENCE)
        if (self.prefix / "error.log").exists():
            lines = (self.prefix / "error.log").read_text().splitlines()
            problem = "\n".join(line for line in lines if BAD_LINE.search(line))
        super().stop()
        assert not problem, problem


def at_rest(gateway: Gateway, seconds: float = PATIENCE) -> None:
    """Wait until no worker has a client, or a connection to an upstream that is in use."""

    def quiet() -> bool:
        return all(w["connections_active"] == 0 and w["upstream_active"] == 0 for w in workers(gateway))

    try:
        wait_for(quiet, seconds=seconds, what="no connection in use")
    except AssertionError as error:
        raise AssertionError(f"{error}: {workers(gateway)}") from None
    server = gateway.status()["server"]
    states = {name: server[f"connections_{name}"] for name in ("reading", "waiting", "writing")}
    assert not any(states.values()), f"no connections, but these states are counted: {states}"


@dataclass(frozen=True)
class Footprint:
    """Of the serving workers, summed: processes may have been replaced between two of them."""

    descriptors: int
    """without idle connections to upstreams, which are kept on purpose"""
    private_bytes: int
    """memory that goes when the workers go (USS)"""
    snapshot_mappings: int

    @classmethod
    def of(cls, gateway: Gateway) -> Footprint:
        """Take it at rest, once old snapshots are unmapped: within a second or two."""
        at_rest(gateway)

        def two_each() -> bool:
            return all(worker["snapshots_mapped"] == 3 for worker in workers(gateway))

        wait_for(two_each, what="one configuration and one set of peers mapped in each worker")
        descriptors = private = mappings = 0
        for worker in workers(gateway):
            process = psutil.Process(worker["pid"])
            descriptors += process.num_fds() - worker["upstream_idle"]
            private += process.memory_full_info().uss
            mappings += Path(f"/proc/{worker['pid']}/maps").read_text().count(".snapshot")
        return cls(descriptors, private, mappings)

    def check(self, before: Footprint, slack: int = MEMORY_SLACK) -> None:
        """Fail the test when anything has grown since `before`."""
        assert self.descriptors == before.descriptors, "descriptors are left open"
        assert self.snapshot_mappings == before.snapshot_mappings, "old snapshots are still mapped"
        if os.environ.get("GATEWAY_TEST_SANITIZED"):
            return  # AddressSanitizer keeps what is freed for a while
        grown = self.private_bytes - before.private_bytes
        assert grown <= slack, f"the workers' memory has grown by {grown >> 10} KiB"

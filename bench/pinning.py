"""Which CPUs the measured proxy gets and which are left for load and backend."""

from __future__ import annotations

import os
import re

from bench.report import Pinning

NOT_PINNED = Pinning(proxy=[], load=[], backend=[], control=[])


def plan(workers: int, cpus: list[int] | None = None) -> Pinning | None:
    """A division of the usable CPUs; None when there are not enough to keep the proxy to itself.

    The proxy gets the last `workers` CPUs. Of the others the first serves the backend and the rest wrk; with
    a single one left, both share it.
    """
    usable = sorted(os.sched_getaffinity(0)) if cpus is None else cpus
    others = usable[: len(usable) - workers]
    if not others:
        return None
    return Pinning(proxy=usable[-workers:], load=others[1:] or others, backend=others[:1], control=[])


def parse_cpus(text: str) -> list[int]:
    """CPU numbers like "0,2-3". ValueError says what is wrong."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        matched = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if matched is None:
            raise ValueError(f"{part!r} is not a CPU number or a range like 0-3")
        first, last = matched.groups()
        found.update(range(int(first), int(last or first) + 1))
    if wrong := found - os.sched_getaffinity(0):
        raise ValueError(f"CPU {min(wrong)} is not there or may not be used")
    return sorted(found)

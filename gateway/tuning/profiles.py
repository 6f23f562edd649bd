"""Sizes of machines, and what each gets. `gateway tune` chooses one by processors and memory, or is told one.

The files in tuning/ are written from these (`make docs`), so numbers stand here only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.settings.values import descriptors_needed
from gateway.tuning.facts import Facts

GIB = 1 << 30


@dataclass(frozen=True)
class Profile:
    """A size of machine. It belongs to machines with up to `processors` and `memory` bytes."""

    name: str
    meant_for: str
    processors: float
    memory: float
    settings: Mapping[str, str]
    """of the gateway, by name"""
    accept_queue: int
    """connections that may wait at a listening socket (net.core.somaxconn)"""
    many_connections: bool
    """whether connections to one upstream address may need more local ports than the kernel's default"""

    @property
    def connections(self) -> int:
        """Client connections of one worker."""
        return int(self.settings["worker_connections"])

    @property
    def descriptors(self) -> int:
        """Open files of one worker."""
        return descriptors_needed(self.connections)


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "small",
            "one processor, or a small container, with other programs beside the gateway",
            processors=1.5,
            memory=1 * GIB,
            settings={
                "worker_processes": "1",
                "worker_connections": "4096",
                "upstream_keepalive_pool_size": "128",
                "mem_cache_size": "32m",
                "rate_limit_table_size": "4m",
                "jwt_cache_size": "8m",
                "cpu_affinity": "off",
            },
            accept_queue=4096,
            many_connections=False,
        ),
        Profile(
            "medium",
            "two to four processors; the settings' defaults",
            processors=4,
            memory=4 * GIB,
            settings={
                "worker_processes": "auto",
                "worker_connections": "16384",
                "upstream_keepalive_pool_size": "512",
                "mem_cache_size": "128m",
                "rate_limit_table_size": "12m",
                "jwt_cache_size": "32m",
                "cpu_affinity": "off",
            },
            accept_queue=4096,
            many_connections=False,
        ),
        Profile(
            "large",
            "five to sixteen processors for the gateway alone",
            processors=16,
            memory=32 * GIB,
            settings={
                "worker_processes": "auto",
                "worker_connections": "32768",
                "upstream_keepalive_pool_size": "512",
                "mem_cache_size": "1g",
                "rate_limit_table_size": "48m",
                "jwt_cache_size": "64m",
                "cpu_affinity": "off",
            },
            accept_queue=16384,
            many_connections=True,
        ),
        Profile(
            "xlarge",
            "more than sixteen processors for the gateway alone",
            processors=float("inf"),
            memory=float("inf"),
            settings={
                "worker_processes": "auto",
                "worker_connections": "65536",
                "upstream_keepalive_pool_size": "1024",
                "mem_cache_size": "4g",
                "rate_limit_table_size": "192m",
                "jwt_cache_size": "128m",
                "cpu_affinity": "auto",
            },
            accept_queue=16384,
            many_connections=True,
        ),
    )
}
"""from the smallest to the largest"""


def choose_profile(facts: Facts) -> Profile:
    """The smallest profile that this machine's processors fill, or its memory if that is the scarcer one."""
    by_processors = _first(lambda profile: facts.usable_processors <= profile.processors)
    memory = facts.usable_memory
    by_memory = _first(lambda profile: memory is not None and memory < profile.memory)
    return min(by_processors, by_memory, key=list(PROFILES.values()).index)


def _first(fits: Callable[[Profile], bool]) -> Profile:
    profiles = list(PROFILES.values())
    return next((profile for profile in profiles if fits(profile)), profiles[-1])

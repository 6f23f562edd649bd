"""Compile entities into the mapped files that workers read (native/snapshot.pxd, native/router_index.pxd).

    data = ConfigurationCompiler().compile(configuration, settings, number=7, metric_slots={})
    peers = PeersCompiler().compile(configuration, resolutions, number=12)

Who compiles again keeps the compilers: what has not changed is not made again.
`configuration` writes services and routes, `matchers` holds Kong's order of routes, `live_settings` the
settings that a reload changes, `peers` what stands behind a host or upstream name, `files` where files lie.
"""

from gateway.snapshot.configuration import ConfigurationCompiler, compile_configuration
from gateway.snapshot.peers import PeersCompiler, compile_peers, host_names
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress

__all__ = [
    "ConfigurationCompiler",
    "PeersCompiler",
    "Resolution",
    "ResolutionState",
    "ResolvedAddress",
    "compile_configuration",
    "compile_peers",
    "host_names",
]

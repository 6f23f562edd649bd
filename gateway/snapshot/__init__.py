"""Compile entities into the mapped files that workers read (native/snapshot.pxd, native/router_index.pxd).

    compiler = ConfigurationCompiler()
    data = compiler.compile(configuration, settings, number=7, metric_slots={})
    peers = compile_peers(configuration, resolutions, number=12)

`configuration` writes services and routes, `matchers` holds Kong's order of routes, `live_settings` the
settings that a reload changes, `peers` what stands behind a host or upstream name, `files` where files lie.
"""

from gateway.snapshot.configuration import ConfigurationCompiler, compile_configuration
from gateway.snapshot.peers import compile_peers, host_names
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress

__all__ = [
    "ConfigurationCompiler",
    "Resolution",
    "ResolutionState",
    "ResolvedAddress",
    "compile_configuration",
    "compile_peers",
    "host_names",
]

"""Compile entities into the mapped files that workers read (native/snapshot.pxd, native/router_index.pxd).

    data = ConfigurationCompiler().compile(configuration, settings, number=7, metric_slots={})
    peers = PeersCompiler().compile(configuration, resolutions, number=12)
    identities = IdentitiesCompiler().compile(configuration, number=3)

Who compiles again keeps the compilers: what has not changed is not made again.
`configuration` writes services and routes, `matchers` holds Kong's order of routes, `live_settings` the
settings that a reload changes, `peers` what stands behind a host or upstream name, `identities` consumers and
credentials, `files` how files get to their places.
"""

from gateway.snapshot.configuration import ConfigurationCompiler, compile_configuration
from gateway.snapshot.identities import IdentitiesCompiler
from gateway.snapshot.peers import PeersCompiler, compile_peers, host_names
from gateway.snapshot.resolution import Resolution, ResolutionState, ResolvedAddress

__all__ = [
    "ConfigurationCompiler",
    "IdentitiesCompiler",
    "PeersCompiler",
    "Resolution",
    "ResolutionState",
    "ResolvedAddress",
    "compile_configuration",
    "compile_peers",
    "host_names",
]

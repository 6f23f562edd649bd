"""Name resolution for the control process: hosts file, DNS with TTL cache, refresh in the background.

Workers never resolve a name: they find addresses in the peers snapshot, which the control process writes
again whenever the addresses of a name in use change.
"""

from .options import ResolverOptions
from .remembered import RememberedAddresses
from .resolver import Resolver

__all__ = ["RememberedAddresses", "Resolver", "ResolverOptions"]

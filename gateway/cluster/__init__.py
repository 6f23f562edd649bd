"""What the nodes of a cluster tell each other besides the configuration."""

from .events import ClusterEvents, events_of

__all__ = ["ClusterEvents", "events_of"]

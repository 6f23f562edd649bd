"""The health of targets: where it is kept, and the probes that find it out."""

from .marks import HealthMarks
from .prober import Prober
from .slots import HealthSlots

__all__ = ["HealthMarks", "HealthSlots", "Prober"]

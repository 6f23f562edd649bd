"""What a transaction does to a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from gateway.entities.record import Entity

EntityId: TypeAlias = "tuple[str, str]"
"""Type name and id."""

Changes: TypeAlias = "Mapping[EntityId, Entity | None]"
"""The entities that are new or different afterwards, and None for those that are gone."""

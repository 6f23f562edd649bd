"""The declarative configuration that the settings name: a file, a text in the settings, or none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gateway.settings import Settings
from gateway.store.check import check_file
from gateway.store.configuration import Configuration
from gateway.store.declarative import load_declarative
from gateway.store.memory import LoadMemory


@dataclass(frozen=True, slots=True)
class DeclarativeSource:
    """Where a declarative configuration is read from. A text goes before a file."""

    path: Path | None = None
    text: str | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> DeclarativeSource:
        """What DECLARATIVE_CONFIG and DECLARATIVE_CONFIG_STRING name."""
        return cls(settings.declarative_config, settings.declarative_config_string or None)

    @property
    def is_named(self) -> bool:
        """Whether there is one."""
        return bool(self.text or self.path)

    def load(self, memory: LoadMemory) -> Configuration:
        """Read it; the empty configuration when there is none. Raises DeclarativeError, also for a file that
        cannot be read."""
        if self.text:
            return load_declarative(self.text, source="DECLARATIVE_CONFIG_STRING", memory=memory)
        if self.path:
            return check_file(self.path, memory)
        return Configuration.EMPTY

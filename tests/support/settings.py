"""Settings from an environment alone."""

from __future__ import annotations

import pytest

from gateway.settings import Settings, SettingsError, load_settings


def load(**environ: str) -> Settings:
    """Settings from an environment alone."""
    return load_settings(None, environ)


def problems(**environ: str) -> list[str]:
    """What is wrong with an environment."""
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    return caught.value.problems

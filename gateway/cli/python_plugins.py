"""Python plugins on the command line: known to commands that read configurations."""

import importlib.metadata
import os

from gateway.cli.options import warn
from gateway.settings import Settings, SettingsError, load_settings


def know_plugins(settings: Settings | None = None) -> None:
    """Let configurations be checked with the Python plugins that settings name; without any, those of the
    environment. Plugins that cannot be used are warned of."""
    if settings is None:
        try:
            settings = load_settings(None, os.environ, {})
        except SettingsError:
            return  # the command needs no settings; it says what it does not know
    if settings.plugin_path or importlib.metadata.entry_points(group="gateway.plugins"):
        from gateway.pdk.live import load_for_command

        warn(load_for_command(settings))

"""Python plugins on the command line: known to commands that read configurations."""

import importlib.metadata
import os

from gateway.cli.options import warn
from gateway.settings import Settings, SettingsError, load_settings


def know_plugins(settings: Settings | None = None) -> bool:
    """Let configurations be checked with the Python plugins that settings name; without any, those of the
    environment. Plugins that cannot be used are warned of: False."""
    if settings is None:
        try:
            settings = load_settings(None, os.environ, {})
        except SettingsError:
            return True  # the command needs no settings; it says what it does not know
    if settings.plugin_path or importlib.metadata.entry_points(group="gateway.plugins"):
        from gateway.pdk.live import load_for_command

        problems = load_for_command(settings)
        warn(problems)
        return not problems
    return True

"""Settings of the gateway: a conf file, then the environment, then flags. Kong's names work too (DESIGN §1).

    settings = load_settings(Path("gateway.conf"), os.environ, {"log_level": "debug"})
    settings.keepalive_timeout           # 75.0, seconds
    settings.origin("keepalive_timeout") # "default"

`declarations` lists the settings, `values` their forms, `sources` and `loading` say where texts come from.
"""

from gateway.settings.declarations import DECLARATIONS, Declaration, Scope, Settings
from gateway.settings.loading import (
    SettingsError,
    changed_settings,
    find_prefix,
    load_from,
    load_settings,
)
from gateway.settings.sources import Sources
from gateway.settings.values import Listener

__all__ = [
    "DECLARATIONS",
    "Declaration",
    "Listener",
    "Scope",
    "Settings",
    "SettingsError",
    "Sources",
    "changed_settings",
    "find_prefix",
    "load_from",
    "load_settings",
]

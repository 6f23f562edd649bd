"""Settings of the gateway: a conf file, then the environment, then flags. Kong's names work too.

    settings = load_settings(Path("gateway.conf"), os.environ, {"log_level": "debug"})
    settings.keepalive_timeout           # 75.0, seconds
    settings.origin("keepalive_timeout") # "default"

`declarations` lists the settings; `values`, `addresses`, `accounts` and `tokens` have their forms; `sources`
and `loading` say where texts come from.
"""

from gateway.settings.addresses import Listener
from gateway.settings.declarations import DECLARATIONS, Settings
from gateway.settings.declaring import Declaration, Scope
from gateway.settings.loading import (
    SettingsError,
    changed_settings,
    find_prefix,
    load_from,
    load_settings,
)
from gateway.settings.sources import Sources

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

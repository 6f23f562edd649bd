"""GET /: what this node is and how it is configured, in Kong's shape."""

from __future__ import annotations

import asyncio
import platform
import socket
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gateway import KONG_VERSION, __version__
from gateway.entities.masking import MASK
from gateway.entities.plugins import Plugin
from gateway.plugins import AVAILABLE
from gateway.settings import DECLARATIONS, Settings
from gateway.settings.addresses import Listener
from gateway.store import Configuration

from .descriptions import INTEGER, OBJECT, TEXT, Answer, Description, list_of, object_of
from .endpoints import Endpoint
from .responses import json_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

DESCRIPTION = Description(
    "What this node is and how it is configured.",
    {
        200: Answer(
            "The node; secrets in its configuration are masked.",
            object_of(
                {
                    "tagline": TEXT,
                    "version": TEXT,
                    "edition": TEXT,
                    "hostname": TEXT,
                    "node_id": TEXT,
                    "lua_version": TEXT,
                    "timers": object_of({"running": INTEGER, "pending": INTEGER}),
                    "plugins": object_of(
                        {"available_on_server": OBJECT, "enabled_in_cluster": list_of(TEXT)}
                    ),
                    "configuration": OBJECT,
                    "pids": object_of({"master": INTEGER, "workers": list_of(INTEGER)}),
                }
            ),
        )
    },
)


def root_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The node itself."""

    async def root(request: Request) -> Response:
        workers = [worker["pid"] for worker in plane.shared.workers() if worker["pid"]]
        return json_response(
            200,
            {
                "tagline": "Welcome to kong",
                "version": KONG_VERSION,
                "edition": "community",
                "hostname": socket.gethostname(),
                "node_id": plane.node_id,
                # Clients look for the field; there is no Lua here.
                "lua_version": f"{platform.python_implementation()} {platform.python_version()}",
                "timers": {"running": len(asyncio.all_tasks()), "pending": 0},
                "plugins": known_plugins(plane.configuration),
                "configuration": shown_settings(plane.settings),
                "pids": {"master": plane.shared.master_pid, "workers": workers},
            },
        )

    return [Endpoint("/", {"GET": root}, {"GET": DESCRIPTION})]


def known_plugins(configuration: Configuration) -> dict[str, Any]:
    """The plugins that can be used here, and the names of those that are in use."""
    used = {plugin.name for plugin in configuration.of("plugins").values() if isinstance(plugin, Plugin)}
    return {
        "available_on_server": {
            name: {"version": definition.version, "priority": definition.priority}
            for name, definition in AVAILABLE.items()
        },
        "enabled_in_cluster": sorted(used),
    }


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Every setting as JSON, under Kong's name where Kong has it; secrets masked."""
    # Kong's clients find Kong's version at the top; which product it is stands where they do not look.
    shown: dict[str, Any] = {
        "product": f"Sluicegate {__version__}",
        "router_flavor": "traditional_compatible",
        "role": "traditional",
    }
    for name, declaration in DECLARATIONS.items():
        value = getattr(settings, name)
        shown[name] = MASK if declaration.secret and value else plain(value)
        if value and isinstance(value, tuple) and isinstance(value[0], Listener):
            # Kong has both: the texts, and the parsed listeners in the plural.
            shown[f"{name}ers"] = [listener_fields(listener) for listener in value]
    for alias, name in (("nginx_worker_processes", "worker_processes"),):
        shown[alias] = str(shown[name])
    return shown


def listener_fields(listener: Listener) -> dict[str, Any]:
    """A parsed listener as Kong shows it."""
    if listener.path:
        return {"path": listener.path, "listener": str(listener)}
    return {
        "ip": listener.address,
        "port": listener.port,
        "ssl": listener.ssl,
        "http2": listener.http2,
        "reuseport": listener.reuseport,
        "proxy_protocol": listener.proxy_protocol,
        "backlog=%d+": listener.backlog,
        "listener": str(listener),
    }


def plain(value: object) -> Any:
    """A setting's value as JSON data."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath | Listener):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)

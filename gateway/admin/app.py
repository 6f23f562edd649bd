"""The Admin API: the table of its endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.status.app import metrics_endpoints

from .audit import AuditLog
from .cache import cache_endpoints
from .circuits import circuit_endpoints
from .collections import entity_endpoints, listing_endpoint, tag_endpoints
from .config import config_endpoints
from .debug import debug_endpoints
from .endpoints import KongApi
from .explain import explain_endpoints
from .guard import AdminGuard
from .health import health_endpoints
from .openapi import openapi_endpoint
from .root import root_endpoints
from .schemas import schema_endpoints
from .status import status_endpoints
from .stored_responses import stored_response_endpoints
from .timers import timers_endpoints
from .wasm import wasm_endpoints

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane


def admin_app(plane: ControlPlane, audit: AuditLog | None = None) -> KongApi:
    """The application of the Admin listener."""
    endpoints = [
        *root_endpoints(plane),
        *status_endpoints(plane),
        *timers_endpoints(),
        *cache_endpoints(),
        *stored_response_endpoints(plane),
        *debug_endpoints(plane),
        *explain_endpoints(plane),
        *config_endpoints(plane),
        *metrics_endpoints(plane),
        *entity_endpoints(plane),
        *health_endpoints(plane),
        *circuit_endpoints(plane),
        *tag_endpoints(plane),
        *schema_endpoints(plane),
        *wasm_endpoints(),
        openapi_endpoint(lambda: every),
    ]
    every = [*endpoints, listing_endpoint(endpoints)]
    return KongApi(
        every,
        lambda: plane.settings,
        AdminGuard(plane, audit or AuditLog()),
    )

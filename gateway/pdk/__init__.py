"""Plugins in Python: write a class, and it runs in the gateway's workers. The guide is docs/plugins.md.

import msgspec
from gateway.pdk import Plugin, Request, respond

class Maintenance(Plugin):
    priority = 2000

    class Config(msgspec.Struct):
        retry_after: int = 60

    config: Config

    def access(self, request: Request):
        return respond(503, {"message": "back soon"}, {"Retry-After": str(self.config.retry_after)})
"""

from gateway.pdk.answers import Answer, respond
from gateway.pdk.cache import Cache
from gateway.pdk.plugin import Logger, Plugin
from native.python_requests import (
    BodyNotRead,
    BodyTooLong,
    Consumer,
    Credential,
    Headers,
    Outcome,
    Query,
    Request,
    Response,
    Route,
    Service,
)

__all__ = [
    "Answer",
    "BodyNotRead",
    "BodyTooLong",
    "Cache",
    "Consumer",
    "Credential",
    "Headers",
    "Logger",
    "Outcome",
    "Plugin",
    "Query",
    "Request",
    "Response",
    "Route",
    "Service",
    "respond",
]

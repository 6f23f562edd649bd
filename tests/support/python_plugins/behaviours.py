"""Plugins that the tests of Python plugins configure: each does one thing."""

import asyncio
import time
from typing import Annotated, Literal

import msgspec

from gateway.pdk import (
    BodyTooLong,
    Outcome,
    Plugin,
    Request,
    Response,
    respond,
)


class Describe(Plugin):
    """Answers with what it sees of a request."""

    buffer_request = True

    def access(self, request: Request):
        named = {"route": request.route, "service": request.service}
        return respond(
            200,
            {
                "id": request.id,
                "method": request.method,
                "path": request.path,
                "query_string": request.query_string,
                "query": request.query.items(),
                "host": request.host,
                "scheme": request.scheme,
                "http_version": request.http_version,
                "client_address": request.client_address,
                "headers": request.headers.items(),
                "body": request.body.decode(),
                **{kind: found and {"id": found.id, "name": found.name} for kind, found in named.items()},
                "consumer": request.consumer
                and {
                    "id": request.consumer.id,
                    "username": request.consumer.username,
                    "custom_id": request.consumer.custom_id,
                },
                "credential": request.credential
                and {
                    "id": request.credential.id,
                    "kind": request.credential.kind,
                    "name": request.credential.name,
                },
                "is_authenticated": request.is_authenticated,
                "worker": self.worker,
            },
        )


class Change(Plugin):
    """Changes whatever the configuration says of a request and its response."""

    class Config(msgspec.Struct):
        method: str | None = None
        path: str | None = None
        query: dict[str, str] | None = None
        host: str | None = None
        set: dict[str, str] = {}
        add: dict[str, str] = {}
        remove: list[str] = []
        response_set: dict[str, str] = {}
        upstream: str | None = None
        target: str | None = None
        consumer: str | None = None

    config: Config
    priority = 2000

    def access(self, request: Request):
        config = self.config
        if config.method:
            request.method = config.method
        if config.path:
            request.path = config.path
        for name, value in (config.query or {}).items():
            request.query[name] = value
        if config.host:
            request.host = config.host
        for name, value in config.set.items():
            request.headers[name] = value
        for name, value in config.add.items():
            request.headers.add(name, value)
        for name in config.remove:
            request.headers.remove(name)
        for name, value in config.response_set.items():
            request.response_headers.set(name, value)
        if config.upstream:
            request.set_upstream(config.upstream)
        if config.target:
            host, _, port = config.target.rpartition(":")
            request.set_target(host, int(port))
        if config.consumer:
            request.authenticate(config.consumer, "by-change")


class ChangeBody(Plugin):
    """Puts the request's JSON body into another one, and lets those through that are too long."""

    buffer_request = True

    def access(self, request: Request):
        try:
            request.body = msgspec.json.encode({"wrapped": request.json()})
        except BodyTooLong:
            request.headers["X-Body"] = "too long"


class ReadBody(Plugin):
    """Reads the body and does not expect it to be too long."""

    buffer_request = True

    def access(self, request: Request):
        request.headers["X-Length"] = str(len(request.body))


class ForgotBuffer(Plugin):
    """Wants a body that it has not asked for."""

    def access(self, request: Request):
        return respond(200, request.body)


class Answer(Plugin):
    """Answers by itself."""

    class Config(msgspec.Struct):
        kind: Literal["json", "text", "bytes", "nothing", "raised", "typed", "echoed"] = "json"

    config: Config

    async def access(self, request: Request):
        headers = {"X-Answer": self.config.kind, "Set-Cookie": ["a=1", "b=2"]}
        match self.config.kind:
            case "json":
                return respond(403, {"message": "nö"}, headers)
            case "text":
                return respond(200, "täxt", headers)
            case "bytes":
                return respond(200, b"\x00\x01", headers)
            case "nothing":
                return respond(204, None, headers)
            case "typed":
                return respond(200, "<p>", {**headers, "Content-Type": "text/html"})
            case "echoed":
                return respond(200, "text", {"Content-Type": request.query["type"]})
        await asyncio.sleep(0)
        raise respond(409, {"message": "raised"}, headers)


class ChangeResponse(Plugin):
    """Changes the response, body included."""

    buffer_response = True

    def response(self, request: Request, response: Response):
        response.headers["X-Was"] = (
            f"{response.status} {response.headers.get('X-Upstream')} {response.is_local}"
        )
        response.headers.remove("X-Upstream")
        response.status = 202
        response.body = response.body.upper() + b" for " + request.path.encode()


class ReplaceResponse(Plugin):
    """Puts another response in the place of the upstream's."""

    async def response(self, request: Request, response: Response):
        await asyncio.sleep(0)
        if response.status == 404:
            return respond(200, {"instead": True}, {"X-Instead": "yes"})


class First(Plugin):
    """Tells the others through ctx, in all phases."""

    priority = 1500

    def access(self, request: Request):
        request.ctx["trace"] = ["first access"]

    def response(self, request: Request, response: Response):
        request.ctx["trace"].append("first response")

    def log(self, request: Request, outcome: Outcome):
        request.ctx["trace"].append("first log")
        self.logger.notice(f"trace {request.id}: {', '.join(request.ctx['trace'])}")


class Second(Plugin):
    """Hears of it, asynchronously."""

    priority = 1400

    async def access(self, request: Request):
        await asyncio.sleep(0.001)
        request.ctx["trace"].append("second access")

    async def response(self, request: Request, response: Response):
        request.ctx["trace"].append("second response")
        response.headers["X-Trace"] = ", ".join(request.ctx["trace"])


class Tell(Plugin):
    """Leaves something in ctx for plugins that are not written in Python."""

    priority = 1500

    def access(self, request: Request):
        request.ctx["tenant"] = f"t\r\n-{request.query.get('tenant')}"
        request.ctx.update(number=7, nothing=None, several=["a"])


class Last(Plugin):
    """Writes what became of a request into the log."""

    async def log(self, request: Request, outcome: Outcome):
        await asyncio.sleep(0)
        self.logger.notice(
            f"outcome {request.path}: {outcome.status} {outcome.is_local} {outcome.bytes_received > 0}"
            f" {outcome.bytes_sent > 0} {outcome.seconds >= 0} {outcome.retries} {outcome.target}"
        )


class Rewrite(Plugin):
    """Sees requests before a route is chosen."""

    def rewrite(self, request: Request):
        if request.path == "/maintenance":
            return respond(503, {"route": request.route and request.route.id})
        request.headers["X-Rewritten"] = "yes"


class Trouble(Plugin):
    """Does what plugins should not do."""

    deadline = 0.3

    class Config(msgspec.Struct):
        kind: str

    config: Config

    async def access(self, request: Request):
        kind = request.query.get("kind", self.config.kind)
        if kind == "raise":
            raise ValueError("trouble in access")
        if kind == "hang":
            await asyncio.Event().wait()
        if kind == "block":
            time.sleep(1.0)
        if kind == "nonsense":
            return 17
        if kind == "header":
            request.headers["X-A"] = "a\r\nX-B: b"
        if kind == "framing":
            request.headers["Content-Length"] = "1"
        if kind == "exit":
            raise SystemExit(3)
        if kind == "exit later":
            self.task = asyncio.create_task(leave())
        return None


async def leave():
    raise SystemExit(4)


class TroubleLater(Plugin):
    """Fails when there is a response already."""

    class Config(msgspec.Struct):
        phase: str

    config: Config

    def response(self, request: Request, response: Response):
        if self.config.phase == "response":
            raise ValueError("trouble in response")

    def log(self, request: Request, outcome: Outcome):
        if self.config.phase == "log":
            raise ValueError("trouble in log")


class Together(Plugin):
    """Lets requests pass once five of them wait."""

    def setup(self):
        self.waiting = 0
        self.complete = asyncio.Event()

    async def access(self, request: Request):
        self.waiting += 1
        if self.waiting == 5:
            self.complete.set()
        await self.complete.wait()


class Remember(Plugin):
    """Numbers paths, and remembers their numbers in the worker's cache, which has room for three."""

    cache_entries = 3

    class Config(msgspec.Struct):
        ttl: float = 60.0

    config: Config
    last = 0

    async def access(self, request: Request):
        number = await self.cache.get_or_make(request.path, self.count, ttl=self.config.ttl)
        return respond(200, {"number": number, "size": len(self.cache)})

    async def count(self):
        self.last += 1
        return self.last


class Ask(Plugin):
    """Asks somebody else over HTTP."""

    class Config(msgspec.Struct):
        url: str

    config: Config

    async def access(self, request: Request):
        answer = await self.http.get(self.config.url, headers={"X-Asked": request.path})
        request.headers["X-Said"] = answer.text


class Configured(Plugin):
    """Has a configuration with everything in it."""

    name = "fully-configured"
    version = "1.2.3"
    priority = 77

    class Config(msgspec.Struct):
        class Limits(msgspec.Struct):
            per_second: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5

        secret: Annotated[str, msgspec.Meta(description="Nobody sees it.", extra={"encrypted": True})]
        number: Annotated[int, msgspec.Meta(gt=0)] = 1
        choice: Literal["red", "green"] = "red"
        names: list[Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]] = []
        limits: Limits = msgspec.field(default_factory=Limits)
        note: str | None = None

        def __post_init__(self):
            if self.choice == "green" and self.number > 10:
                raise ValueError("green goes up to 10")

    config: Config

    def access(self, request: Request):
        return respond(200, msgspec.json.encode(self.config), {"Content-Type": "application/json"})


class EverySetup(Plugin):
    """Says how often it was made."""

    made = 0

    def setup(self):
        type(self).made += 1
        self.number = self.made

    def access(self, request: Request):
        return respond(200, {"made": type(self).made, "number": self.number})

"""forward-auth: another service decides who may pass.

Each request is shown to an authorization service: its method, path and chosen header fields. An answer of 2xx
lets it pass, and fields of that answer may go upstream; any other answer goes to the client as it is.
Decisions are remembered for a while, so that the service is not asked for every request of a client.

    plugins:
    - name: forward-auth
      config:
        url: http://auth.internal:8080/check
        send: [authorization, cookie]
        pass_on: [x-user, x-roles]
        remember: 10
"""

from typing import Annotated

import httpx
import msgspec

from gateway.pdk import Answer, Plugin, Request, respond


class Decision(msgspec.Struct, frozen=True):
    """What the authorization service said."""

    status: int
    headers: dict[str, str]
    body: bytes


class ForwardAuth(Plugin):
    """Asks the authorization service, unless it has said it before."""

    priority = 1100  # where authentication is: what comes later sees the fields that were passed on

    class Config(msgspec.Struct):
        url: Annotated[str, msgspec.Meta(pattern="^https?://", description="The authorization service.")]
        send: Annotated[tuple[str, ...], msgspec.Meta(description="Fields of the request that it sees.")] = (
            "authorization",
        )
        pass_on: Annotated[list[str], msgspec.Meta(description="Fields of its answer that go upstream.")] = []
        remember: Annotated[float, msgspec.Meta(ge=0, description="Seconds for which a decision holds.")] = (
            5.0
        )
        timeout: Annotated[float, msgspec.Meta(gt=0, description="Seconds that it has for an answer.")] = 2.0

    config: Config

    async def access(self, request: Request) -> Answer | None:
        shown = {name: value for name in self.config.send if (value := request.headers.get(name)) is not None}
        # All that the decision may depend on: another client's decision must never be taken for this one's.
        key = (self.config.url, request.method, request.host, request.path, *sorted(shown.items()))
        try:
            decision = await self.cache.get_or_make(
                key, lambda: self.ask(request, shown), ttl=self.config.remember
            )
        except httpx.HTTPError as error:
            self.logger.error(f"the authorization service cannot be asked: {type(error).__name__}")
            return respond(503, {"message": "authorization is not possible at the moment"})
        # Nobody but the authorization service says what these are.
        for name in self.config.pass_on:
            request.headers.remove(name)
        if not 200 <= decision.status < 300:
            kept = ("content-type", "www-authenticate", "location")
            headers = {name: value for name, value in decision.headers.items() if name in kept}
            return respond(decision.status, decision.body, headers)
        for name in self.config.pass_on:
            if name.lower() in decision.headers:
                request.headers[name] = decision.headers[name.lower()]
        return None

    async def ask(self, request: Request, shown: dict[str, str]) -> Decision:
        """The decision of the service."""
        headers = {
            **shown,
            "X-Forwarded-Method": request.method,
            "X-Forwarded-Host": request.host,
            "X-Forwarded-Uri": request.path,
        }
        answer = await self.http.get(self.config.url, headers=headers, timeout=self.config.timeout)
        return Decision(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)

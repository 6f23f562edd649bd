"""canary: a part of the clients uses a new release; each client stays where it is.

    upstreams:
    - name: shop-canary
      targets:
      - target: shop-v2.internal:8080
    plugins:
    - name: canary
      service: shop
      config:
        upstream: shop-canary
        percentage: 5
        header: X-Canary        # always: the new release for testers; never: the old one

Who the client is follows from its consumer, else from its address. When the new release fails too often, all
go back to the old one for a while.
"""

import hashlib
import time
from typing import Annotated

import msgspec

from gateway.pdk import Outcome, Plugin, Request

FEWEST = 20
"""requests from which on the share of failures means something"""


class Canary(Plugin):
    """Chooses the upstream in `access`, and looks at how it went in `log`."""

    priority = 450

    class Config(msgspec.Struct):
        upstream: Annotated[
            str, msgspec.Meta(min_length=1, description="Name of the upstream of the new release.")
        ]
        percentage: Annotated[float, msgspec.Meta(ge=0, le=100, description="Of the clients.")] = 10.0
        header: Annotated[str, msgspec.Meta(description="With which a client chooses itself.")] = "X-Canary"
        failures: Annotated[
            float, msgspec.Meta(ge=0, le=100, description="Percentage of 5xx at which all go back.")
        ] = 25.0
        rest: Annotated[float, msgspec.Meta(gt=0, description="Seconds for which they stay there.")] = 60.0

    config: Config

    def setup(self) -> None:
        self.requests = self.failed = 0
        self.resting_until = 0.0

    def access(self, request: Request) -> None:
        if self.is_chosen(request):
            request.set_upstream(self.config.upstream)
            request.ctx["canary"] = True

    def is_chosen(self, request: Request) -> bool:
        """Whether a request goes to the new release."""
        wish = request.headers.get(self.config.header, "").lower()
        if wish in ("always", "never"):
            return wish == "always"
        if time.monotonic() < self.resting_until:
            return False
        who = request.consumer.id if request.consumer is not None else request.client_address
        place = int.from_bytes(
            hashlib.blake2b(f"{self.config.upstream} {who}".encode(), digest_size=4).digest()
        )
        return place < self.config.percentage / 100 * 2**32

    def log(self, request: Request, outcome: Outcome) -> None:
        if "canary" not in request.ctx:
            return
        self.requests += 1
        self.failed += outcome.status >= 500
        if self.requests < FEWEST:
            return
        if self.failed >= self.config.failures / 100 * self.requests:
            self.resting_until = time.monotonic() + self.config.rest
            self.logger.error(
                f"{self.failed} of {self.requests} requests to {self.config.upstream} failed:"
                f" nobody is sent there for {self.config.rest:g} s"
            )
        self.requests = self.failed = 0

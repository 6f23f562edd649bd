"""The two clients: `AdminClient` blocks, `AsyncAdminClient` awaits. What they can do is written once."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from gateway import __version__
from gateway.client import paths
from gateway.client.address import DEFAULT_ADDRESS, Address, parse_address
from gateway.client.collections import AwaitingCollection, BlockingCollection, Document, as_it_is
from gateway.client.drivers import Awaiting, Blocking, Driver
from gateway.client.exchange import Answer, Call, Retries, Steps, accepted, json_call, perform
from gateway.client.operations import OfAwaiting, OfBlocking, operation
from gateway.entities.record import Entity
from gateway.settings.tokens import first_secret

AnEntity = TypeVar("AnEntity", bound=Entity)

TIMEOUT = 30.0
"""seconds to wait for a connection, and for each piece of an answer"""
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=50)
TOKEN_VARIABLE = "GATEWAY_ADMIN_TOKEN"  # noqa: S105 - a name
JSON = "application/json"


class Admin:
    """What both clients can do besides the collections of entities."""

    driver: Driver

    @property
    def address(self) -> str:
        """Where the Admin API is."""
        return self.driver.address.text

    @operation
    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        refusals: bool = True,
    ) -> Steps[Answer]:
        """Any request. `json` is a body in JSON, `content` one of another type (say which in `headers`).
        An answer from 400 on is raised as Refused, or given like the others with `refusals=False`.
        `repeatable`: whether it may be sent again when its answer is lost; GET, PUT and DELETE are.
        """
        given = {name.lower(): value for name, value in (headers or {}).items()}
        call = json_call(method.upper(), path, json, query)
        if content is not None:
            kind = given.pop("content-type", "application/octet-stream")
            call = Call(method.upper(), path, query or {}, content, kind)
        call = Call(call.method, call.path, call.query, call.content, call.content_type, given, repeatable)
        answer = yield from perform(call, self.driver.retries, self.address)
        return accepted(answer) if refusals else answer

    @operation
    def node(self) -> Steps[Document]:
        """What the gateway says of itself: version, settings, plugins (GET /)."""
        return self._document(Call("GET", "/"))

    @operation
    def status(self) -> Steps[Document]:
        """Connections, memory, whether the database is reachable (GET /status)."""
        return self._document(Call("GET", "/status"))

    @operation
    def configuration(self) -> Steps[str]:
        """The declarative configuration as YAML; gateways without a database only (GET /config)."""
        document = yield from self._document(Call("GET", "/config"))
        return str(document["config"])

    @operation
    def load_configuration(
        self, configuration: Mapping[str, Any] | str, *, check_hash: bool = False
    ) -> Steps[bool]:
        """Replace the whole configuration; gateways without a database only (POST /config).

        `configuration`: a declarative document, decoded or as YAML. With `check_hash` nothing is done when it
        is what is there already; the result says whether something was done. It may be sent again: twice the
        same makes no difference.
        """
        if isinstance(configuration, str):
            content, kind = configuration.encode(), "application/yaml"
        else:
            content, kind = msgspec.json.encode(configuration), JSON
        query = {"check_hash": "1"} if check_hash else {}
        call = Call("POST", "/config", query, content, kind, repeatable=True)
        answer = accepted((yield from perform(call, self.driver.retries, self.address)))
        return answer.status != 304

    def _document(self, call: Call) -> Steps[Document]:
        answer = accepted((yield from perform(call, self.driver.retries, self.address)))
        document: Document = answer.json()
        return document

    def _type_named(self, name: str) -> str:
        """The type of entity that an attribute names. Raises AttributeError."""
        names = paths.collection_names()
        if name not in names:
            raise AttributeError(f"there are no {name!r}; known: {', '.join(sorted(names))}")
        return names[name]

    def __dir__(self) -> Iterable[str]:
        return (*super().__dir__(), *paths.collection_names())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class AdminClient(OfBlocking, Admin):
    """A client of the Admin API. Attributes are the collections of entities: `client.services.list()`.

    Use it as a context manager, or close it. One may be used by several threads.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries | None = None,
        verify: bool | ssl.SSLContext = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`address`: a URL, `host:port` or `unix:/path`; `token`: of the Admin API, else the first of
        GATEWAY_ADMIN_TOKEN; `timeout` in seconds; `verify`: whether a server's certificate is checked, or the
        TLS context to use (for a CA of one's own: `ssl.create_default_context(cafile=...)`); `transport`:
        httpx's, instead of the network. Raises ValueError for what is no address.
        """
        place = parse_address(address)
        if transport is None:
            transport = httpx.HTTPTransport(verify=verify, uds=place.socket_path, limits=LIMITS)
        client = httpx.Client(transport=transport, **_options(place, token, timeout))
        self.driver: Blocking = Blocking(place, retries or Retries(), client)

    def of(self, kind: type[AnEntity]) -> BlockingCollection[AnEntity]:
        """The collection of a type, its entities as structs: `client.of(Service).get("users").host`."""
        path = paths.collection_path(kind.type_name)
        return BlockingCollection(self.driver, kind.type_name, path, _as_struct(kind))

    def collection(self, type_name: str) -> BlockingCollection[Document]:
        """The collection of a type by its name in declarative files: "keyauth_credentials"."""
        return BlockingCollection(self.driver, type_name, paths.collection_path(type_name), as_it_is)

    def __getattr__(self, name: str) -> BlockingCollection[Document]:
        return self.collection(self._type_named(name))

    def close(self) -> None:
        """Close the connections."""
        self.driver.client.close()

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncAdminClient(OfAwaiting, Admin):
    """Like AdminClient, for asyncio or trio: operations are awaited, lists gone through with `async for`."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries | None = None,
        verify: bool | ssl.SSLContext = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As AdminClient's."""
        place = parse_address(address)
        if transport is None:
            transport = httpx.AsyncHTTPTransport(verify=verify, uds=place.socket_path, limits=LIMITS)
        client = httpx.AsyncClient(transport=transport, **_options(place, token, timeout))
        self.driver: Awaiting = Awaiting(place, retries or Retries(), client)

    def of(self, kind: type[AnEntity]) -> AwaitingCollection[AnEntity]:
        """See AdminClient.of."""
        path = paths.collection_path(kind.type_name)
        return AwaitingCollection(self.driver, kind.type_name, path, _as_struct(kind))

    def collection(self, type_name: str) -> AwaitingCollection[Document]:
        """See AdminClient.collection."""
        return AwaitingCollection(self.driver, type_name, paths.collection_path(type_name), as_it_is)

    def __getattr__(self, name: str) -> AwaitingCollection[Document]:
        return self.collection(self._type_named(name))

    async def close(self) -> None:
        """Close the connections."""
        await self.driver.client.aclose()

    async def __aenter__(self) -> AsyncAdminClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _options(place: Address, token: str | None, timeout: float) -> dict[str, Any]:
    """What both kinds of httpx client are made with."""
    if token is None:
        token = first_secret(os.environ.get(TOKEN_VARIABLE, ""))
    headers = {"User-Agent": f"sluicegate-client/{__version__}", "Accept": JSON}
    if token:
        headers["Kong-Admin-Token"] = token
    # Not through a proxy that the environment names: the Admin API is near, and its token is for it alone.
    return {"base_url": place.base_url, "headers": headers, "timeout": timeout, "trust_env": False}


def _as_struct(kind: type[AnEntity]) -> Any:
    return lambda document: msgspec.convert(document, kind)

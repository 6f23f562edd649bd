"""Lists of entities and single entities, as a client sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit

from gateway.client import paths
from gateway.client.drivers import Awaiting, Blocking, Driver, Page
from gateway.client.errors import NotFound
from gateway.client.exchange import Answer, Call, Steps, accepted, json_call, perform
from gateway.client.operations import OfAwaiting, OfBlocking, listing, operation

E = TypeVar("E")
Document: TypeAlias = "dict[str, Any]"
"""An entity as the Admin API shows it."""
Values: TypeAlias = "Mapping[str, Any]"
"""Fields to write, in JSON's types."""

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class EntityPage(Page[E]):
    """A part of a list of entities."""

    items: list[E]
    following: Steps[Page[E]] | None


class Collection(Generic[E]):
    """The entities of a type: all of them (`/services`), or those that belong to another one
    (`/services/users/routes`). `E` is what they come as: the JSON object, or the struct of the type."""

    driver: Driver

    def __init__(self, driver: Driver, type_name: str, path: str, decode: Callable[[Document], E]) -> None:
        self.driver = driver
        self.type_name = type_name
        self.path = path
        self._decode = decode

    @operation
    def get(self, key: str) -> Steps[E]:
        """The entity with that id, or with that name, username, … Raises NotFound."""
        answer = yield from self._call(Call("GET", self.path_of(key)))
        return self._decode(answer.json())

    @operation
    def find(self, key: str) -> Steps[E | None]:
        """Like `get`; None when there is no such entity."""
        try:
            answer = yield from self._call(Call("GET", self.path_of(key)))
        except NotFound:
            return None
        return self._decode(answer.json())

    @operation
    def create(self, values: Values | None = None) -> Steps[E]:
        """Make a new entity (POST). Raises Conflict where one with such a unique value exists.

        It is sent once: after an Unreachable with `was_sent`, look whether it is there.
        """
        answer = yield from self._call(json_call("POST", self.path, dict(values or {})))
        return self._decode(answer.json())

    @operation
    def update(self, key: str, values: Values) -> Steps[E]:
        """Change these fields of an entity and leave the others alone (PATCH); null brings back a default.
        Raises NotFound."""
        answer = yield from self._call(json_call("PATCH", self.path_of(key), dict(values)))
        return self._decode(answer.json())

    @operation
    def upsert(
        self, key: str, values: Values | None = None, *, query: Mapping[str, str] | None = None
    ) -> Steps[E]:
        """Make or replace the entity with that key (PUT): fields that are not given get their defaults.
        Targets are only changed, and not made, as in Kong."""
        answer = yield from self._call(json_call("PUT", self.path_of(key), dict(values or {}), query))
        return self._decode(answer.json())

    @operation
    def delete(self, key: str) -> Steps[None]:
        """Remove an entity, with those that cannot be without it. Nothing happens when there is none."""
        try:
            yield from self._call(Call("DELETE", self.path_of(key)))
        except NotFound:
            pass

    @listing
    def list(
        self,
        *,
        tags: str | Iterable[str] = (),
        size: int = LARGEST_PAGE,
        query: Mapping[str, str] | None = None,
    ) -> Steps[Page[E]]:
        """All entities, ordered by id, fetched in pages of `size` (1 to 1000) as they are needed.

        `tags`: those that have all of these; as a text, Kong's filter ("a,b": both, "a/b": any).
        `query`: further parameters, such as `custom_id` of consumers.
        """
        parameters = {**(query or {}), "size": str(size)}
        if tags:
            parameters["tags"] = tags if isinstance(tags, str) else ",".join(tags)
        return self._page(parameters)

    def _page(self, parameters: Mapping[str, str]) -> Steps[Page[E]]:
        answer = yield from self._call(Call("GET", self.path, parameters))
        document = answer.json()
        items = [self._decode(item) for item in document["data"]]
        following = None
        if document.get("next"):
            # `next` names the offset; where it leads to is known here (a proxy may have changed the path).
            given = dict(parse_qsl(urlsplit(document["next"]).query))
            following = self._page({**parameters, **given})
        return EntityPage(items, following)

    def _call(self, call: Call) -> Steps[Answer]:
        return accepted((yield from perform(call, self.driver.retries, self.driver.address.text)))

    def path_of(self, key: str) -> str:
        """The path of one of its entities."""
        return f"{self.path}/{paths.segment(key)}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path} at {self.driver.address.text}>"


class Member:
    """One entity as the parent of others: `client.consumers("bob").key_auth`."""

    def __init__(self, of: Collection[Any], key: str) -> None:
        self._of = of
        self._path = of.path_of(key)

    def _nested(self, name: str) -> tuple[str, str]:
        """Type and path of the children that an attribute names. Raises AttributeError."""
        children = paths.nested_names(self._of.type_name)
        if name not in children:
            raise AttributeError(
                f"{self._of.type_name} have no {name!r}; there are: {', '.join(sorted(children))}"
            )
        type_name, segment = children[name]
        return type_name, f"{self._path}/{segment}"

    def __dir__(self) -> Iterable[str]:
        return (*super().__dir__(), *paths.nested_names(self._of.type_name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}>"


def as_it_is(document: Document) -> Document:
    """Entities as JSON objects."""
    return document


class BlockingCollection(OfBlocking, Collection[E]):
    """See Collection."""

    driver: Blocking

    def __call__(self, key: str) -> BlockingMember:
        """An entity as the parent of others; nothing is asked for yet."""
        return BlockingMember(self, key)


class AwaitingCollection(OfAwaiting, Collection[E]):
    """See Collection."""

    driver: Awaiting

    def __call__(self, key: str) -> AwaitingMember:
        """An entity as the parent of others; nothing is asked for yet."""
        return AwaitingMember(self, key)


class BlockingMember(Member):
    """See Member."""

    _of: BlockingCollection[Any]

    def __getattr__(self, name: str) -> BlockingCollection[Document]:
        return BlockingCollection(self._of.driver, *self._nested(name), as_it_is)


class AwaitingMember(Member):
    """See Member."""

    _of: AwaitingCollection[Any]

    def __getattr__(self, name: str) -> AwaitingCollection[Document]:
        return AwaitingCollection(self._of.driver, *self._nested(name), as_it_is)

"""A declarative file that is written, with the store on it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity, to_kong
from gateway.store import LoadMemory, check_file, operations
from gateway.store.draft import Draft
from gateway.store.interface import Operation
from gateway.store.source import DeclarativeSource
from gateway.store.writable_file import WritableFileStore

FILE = """\
# The configuration of the example.
_format_version: "3.0"   # Kong's format

services:
  # users and their accounts
  - name: users          # team A
    url: http://users.internal:8080/v1
    tags: [a, b]
    routes:
      - name: users-all
        paths: [/users]   # all of them
        plugins: []
      # old clients
      - name: users-old
        paths:
          - /u
          - /user

  - name: orders
    host: orders.internal
    retries: 3           # idempotent

consumers:
  - username: bob
    custom_id: "42"
    acls:
      - group: staff
# the end
"""


class File:
    """A writable store on a file, and the rules of writes."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        path.write_text(textwrap.dedent(text), newline="")
        self.store = self.opened()

    def opened(self) -> WritableFileStore:
        store = WritableFileStore(DeclarativeSource(path=self.path), LoadMemory())
        store.open()
        return store

    @property
    def text(self) -> str:
        return self.path.read_bytes().decode()

    def run(self, run: Callable[[Draft], Any], verb: str = "update", type_name: str = "services") -> Any:
        (outcome,) = self.store.transact([Operation(verb, type_name, run)])
        if outcome.error is not None:
            raise outcome.error
        self.check()
        return outcome.result

    def check(self) -> None:
        """The file alone says what the store says."""
        again = check_file(self.path)
        for name, table in self.store.configuration.entities.items():
            assert set(table) == set(again.of(name)), self.text
            for identifier, entity in table.items():
                assert essence(entity) == essence(again.of(name)[identifier]), self.text
        assert len(again) == len(self.store.configuration)

    def create(self, type_name: str, **values: Any) -> Entity:
        kind = ENTITY_TYPES[type_name]
        return self.run(lambda draft: operations.create(draft, kind, values), "create", type_name)  # type: ignore[no-any-return]

    def update(self, type_name: str, key: str, **values: Any) -> Entity:
        def run(draft: Draft) -> Entity:
            entity = draft.find(type_name, key)
            assert entity is not None
            return operations.update(draft, entity, values)

        return self.run(run, "update", type_name)  # type: ignore[no-any-return]

    def remove(self, type_name: str, key: str) -> None:
        def run(draft: Draft) -> None:
            entity = draft.find(type_name, key)
            assert entity is not None
            operations.remove(draft, entity)

        self.run(run, "remove", type_name)

    def find(self, type_name: str, key: str) -> Any:
        return self.store.configuration.find(type_name, key)


def essence(entity: Entity) -> dict[str, Any]:
    """What is not made up at a load."""
    form = to_kong(entity)
    return {
        name: value
        for name, value in form.items()
        if name not in ("created_at", "updated_at") and not str(value).startswith("$pbkdf2")
    }

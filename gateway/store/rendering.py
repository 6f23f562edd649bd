"""The entities of a configuration as JSON, each rendered once.

After a change of one entity of many, the answer to POST /config and the file that outlives a crash of the
control process hold all of them; all but one are as they were before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import orjson

from gateway.entities.record import Entity, to_kong
from gateway.garbage import collection_paused
from gateway.store.configuration import Configuration

Rendered: TypeAlias = "Mapping[str, Mapping[str, tuple[Entity, bytes]]]"
"""Type name -> id -> entity, and its JSON in the Admin API's form; in the order of the configuration."""


class EntityJson:
    """Keeps the texts of the configuration that was rendered last for the next one."""

    def __init__(self) -> None:
        self._kept: Rendered = {}

    def of(self, configuration: Configuration) -> Rendered:
        """The texts of all entities; takes a while where many are new."""
        before = self._kept
        rendered: dict[str, dict[str, tuple[Entity, bytes]]] = {}
        with collection_paused():
            for type_name, table in configuration.entities.items():
                known = before.get(type_name, {})
                texts = rendered[type_name] = {}
                for identifier, entity in table.items():
                    found = known.get(identifier)
                    if found is None or found[0] is not entity:
                        found = (entity, orjson.dumps(to_kong(entity)))
                    texts[identifier] = found
        self._kept = rendered
        return rendered

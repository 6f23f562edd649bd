"""Writing a configuration in the declarative format, as GET /config answers and `config db_export` writes
it."""

from __future__ import annotations

from typing import Any

from gateway.entities.record import Entity, shape_of, to_kong
from gateway.entities.upstreams import Upstream
from gateway.store.configuration import Configuration
from gateway.store.editing.rendering import YamlStyle


def declarative_form(entity: Entity) -> dict[str, Any]:
    """An entity as an item of a flat declarative file: like the Admin form, with foreign keys as plain
    ids."""
    form = to_kong(entity)
    for name in shape_of(type(entity)).foreign:
        if form[name] is not None:
            form[name] = form[name]["id"]
    # Written out beside the algorithm, `hash_on: none` would mean round-robin.
    if isinstance(entity, Upstream) and entity.hash_on == "none" and entity.algorithm != "round-robin":
        del form["hash_on"]
    return form


def exported_document(configuration: Configuration) -> dict[str, Any]:
    """The configuration as a declarative document of format 3.0, flat, every field written out. Secrets stand
    in it as they are stored (`_transform: false`); loading it gives the same configuration."""
    document: dict[str, Any] = {"_format_version": "3.0", "_transform": False}
    for type_name, table in configuration.entities.items():
        document[type_name] = [declarative_form(entity) for entity in table.values()]
    return document


def export_declarative(configuration: Configuration) -> str:
    """The same as YAML."""
    return "\n".join(YamlStyle().block_lines(exported_document(configuration))) + "\n"

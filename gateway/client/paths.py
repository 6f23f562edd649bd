"""Where entities of each type are found in the Admin API. Made from the catalogue of entities."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES


def segment(key: str) -> str:
    """A key as a part of a path."""
    if not key or key in (".", ".."):
        raise ValueError(f"{key!r} is no key of an entity")
    return quote(key, safe=":@")


def _names(type_name: str) -> tuple[str, str]:
    """The parts of paths that stand for a type: at the top, and below a parent."""
    paths = ENTITY_TYPES[type_name].admin_paths
    top = paths.collection or type_name
    return top, paths.nested or top


def collection_path(type_name: str) -> str:
    """The path of all entities of a type: "/key-auths"."""
    return f"/{_names(type_name)[0]}"


def collection_names() -> Mapping[str, str]:
    """What an attribute of the client may be called -> the type: its own name, or that of its path."""
    names = {_attribute(_names(type_name)[0]): type_name for type_name in ENTITY_TYPES}
    return {**names, **{type_name: type_name for type_name in ENTITY_TYPES}}


def nested_names(parent_type: str) -> Mapping[str, tuple[str, str]]:
    """What an attribute of an entity may be called -> the type of its children and their part of the path:
    "key_auth" and "keyauth_credentials" -> ("keyauth_credentials", "key-auth")."""
    names = {}
    for type_name in CHILDREN[parent_type]:
        part = _names(type_name)[1]
        names[type_name] = names[_attribute(part)] = (type_name, part)
    return names


def _attribute(part: str) -> str:
    return part.replace("-", "_")

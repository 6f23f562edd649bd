"""Where entities are kept, and how they are changed (docs/architecture.md, "Entities and stores").

- In memory: `configuration` (all entities), `draft` and `changes` (a transaction), `lookups` and `indexes`.
- Rules of writes: `operations`, with `references`, `integrity`, `named_children`; refusals: `errors`.
- Stores: `interface` says what one is, `stores` makes the one that settings ask for: `sql`, `read_only`,
  `writable_file` (with `declarative_file` and `editing`); `batches` runs operations for those that write.
- The declarative format: `declarative` reads a text, by `documents` (YAML, JSON), `loader` (with `items` and
  `problems`), `pieces` and `memory` (what was loaded before); `declarative_errors` tells what is wrong,
  `export` and `rendering` write, `check` and `source` say where a text comes from.
"""

from gateway.store.check import check_file
from gateway.store.configuration import EMPTY_HASH, Configuration
from gateway.store.declarative import (
    content_hash,
    load_declarative,
    load_declarative_document,
    parse_declarative,
    parse_declarative_document,
    parse_declarative_json,
    parse_known_json,
)
from gateway.store.declarative_errors import DeclarativeError
from gateway.store.export import export_declarative
from gateway.store.items import Parsed
from gateway.store.memory import LoadMemory
from gateway.store.rendering import EntityJson

__all__ = (
    "EMPTY_HASH",
    "Configuration",
    "DeclarativeError",
    "EntityJson",
    "LoadMemory",
    "Parsed",
    "check_file",
    "content_hash",
    "export_declarative",
    "load_declarative",
    "load_declarative_document",
    "parse_declarative",
    "parse_declarative_document",
    "parse_declarative_json",
    "parse_known_json",
)

"""Where the configuration comes from and how it is held: `configuration` in memory, `declarative` from a
file."""

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

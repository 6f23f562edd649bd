"""The configuration that was published last, kept in the prefix for a control process that starts after a
crash.

What came through POST /config is in no other file. Entities are kept as they are (ids, generated keys and
times included), so that what is restored is what the workers serve. Only the same master's next control
process may use the file: a new start begins with the declarative file, as Kong does.
"""

from __future__ import annotations

import logging
from pathlib import Path

import orjson

from gateway.snapshot.files import write_atomically
from gateway.store import Configuration, DeclarativeError, load_declarative_document
from gateway.store.export import declarative_form

log = logging.getLogger(__name__)


class Remembered:
    """One file, readable by the owner only: a configuration may hold credentials."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, configuration: Configuration) -> None:
        """Keep this configuration. Takes time with many entities: use a thread. Raises OSError."""
        entities = {
            type_name: [declarative_form(entity) for entity in table.values()]
            for type_name, table in configuration.entities.items()
        }
        document = {"_format_version": "3.0", "_transform": False, **entities}
        write_atomically(self._path, orjson.dumps({"hash": configuration.hash, "document": document}))

    def load(self) -> Configuration | None:
        """The configuration kept last; None when there is none that can be read."""
        try:
            saved = orjson.loads(self._path.read_bytes())
            read = load_declarative_document(saved["document"], source=str(self._path))
            return Configuration(
                (entity for table in read.entities.values() for entity in table.values()), str(saved["hash"])
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, DeclarativeError) as error:
            log.error("%s cannot be used: %s", self._path, error)
            return None

    def forget(self) -> None:
        """Delete the file of an earlier master."""
        self._path.unlink(missing_ok=True)

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

from gateway.entities.upstreams import Upstream
from gateway.snapshot.files import write_atomically
from gateway.store import Configuration, DeclarativeError, EntityJson, load_declarative_document
from gateway.store.export import declarative_form

log = logging.getLogger(__name__)


class Remembered:
    """One file, readable by the owner only: a configuration may hold credentials."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, configuration: Configuration, entity_json: EntityJson) -> None:
        """Keep this configuration. Takes time with many entities: use a thread. Raises OSError."""
        members = [b'"_format_version":"3.0","_transform":false']
        for type_name, table in entity_json.of(configuration).items():
            if type_name == Upstream.type_name:  # not every one can be loaded in the form that is shown
                texts = [orjson.dumps(declarative_form(entity)) for entity, _ in table.values()]
            else:
                texts = [text for _, text in table.values()]
            members.append(b'"%b":[%b]' % (type_name.encode(), b",".join(texts)))
        document = b'{"hash":"%b","document":{%b}}' % (configuration.hash.encode(), b",".join(members))
        write_atomically(self._path, document)

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

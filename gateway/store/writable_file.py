"""The store of a node without a database whose declarative file is written, too (DECLARATIVE_WRITABLE=on).

The file is the database: every write is in it before it is acknowledged, and what an editor or git did to it
meanwhile is taken over first. Only what changes is rewritten (see `gateway.store.editing`).

Secrets that are stored hashed stand in the file as it says itself: with `_transform: false` as hashes, else
as they were given. Where a file of the second kind would have to hold a secret of which only the hash is
known, the whole file becomes one of the first kind, so that nothing is ever hashed twice.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from gateway.garbage import collection_paused
from gateway.store.batches import run_batch
from gateway.store.changes import Changes, EntityId
from gateway.store.configuration import Configuration
from gateway.store.declarative import content_hash, parse_declarative
from gateway.store.declarative_errors import DeclarativeError
from gateway.store.declarative_file import Content, DeclarativeFile
from gateway.store.documents import decode_text
from gateway.store.editing.texts import DeclarativeText, Rewriting, differences, read_text
from gateway.store.errors import FileUnavailable
from gateway.store.interface import GivenSecrets, Operation, Outcome, StoreError
from gateway.store.memory import LoadMemory
from gateway.store.source import DeclarativeSource

log = logging.getLogger(__name__)

Secrets: TypeAlias = "Mapping[EntityId, Mapping[str, Any]]"
Result = TypeVar("Result")

MOST_TRIES = 5
"""How often a write begins anew because somebody else wrote the file at the same time."""


class WritableFileStore:
    """Keeps the configuration in a declarative file."""

    kind = "off"
    is_shared = False  # what others do to the file is live after a reload, or with the next write

    def __init__(self, source: DeclarativeSource, memory: LoadMemory) -> None:
        """`memory`: of the texts that were loaded before; POST /config uses the same one."""
        self._source = source
        self._memory = memory
        self._file: DeclarativeFile | None = None
        self._content: Content | None = None
        self._written: DeclarativeText | None = None
        self.configuration = Configuration.EMPTY
        self.is_reachable = True
        self._told = ""
        """The problem that is in the log."""

    def open(self) -> Configuration:
        """Load the file. Raises StoreError when it could not be written, DeclarativeError when it cannot be
        read."""
        return self.reload(self._source)

    def reload(self, source: DeclarativeSource) -> Configuration:
        """Load the file again, or another one. Raises StoreError, DeclarativeError; then nothing changes."""
        if source.text:
            raise StoreError("DECLARATIVE_WRITABLE needs a file: DECLARATIVE_CONFIG_STRING cannot be written")
        if source.path is None:
            raise StoreError("DECLARATIVE_WRITABLE needs a file: set DECLARATIVE_CONFIG")
        file = DeclarativeFile(source.path)
        file.check_writable()
        content = file.read()
        if file.path != (self._file.path if self._file else None) or self._is_new(content):
            self._load(content, str(file.path))
        self._file, self._source = file, source
        return self.configuration

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Run the operations and write what they change to the file. Raises FileUnavailable: the file and
        the configuration are what they were."""

        def run() -> tuple[list[Outcome], Changes, Secrets]:
            batch = run_batch(self.configuration, operations)
            return batch.outcomes, batch.changes, batch.given_secrets

        return self._write(run)

    def replace(self, configuration: Configuration, given_secrets: GivenSecrets | None = None) -> None:
        """Make this the whole content of the file; what it says already stays as it stands there. Raises
        FileUnavailable."""

        def run() -> tuple[None, Changes, Secrets]:
            changes = differences(self.configuration, configuration, None)
            given = given_secrets or {}
            secrets = {key: given[key[1]] for key in changes if key[1] in given}
            return None, changes, secrets

        self._write(run)
        self.configuration = self.configuration.changed({}, configuration.hash)

    def catch_up(self) -> bool:
        """Take over what others have done to the file. Raises FileUnavailable when it cannot be read any
        more."""
        return self._take_over(self._opened)

    def follow(self, on_change: Callable[[], None]) -> None:
        """Nothing is watched: half of an edit would go live."""

    def close(self) -> None:
        """There is nothing to let go of."""

    @property
    def _opened(self) -> DeclarativeFile:
        assert self._file is not None, "the store is open"
        return self._file

    def _is_new(self, content: Content) -> bool:
        return self._content is None or content.data != self._content.data

    def _take_over(self, file: DeclarativeFile) -> bool:
        try:
            content = file.read()
            is_new = self._is_new(content)
            if is_new:
                self._load(content, str(file.path))
            self._content = content
        except DeclarativeError as error:
            self.is_reachable = False
            raise FileUnavailable("; ".join(error.lines())) from None
        self.is_reachable = True
        return is_new

    def _load(self, content: Content, source: str) -> None:
        with collection_paused():
            parsed = parse_declarative(content.data, source=source, memory=self._memory)
            written = read_text(decode_text(content.data))
            changes = differences(self.configuration, parsed.configuration, written.state)
            self.configuration = self.configuration.changed(changes, parsed.configuration.hash)
            self._content, self._written = content, written

    def _write(self, run: Callable[[], tuple[Result, Changes, Secrets]]) -> Result:
        """Do what `run` says on top of what is in the file: it gives a result, changes and secrets."""
        file = self._opened
        try:
            with file.locked():
                for _ in range(MOST_TRIES):
                    self._take_over(file)
                    result, changes, secrets = run()
                    if not changes or self._commit(file, changes, secrets):
                        self._told = ""
                        return result
        except FileUnavailable as problem:
            self.is_reachable = False
            if str(problem) != self._told:  # expired entities are tried to be removed every second
                log.error("nothing was written: %s", problem)
            self._told = str(problem)
            raise
        raise FileUnavailable(f"{file.path} is changed by others all the time")

    def _commit(self, file: DeclarativeFile, changes: Changes, secrets: Secrets) -> bool:
        """Write changes to the file. False when somebody else was faster."""
        assert self._written is not None
        assert self._content is not None
        with collection_paused():
            rewriting = Rewriting(self._written, self.configuration, changes, secrets, self._memory)
            written = rewriting.result()
        if written is None:
            raise FileUnavailable(f"{file.path} cannot hold the change")
        mark = codecs.BOM_UTF8 if self._content.data.startswith(codecs.BOM_UTF8) else b""
        content = file.replace(mark + written.text.encode(), self._content)
        if content is None:
            return False
        self._written, self._content = written, content
        self.configuration = self.configuration.changed(changes, content_hash(content.data))
        return True

"""The text of a declarative file after a change, checked by reading it again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.expiry import Expiring
from gateway.entities.record import Entity, shape_of
from gateway.store.changes import Changes
from gateway.store.configuration import Configuration
from gateway.store.declarative import parse_declarative
from gateway.store.declarative_errors import DeclarativeError
from gateway.store.documents import Document, UnreadableDocument, read_document
from gateway.store.editing.edit import CannotEdit, edit_json, edit_yaml, expand_aliases, same
from gateway.store.editing.plan import CannotExpress, Manner, Planner, Secrets, State, state_of
from gateway.store.editing.rendering import JsonStyle, YamlStyle
from gateway.store.editing.working_copy import WorkingCopy, unshared
from gateway.store.items import Parsed
from gateway.store.memory import LoadMemory

log = logging.getLogger(__name__)

MOST_EDITS = 2000
"""From so many changed entities on, the file is written anew rather than edited."""


@dataclass(frozen=True, slots=True)
class DeclarativeText:
    """A declarative text that was read."""

    text: str
    state: State
    is_json: bool
    has_aliases: bool


def read_text(text: str) -> DeclarativeText:
    """Find the parts of a text that can be loaded."""
    document = read_document(text)
    value = unshared(document.value) if document.has_aliases else document.value
    return DeclarativeText(text, state_of(value), _is_json(document), document.has_aliases)


def _is_json(document: Document) -> bool:
    return not document.has_lines


class Rewriting:
    """One change of a text. The forms are tried in turn, until one is read as what was meant."""

    def __init__(
        self,
        written: DeclarativeText,
        before: Configuration,
        changes: Changes,
        secrets: Secrets,
        memory: LoadMemory,
    ) -> None:
        self._written = written
        self._before = before
        self._changes = changes
        self._secrets = secrets
        self._memory = memory
        self._after = before.changed(changes, "")

    def result(self) -> DeclarativeText | None:
        """The new text; None when none was found that says what it should."""
        if len(self._changes) < MOST_EDITS:
            for manner in self._manners():
                found = self._in_manner(manner)
                if found is not None:
                    return found
            log.warning("the declarative file is written anew: the change does not fit into its form")
        return self._anew()

    def _manners(self) -> Iterator[Manner]:
        state = self._written.state
        for stored_secrets in (False, True) if state.transforms else (False,):
            for format_3 in (False, True) if state.is_older_format else (False,):
                yield Manner(stored_secrets, format_3)

    def _in_manner(self, manner: Manner) -> DeclarativeText | None:
        state = self._written.state
        planner = Planner(state, self._before, self._after, self._changes, self._secrets, manner)
        try:
            wanted = planner.run()
        except CannotExpress:
            return None
        for text in self._texts(wanted, planner.copy):
            found = self._read(text, wanted)
            if found is not None:
                return found
        return None

    def _anew(self) -> DeclarativeText | None:
        """The whole configuration in a file of its own; comments are lost."""
        document: dict[str, Any] = {"_format_version": "3.0", "_transform": False}
        added = {
            (name, identifier): entity
            for name, table in self._after.entities.items()
            for identifier, entity in table.items()
        }
        planner = Planner(state_of(document), Configuration.EMPTY, self._after, added, {}, Manner())
        try:
            wanted = planner.run()
        except CannotExpress:
            return None
        return self._read(self._rendered(wanted.document), wanted)

    def _texts(self, wanted: State, copy: WorkingCopy) -> Iterator[str]:
        written = self._written
        edit: Callable[..., str] = edit_json if written.is_json else edit_yaml
        document = written.state.document
        for expand in (False, True) if written.has_aliases else (False,):
            try:
                text = expand_aliases(written.text, document) if expand else written.text
                yield edit(text, document, wanted.document, copy.origin)
            except CannotEdit:
                pass
        yield self._rendered(wanted.document)

    def _rendered(self, document: Mapping[str, Any]) -> str:
        style = JsonStyle(2) if self._written.is_json else YamlStyle()
        return "\n".join(style.block_lines(document)) + "\n"

    # Checks

    def _read(self, text: str, wanted: State) -> DeclarativeText | None:
        try:
            parsed = parse_declarative(text, memory=self._memory)
            document = read_document(text)
        except (DeclarativeError, UnreadableDocument) as problem:
            log.debug("a rewritten declarative file would be broken: %s", problem)
            return None
        if not same(document.value, wanted.document) or not self._says(parsed, wanted):
            return None
        return DeclarativeText(text, wanted, _is_json(document), document.has_aliases)

    def _says(self, parsed: Parsed, wanted: State) -> bool:
        """Whether what was read is what was meant."""
        read = parsed.configuration
        if {name: set(table) for name, table in read.entities.items()} != {
            name: set(table) for name, table in self._after.entities.items()
        }:
            return False
        written = {(item.kind.type_name, item.id): item.values for item in wanted.items}
        return all(
            entity == read.of(name)[identifier]
            or self._is_meant(entity, read.of(name)[identifier], written[name, identifier], parsed)
            for name, table in self._after.entities.items()
            for identifier, entity in table.items()
        )

    def _is_meant(self, meant: Entity, read: Entity, written: Mapping[str, Any], parsed: Parsed) -> bool:
        """Whether two entities differ only in what is made up when they are loaded."""
        made_up = automatic_fields(meant, written)
        given = parsed.given_secrets.get(meant.id, {})
        key = (meant.type_name, meant.id)
        before = self._before.of(meant.type_name).get(meant.id)
        for name in given:
            if not _is_salted(type(meant), read, given):
                break
            was_given = self._secrets.get(key, {}).get(name) == given[name]
            if was_given or (before is not None and getattr(before, name) == getattr(meant, name)):
                made_up.add(name)
        return msgspec.structs.replace(read, **{name: getattr(meant, name) for name in made_up}) == meant


TIME_STAMPS = {"created_at", "updated_at"}


def automatic_fields(entity: Entity, written: Mapping[str, Any]) -> set[str]:
    """The fields that are filled in when an element is loaded, other than its id."""
    names = {name for name in shape_of(type(entity)).automatic if name != "id" and written.get(name) is None}
    if isinstance(entity, Expiring) and written.get("ttl") is not None:
        names.add("expires_at")  # counted from the load
    return names


def _is_salted(kind: type[Entity], entity: Entity, given: Mapping[str, Any]) -> bool:
    """Whether the hash of a secret is another one every time."""
    first, second = ({**msgspec.structs.asdict(entity), **given} for _ in range(2))
    kind.hash_secrets(first)
    kind.hash_secrets(second)
    return first != second


def differences(known: Configuration, read: Configuration, state: State | None) -> Changes:
    """What must change to come from one configuration to another. Entities that differ only in what was made
    up at a load are the same; `state`: of the text that was read, where there is one. Without it only time
    stamps are taken for made up: a key or a secret is what somebody wants."""
    written = {(item.kind.type_name, item.id): item.values for item in state.items} if state else {}
    changes: dict[tuple[str, str], Entity | None] = {}
    for name in ENTITY_TYPES:
        before, after = known.of(name), read.of(name)
        if before is after:
            continue
        for identifier in before:
            if identifier not in after:
                changes[name, identifier] = None
        for identifier, entity in after.items():
            old = before.get(identifier)
            if old is not None and old != entity:
                made_up = automatic_fields(entity, written.get((name, identifier), {}))
                if state is None:
                    made_up &= TIME_STAMPS
                kept = {field: getattr(old, field) for field in made_up}
                if msgspec.structs.replace(entity, **kept) == old:
                    continue
            elif old is not None:
                continue
            changes[name, identifier] = entity
    return changes

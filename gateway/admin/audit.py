"""The audit log: one JSON line for each request to the Admin API that changes something, or tries to.

    {"time": "2026-11-22T10:00:00.123Z", "request_id": "…", "caller": {"kind": "admin", "name": "ci"},
     "client": "127.0.0.1", "method": "PATCH", "path": "/services/orders", "status": 200,
     "changes": [{"entity": "services", "id": "…", "action": "updated",
                  "fields": {"host": {"from": "a.test", "to": "b.test"}}}]}

Values of secret fields are masked. A line is written before its request is answered. Where a line cannot be
written (a full disk), the request is answered all the same, and the error log tells.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from gateway.entities.masking import hide_in_path, hide_member
from gateway.entities.record import Entity, shape_of, to_kong
from gateway.logs import PRIVATE_LOG_MODE
from gateway.settings.values import STANDARD_STREAMS
from gateway.store.draft import Draft
from gateway.store.interface import Operation

from .access import Caller

log = logging.getLogger(__name__)

MOST_CHANGES = 100
"""entities of one request that are listed (what goes with a removed consumer, say); the rest are counted"""
LONGEST_VALUE = 1000
"""characters of the JSON of a value; longer ones are left out"""
COMPLAINT_INTERVAL = 10.0
"""seconds between two lines of the error log about lines that could not be written"""


@dataclass
class AuditRecord:
    """What is known of one request."""

    caller: Caller
    method: str
    path: str
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.time)
    status: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    more: int = 0
    """changes that are not listed"""
    details: dict[str, Any] = field(default_factory=dict)
    """further members of the line, see note()"""

    def add(self, before: Entity | None, after: Entity | None) -> None:
        """Note that an entity was created, updated or removed."""
        if before == after:
            return
        if len(self.changes) >= MOST_CHANGES:
            self.more += 1
        else:
            self.changes.append(described_change(before, after))

    def note_hashes(self, before: str, after: str) -> None:
        """Note that everything was replaced at once."""
        if before != after:
            self.details["configuration_hash"] = {"from": before, "to": after}

    def line(self) -> bytes:
        """The line of the log."""
        moment = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="milliseconds")
        document: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "request_id": self.request_id,
            "caller": {"kind": self.caller.kind, "name": self.caller.name or None},
            "client": self.caller.address,
            "method": self.method,
            "path": hide_in_path(self.path),
            "status": self.status,
            ("changes" if self.status < 400 else "refused_changes"): self.changes,
            **({"more_changes": self.more} if self.more else {}),
            **self.details,
        }
        return orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS) + b"\n"


CURRENT: ContextVar[AuditRecord | None] = ContextVar("audit", default=None)
"""the record of the request that is being answered"""


def note(**details: Any) -> None:
    """Add members to the line of the request that is being answered; nothing where there is no audit log."""
    record = CURRENT.get()
    if record is not None:
        record.details |= details


def observed(operation: Operation) -> Operation:
    """The same write, with its changes noted for the request that is being answered."""
    record = CURRENT.get()
    if record is None:
        return operation

    place, more = len(record.changes), record.more

    def run(draft: Draft) -> Any:
        earlier = dict(draft.changes)
        result = operation.run(draft)
        del record.changes[place:]  # a transaction that is tried again runs its operations again
        record.more = more
        for key, after in draft.changes.items():
            type_name, identifier = key
            known = key in earlier
            before = earlier[key] if known else draft.base.of(type_name).get(identifier)
            if before is not after:
                record.add(before, after)
        return result

    return replace(operation, run=run)


def described_change(before: Entity | None, after: Entity | None) -> dict[str, Any]:
    """One member of `changes`."""
    entity = after or before
    assert entity is not None
    action = "created" if before is None else "removed" if after is None else "updated"
    change: dict[str, Any] = {"entity": entity.type_name, "id": entity.id, "action": action}
    fields = shape_of(type(entity)).fields
    if entity.endpoint_key and not fields[entity.endpoint_key].encrypted:
        change[entity.endpoint_key] = getattr(entity, entity.endpoint_key)
    if after is not None:
        change["fields"] = changed_fields(to_kong(before) if before is not None else {}, to_kong(after))
    return change


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """`{"host": {"from": "a", "to": "b"}}` for every field that has another value; secrets are masked.

    Of a new entity (nothing before) fields without a value are left out.
    """
    changed = {}
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old == new or name == "updated_at":
            continue
        values = {"to": shown_value(name, new)}
        changed[name] = {"from": shown_value(name, old), **values} if before else values
    return changed


def shown_value(name: str, value: Any) -> Any:
    """A value as the log has it."""
    hidden = hide_member(name, value)
    return hidden if len(orjson.dumps(hidden, default=str)) <= LONGEST_VALUE else "(long)"


class AuditLog:
    """The file. It is opened by its name again after a rotation, which is noticed at the next line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._descriptor = -1
        self._unfinished = False
        """the last line was cut off by a full disk"""
        self._lost = 0
        self._complained = -COMPLAINT_INTERVAL

    async def write(self, path: Path, record: AuditRecord) -> None:
        """Append the line of a request. What goes wrong is told in the error log only."""
        await asyncio.to_thread(self.append, path, record.line())

    def append(self, path: Path, line: bytes) -> None:
        """Append a line to the file at `path`. Any thread may."""
        with self._lock:
            try:
                self._follow(path)
                self._put(line)
            except OSError as error:
                self._lost += 1
                self._complain(path, error.strerror or str(error))
            else:
                if self._lost:
                    log.error("the audit log %s is written again; lines lost: %d", path, self._lost)
                    self._lost = 0
                    self._complained = -COMPLAINT_INTERVAL

    def reopen(self) -> None:
        """Open the file by its name again: after a rotation a new one is there at once."""
        with self._lock:
            if self._path is None:
                return
            try:
                self._follow(self._path)
            except OSError as error:
                self._complain(self._path, error.strerror or str(error))

    def _put(self, line: bytes) -> None:
        text = b"\n" + line if self._unfinished else line
        written = os.write(self._descriptor, text)
        if written < len(text):
            self._unfinished = self._unfinished or written > 0
            raise OSError(28, "no space for a whole line")
        self._unfinished = False

    def _follow(self, path: Path) -> None:
        """Have the file open that is at `path` now. Raises OSError."""
        if self._descriptor >= 0 and path == self._path and not self._is_moved(path):
            return
        try:
            opened = open_audit_log(path)
        except OSError:
            # Renamed, and not made again yet by whom may (the master, at USR1): better there than nowhere.
            if self._descriptor >= 0 and path == self._path:
                return
            raise
        self._close()
        self._descriptor, self._path = opened, path

    def _is_moved(self, path: Path) -> bool:
        if path in STANDARD_STREAMS:
            return False
        try:
            return not os.path.samestat(path.stat(), os.fstat(self._descriptor))
        except OSError:
            return True

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._unfinished = False

    def _complain(self, path: Path, reason: str) -> None:
        if time.monotonic() - self._complained >= COMPLAINT_INTERVAL:
            self._complained = time.monotonic()
            log.critical("the audit log %s cannot be written: %s; lines lost: %d", path, reason, self._lost)


def open_audit_log(path: Path) -> int:
    """A descriptor for the audit log, appending; directories are made. Raises OSError."""
    if path in STANDARD_STREAMS:
        return os.dup(1 + STANDARD_STREAMS.index(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE_LOG_MODE)

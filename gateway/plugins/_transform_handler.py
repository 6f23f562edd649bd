"""Bodies for request-transformer and response-transformer, on the plugin thread.

What a step sends is described where it does so (native/steps/request_transformer.pyx and
response_transformer.pyx). Both expect nothing at all when the body stays, else the new body behind one byte,
so that it can be empty.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.plugin_thread import Job, WorkerContext

from ._pairs import split_pair
from ._transform_bodies import BodyChanges, change_form, change_json, change_multipart, json_text

LENGTH = struct.Struct("<I")
KEPT = b""
NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
OPERATIONS_WITH_VALUES = ("rename", "replace", "add", "append")


class RequestBodies:
    """Handler of request-transformer."""

    def __init__(self, context: WorkerContext) -> None:
        pass

    def handle(self, job: Job) -> bytes:
        content_type, changes, body = _read_request(job.payload, job.config)
        kind = content_type.lower()
        if b"application/json" in kind:
            changed = change_json(body, changes.with_values(json_text))
        elif b"multipart/form-data" in kind:
            changed = change_multipart(body, content_type, changes)
        else:
            changed = change_form(body, changes)
        return _result(changed)


class ResponseBodies:
    """Handler of response-transformer."""

    def __init__(self, context: WorkerContext) -> None:
        self._known: dict[str, tuple[Mapping[str, Any], BodyChanges]] = {}

    def handle(self, job: Job) -> bytes:
        return _result(change_json(job.payload, self._changes(job), rewrite=True) if job.payload else None)

    def _changes(self, job: Job) -> BodyChanges:
        """A configuration keeps its dictionary as long as it is in use."""
        known = self._known.get(job.plugin_id)
        if known is None or known[0] is not job.config:
            known = self._known[job.plugin_id] = (job.config, response_changes(job.config))
        return known[1]


def _result(changed: bytes | None) -> bytes:
    return KEPT if changed is None else b"\1" + changed


def _read_request(payload: bytes, config: Mapping[str, Any]) -> tuple[bytes, BodyChanges, bytes]:
    content_type, place = _read_text(payload, 0)
    pairs: dict[str, list[tuple[str, bytes]]] = {}
    for operation in OPERATIONS_WITH_VALUES:
        pairs[operation] = []
        for text in config[operation]["body"]:
            value, place = _read_text(payload, place)
            pairs[operation].append((split_pair(text)[0], value))
    changes = BodyChanges(remove=[split_pair(text)[0] for text in config["remove"]["body"]], **pairs)
    return content_type, changes, payload[place:]


def _read_text(payload: bytes, place: int) -> tuple[bytes, int]:
    (length,) = LENGTH.unpack_from(payload, place)
    start = place + LENGTH.size
    return payload[start : start + length], start + length


def response_changes(config: Mapping[str, Any]) -> BodyChanges:
    """What response-transformer does with JSON, values in their types."""
    return BodyChanges(
        remove=[split_pair(text)[0] for text in config["remove"]["json"]],
        rename=[(old, new.encode()) for old, new in map(split_pair, config["rename"]["json"]) if new],
        replace=_typed(config["replace"]),
        add=_typed(config["add"]),
        append=_typed(config["append"]),
    )


def _typed(values: Mapping[str, Sequence[str]]) -> list[tuple[str, bytes]]:
    """A number that is none is left out, as in Kong."""
    found = []
    for index, text in enumerate(values["json"]):
        name, value = split_pair(text)
        types = values["json_types"]
        typed = typed_value(value, types[index] if index < len(types) else "string")
        if typed is not None:
            found.append((name, typed))
    return found


def typed_value(text: str, kind: str) -> bytes | None:
    """A configured value as JSON; None: it is no value of that type."""
    if kind == "boolean":
        return b"true" if text == "true" else b"false"
    if kind == "string":
        return msgspec.json.encode(text)
    if not NUMBER.fullmatch(text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    return msgspec.json.encode(int(number) if number.is_integer() and abs(number) < 2**53 else number)

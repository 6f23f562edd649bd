"""Changing bodies by name: JSON objects, forms, multipart forms. Used on the plugin thread.

Each function answers with the new body, or with None when there is nothing to do, or nothing that could be
done: a body that is not what its type says goes on as it is (Kong).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

import msgspec

Pairs = Sequence[tuple[str, bytes]]
"""(name, value), or for JSON the value as JSON"""


@dataclass(frozen=True)
class BodyChanges:
    """What is to be done, in this order."""

    remove: Sequence[str] = ()
    rename: Pairs = ()
    replace: Pairs = ()
    add: Pairs = ()
    append: Pairs = ()

    def with_values(self, convert: Callable[[bytes], bytes]) -> BodyChanges:
        """The same with values in another form."""
        replace, add, append = (
            [(name, convert(value)) for name, value in pairs]
            for pairs in (self.replace, self.add, self.append)
        )
        return BodyChanges(self.remove, self.rename, replace, add, append)


# --- JSON ------------------------------------------------------------------------------------------------
Members = dict[str, msgspec.Raw]
MEMBERS = msgspec.json.Decoder(Members)
ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
NOT_JSON = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def json_text(value: bytes) -> bytes:
    """A text as JSON. What is not UTF-8 in it is replaced."""
    return msgspec.json.encode(value.decode(errors="replace"))


def change_json(body: bytes, changes: BodyChanges, *, rewrite: bool = False) -> bytes | None:
    """Values of members that nobody changes keep their bytes, long numbers for example, but for white space.
    An empty body counts as an empty object; an array has no members to change.

    `rewrite`: also when nothing is changed, the body is written anew.
    """
    if body.lstrip().startswith(b"["):
        return _compact(body)
    try:
        members: Members = MEMBERS.decode(body) if body else {}
    except NOT_JSON:
        return None
    if not _change_members(members, changes, is_new=not body) and not rewrite:
        return None
    return _compact(msgspec.json.encode(members))


def _change_members(members: Members, changes: BodyChanges, *, is_new: bool) -> bool:
    """Whether something was to be done, as Kong counts."""
    changed = not is_new and bool(changes.remove or changes.rename)
    for name in changes.remove:
        members.pop(name, None)
    for old, new in changes.rename:
        _rename_member(members, old, new.decode(errors="replace"))
    for name, value in changes.replace:
        if name in members:
            members[name] = msgspec.Raw(value)
            changed = True
    for name, value in changes.add:
        if name not in members:
            members[name] = msgspec.Raw(value)
            changed = True
    for name, value in changes.append:
        members[name] = _appended(members.get(name), value)
        changed = True
    return changed


def _rename_member(members: Members, old: str, new: str) -> None:
    """In its place."""
    if old not in members or old == new:
        return
    renamed = {new if name == old else name: value for name, value in members.items() if name != new}
    members.clear()
    members.update(renamed)


def _appended(there: msgspec.Raw | None, value: bytes) -> msgspec.Raw:
    """An array with one more element; what is no array, object or text gives way, as in Kong."""
    first = bytes(there).lstrip()[:1] if there is not None else b""
    elements: list[msgspec.Raw] = []
    if first == b"[":
        elements = ELEMENTS.decode(there or b"")
    elif there is not None and first in (b'"', b"{"):
        elements = [there]
    return msgspec.Raw(msgspec.json.encode([*elements, msgspec.Raw(value)]))


def _compact(body: bytes) -> bytes | None:
    try:
        return msgspec.json.format(body, indent=-1)
    except NOT_JSON:
        return None


# --- forms -----------------------------------------------------------------------------------------------
Field = tuple[bytes, bytes | None]
"""name, value; None: a name without "=" """


def change_form(body: bytes, changes: BodyChanges) -> bytes | None:
    """application/x-www-form-urlencoded."""
    fields = [field for piece in body.split(b"&") if (field := _decoded(piece))[0]]
    changed = bool(body) and bool(changes.remove or changes.rename)
    for name in changes.remove:
        fields = [field for field in fields if field[0] != name.encode()]
    for old, new in changes.rename:
        fields = _renamed(fields, old.encode(), new)
    for name, value in changes.replace:
        if _has(fields, name.encode()):
            fields = _replaced(fields, name.encode(), value)
            changed = True
    for name, value in changes.add:
        if not _has(fields, name.encode()):
            fields.append((name.encode(), value))
            changed = True
    for name, value in changes.append:
        if [field for field in fields if field[0] == name.encode()] == [(name.encode(), None)]:
            fields.remove((name.encode(), None))
        fields.append((name.encode(), value))
        changed = True
    return b"&".join(map(_encoded, fields)) if changed else None


def _decoded(piece: bytes) -> Field:
    name, equals, value = piece.replace(b"+", b" ").partition(b"=")
    return unquote_to_bytes(name), unquote_to_bytes(value) if equals else None


def _encoded(field: Field) -> bytes:
    name, value = field
    written = quote(name, safe="")
    return (written if value is None else f"{written}={quote(value, safe='')}").encode()


def _has(fields: list[Field], name: bytes) -> bool:
    return any(field[0] == name for field in fields)


def _renamed(fields: list[Field], old: bytes, new: bytes) -> list[Field]:
    if old == new or not _has(fields, old):
        return fields
    return [(new if name == old else name, value) for name, value in fields if name != new]


def _replaced(fields: list[Field], name: bytes, value: bytes) -> list[Field]:
    """One field in the place of the first of that name."""
    place = next(index for index, field in enumerate(fields) if field[0] == name)
    kept = [field for index, field in enumerate(fields) if field[0] != name or index == place]
    kept[kept.index(fields[place])] = (name, value)
    return kept


# --- multipart -------------------------------------------------------------------------------------------
BOUNDARY = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
NAME = re.compile(rb'(;\s*name=)(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of a multipart body: its name, and its bytes with their header."""

    name: bytes | None
    octets: bytes


def change_multipart(body: bytes, content_type: bytes, changes: BodyChanges) -> bytes | None:
    """Parts that nobody changes keep their bytes. Nothing can be appended to a part."""
    found = BOUNDARY.search(content_type)
    if found is None:
        return None
    delimiter = b"--" + (found[1] or found[2])
    parts = _parts(body, delimiter)
    if parts is None:
        return None
    changed = bool(body) and bool(changes.remove or changes.rename)
    for old, new in changes.rename:
        parts = _renamed_parts(parts, old.encode(), new)
    for name in changes.remove:
        parts = [part for part in parts if part.name != name.encode()]
    for name, value in changes.replace:
        if any(part.name == name.encode() for part in parts):
            parts = [part for part in parts if part.name != name.encode()]
            parts.append(_new_part(name.encode(), value, delimiter))
            changed = True
    for name, value in changes.add:
        if all(part.name != name.encode() for part in parts):
            parts.append(_new_part(name.encode(), value, delimiter))
            changed = True
    if not changed:
        return None
    written = b"".join(delimiter + b"\r\n" + part.octets + b"\r\n" for part in parts)
    return written + delimiter + b"--\r\n"


def _parts(body: bytes, delimiter: bytes) -> list[Part] | None:
    """None: not the parts that this delimiter stands between."""
    if not body:
        return []
    before, *pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if before.strip() or not pieces or not pieces[-1].startswith(b"--"):
        return None
    parts = []
    for piece in pieces[:-1]:
        padding, line_end, octets = piece.partition(b"\r\n")
        if not line_end or padding.strip(b" \t"):
            return None
        parts.append(Part(_name_of(octets), octets))
    return parts


def _name_of(octets: bytes) -> bytes | None:
    for line in octets.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:") and (found := NAME.search(line)):
            return found[2] if found[2] is not None else found[3]
    return None


def _renamed_parts(parts: list[Part], old: bytes, new: bytes) -> list[Part]:
    if old == new or all(part.name != old for part in parts):
        return parts
    return [_renamed_part(part, new) if part.name == old else part for part in parts if part.name != new]


def _renamed_part(part: Part, new: bytes) -> Part:
    head, end, content = part.octets.partition(b"\r\n\r\n")
    lines = [
        NAME.sub(lambda found: found[1] + _quoted(new), line, count=1)
        if line.lower().startswith(b"content-disposition:")
        else line
        for line in head.split(b"\r\n")
    ]
    return Part(new, b"\r\n".join(lines) + end + content)


def _new_part(name: bytes, value: bytes, delimiter: bytes) -> Part:
    if delimiter in value:
        raise ValueError("a value has the boundary of the multipart body in it")
    return Part(name, b"Content-Disposition: form-data; name=" + _quoted(name) + b"\r\n\r\n" + value)


def _quoted(name: bytes) -> bytes:
    """As browsers write it."""
    return b'"' + name.replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b'"', b"%22") + b'"'

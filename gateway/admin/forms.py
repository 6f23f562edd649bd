"""Form fields into the values that entities are made of.

A form knows only names and texts. The names say where a text belongs (`config.redis.port`, `paths[]`,
`paths[1]`, `headers[x-y]`, `consumer.username`), and the declarations of the fields say what it is: a number,
a boolean, an element of a list, the name of another entity. An empty text is null. What fits no declaration
stays as it was written, so that the check of the entity tells what is wrong with it.

Kong takes a text for one element of a list, whatever it contains. Beyond Kong, a text that is no valid
element and has commas is taken for several, and a bare text for a reference is taken for the id or the name
of the other entity (walkthroughs.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import UUID, Anything, Array, Boolean, Field, Foreign, Integer, Map, Number
from gateway.entities.record import Entity, Group, Record, shape_of

DEEPEST_NAME = 16
"""segments that the name of a field may have; no declared field lies deeper"""
NUMBER = re.compile(r"[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?", re.ASCII)
NAME = re.compile(r"(?P<first>[^.\[\]]+)(?P<rest>(\.[^.\[\]]+|\[[^\[\]]+\])*)(?P<list>\[\])?")
SEGMENT = re.compile(r"[^.\[\]]+")
PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]+-----")
PEM_END = re.compile(r"-----END [A-Z0-9 ]+-----")


@dataclass
class FormPart:
    """What a form says about one name: the texts given for it, and about the names below it."""

    texts: list[str] = field(default_factory=list)
    members: dict[str, FormPart] = field(default_factory=dict)

    def plain(self) -> Any:
        """The part as it was written, for what no field is declared."""
        if self.members:
            return {name: member.plain() for name, member in self.members.items()}
        return self.texts[0] if len(self.texts) == 1 else list(self.texts)


def form_values(
    kind: type[Entity], pairs: Iterable[tuple[str, str]], known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The values that the fields of a form mean for an entity of a type.

    `known`: values that the entity has already, where the form changes one: the name of a plugin says what
    its configuration is.
    """
    tree = form_tree(pairs)
    fields = {**kind.shorthands, **shape_of(kind).fields}
    values: dict[str, Any] = {}
    later: list[str] = []
    for name, part in tree.members.items():
        declared = fields.get(name)
        if isinstance(declared, Anything):
            later.append(name)
        else:
            values[name] = part.plain() if declared is None else infer(declared, part)
    for name in later:
        record = kind.record_of(name, {**(known or {}), **values})
        values[name] = infer_record(record, tree.members[name]) if record else tree.members[name].plain()
    return values


def form_tree(pairs: Iterable[tuple[str, str]]) -> FormPart:
    """The names of a form taken apart."""
    root = FormPart()
    for name, text in pairs:
        part = root
        for segment in segments_of(name):
            part = part.members.setdefault(segment, FormPart())
        part.texts.append(restore_pem(text))
    return root


def segments_of(name: str) -> list[str]:
    """`a.b[c][]` -> a, b, c. A name that is not built like that is one segment, and so no known field."""
    found = NAME.fullmatch(name)
    if found is None:
        return [name]
    segments = [found["first"], *SEGMENT.findall(found["rest"])]
    return segments if len(segments) <= DEEPEST_NAME else [name]


def restore_pem(text: str) -> str:
    """A PEM block whose plus signs were not encoded by the client has come with spaces in their place. Only
    in lines between the first and the last one, where there are no spaces otherwise (RFC 7468)."""

    pieces = []
    position = 0
    # One expression for a whole block would look for an end from each of many beginnings anew.
    while (begin := PEM_BEGIN.search(text, position)) and (end := PEM_END.search(text, begin.end())):
        content = text[begin.end() : end.start()]
        if content.startswith(("\n", "\r\n")):
            lines = content.split("\n")
            content = "\n".join(line if ":" in line else line.replace(" ", "+") for line in lines)
        pieces += [text[position : begin.end()], content, end[0]]
        position = end.end()
    return "".join([*pieces, text[position:]])


def infer(declared: Field, part: FormPart) -> Any:
    """What a part of a form means for a field."""
    if not part.members and part.texts == [""]:
        return None
    match declared:
        case Array():
            return infer_array(declared, part)
        case Map():
            return infer_map(declared, part)
        case Group():
            return infer_record(declared.record, part)
        case Foreign():
            return infer_reference(declared, part)
        case _:
            return infer_scalar(declared, part)


def infer_scalar(declared: Field, part: FormPart) -> Any:
    """A number or boolean, where the text is one."""
    if part.members or len(part.texts) != 1:
        return part.plain()
    return scalar(declared, part.texts[0])


def scalar(declared: Field, text: str) -> Any:
    """A text as a number or boolean, where it is one; null when it is empty."""
    if not text:
        return None
    if isinstance(declared, Boolean):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(declared, Integer | Number) and NUMBER.fullmatch(text.strip()):
        number = float(text)
        if number.is_integer() and abs(number) <= 2**53:
            return int(number)
        return number if abs(number) != float("inf") else text
    return text


def infer_array(declared: Array, part: FormPart) -> Any:
    """The elements of an array or set: numbered ones in order, then the others."""
    if not all(name.isdecimal() for name in part.members):
        return part.plain()
    numbered = sorted(part.members, key=lambda name: (len(name.lstrip("0")), name.lstrip("0")))
    elements = [infer(declared.elements, part.members[name]) for name in numbered]
    if isinstance(declared.elements, Array | Map | Group | Foreign | Anything):
        return elements + [infer(declared.elements, FormPart([text])) for text in part.texts]
    for text in part.texts:
        elements += elements_of(declared, text)
    return elements


def elements_of(declared: Array, text: str) -> list[Any]:
    """The elements that a text holds: one, or those between its commas."""
    element = scalar(declared.elements, text)
    if not isinstance(element, str) or "," not in text:
        return [element]
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if declared.pieces is not None:
        is_one = any(declared.pieces(piece) is not None for piece in pieces)
    else:
        is_one = declared.elements.check(element)[1] is None
    return [element] if is_one else [scalar(declared.elements, piece) for piece in pieces]


def infer_map(declared: Map, part: FormPart) -> Any:
    """The members of a map. Their names may contain dots where the values are not records themselves."""
    if part.texts:
        return part.plain()
    members = part.members
    if not isinstance(declared.values, Map | Group | Anything):
        keep_numbers = isinstance(declared.values, Array)
        members = {
            name: leaf
            for first, member in members.items()
            for name, leaf in with_dots(first, member, keep_numbers=keep_numbers)
        }
    return {name: infer(declared.values, member) for name, member in members.items()}


def with_dots(name: str, part: FormPart, *, keep_numbers: bool) -> Iterable[tuple[str, FormPart]]:
    """The names below a name, joined to it; numbers are positions in a list and stay where they are."""
    numbered = {key: member for key, member in part.members.items() if keep_numbers and key.isdecimal()}
    if part.texts or numbered:
        yield name, FormPart(part.texts, numbered)
    for key, member in part.members.items():
        if key not in numbered:
            yield from with_dots(f"{name}.{key}", member, keep_numbers=keep_numbers)


def infer_record(record: type[Record], part: FormPart) -> Any:
    """The fields of a record."""
    if part.texts:
        return None if part.texts == [""] and not part.members else part.plain()
    fields = {**record.shorthands, **shape_of(record).fields}
    return {
        name: infer(fields[name], member) if name in fields else member.plain()
        for name, member in part.members.items()
    }


def infer_reference(declared: Foreign, part: FormPart) -> Any:
    """A reference to another entity: `service.id=…`, `service.name=…`, or only the id or name."""
    other = ENTITY_TYPES.get(declared.reference)
    if part.members or len(part.texts) != 1 or other is None:
        return {name: infer_scalar(declared, member) for name, member in part.members.items()} or part.plain()
    (text,) = part.texts
    by_name = other.endpoint_key is not None and not UUID.fullmatch(text)
    return {other.endpoint_key if by_name else "id": text}

"""Reading YAML and JSON from people and machines that are not trusted.

Only plain data comes out: dicts with string keys, lists, strings, numbers, booleans, None. What could make a
small text expensive or dangerous has a bound here: nesting, the expansion of YAML aliases, tags. Both formats
refuse repeated keys, since one of the two values would silently win.

YAML is read from the parser's events in one loop of its own: PyYAML's composer recurses once per level in C,
and a deeply nested text would end the process. The loop also remembers the line of each key and list item,
for messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import yaml

LONGEST_DEPTH = 64
"""How deep lists and mappings may nest; a route's plugin's configuration needs about ten."""
LARGEST_EXPANSION = 1_000_000
"""How many values aliases may add to a document in all."""
MOST_SYNTAX_PROBLEMS = 100
"""How many problems of form are collected before reading stops."""

DocumentPath: TypeAlias = "tuple[str | int, ...]"

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,14}")
_FLOAT = re.compile(r"(?:[-+]?(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]{1,3})?")


class UnreadableDocument(ValueError):
    """A text that is not a document. `problems`: (line or None, column or None, text), both counted from
    1."""

    def __init__(self, problems: list[tuple[int | None, int | None, str]]) -> None:
        super().__init__("; ".join(text for _, _, text in problems))
        self.problems = problems


@dataclass
class Document:
    """A document and where in the text its parts stand."""

    value: Any
    _lines: dict[int, Any] = field(default_factory=dict, repr=False)
    """Object id of each container -> line of each key or item (from 0)."""
    has_aliases: bool = False
    """Whether some part of it stands elsewhere in the text too."""

    @property
    def has_lines(self) -> bool:
        """Whether lines are known: they are for YAML."""
        return bool(self._lines)

    def line_of(self, path: DocumentPath) -> int | None:
        """The line (from 1) of what `path` leads to; of the nearest part around it when it is missing."""
        container, line = self.value, None
        for step in path:
            lines = self._lines.get(id(container))
            try:
                if lines is None:
                    break
                line = lines[step]
                container = container[step]
            except (KeyError, IndexError, TypeError):
                break
        return None if line is None else line + 1


def decode_text(data: bytes) -> str:
    """The text of a file or request body: UTF-8, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        before = data[: problem.start]
        column = problem.start - (before.rfind(b"\n") + 1) + 1
        raise UnreadableDocument(
            [(before.count(b"\n") + 1, column, f"not valid UTF-8 (byte 0x{data[problem.start]:02x})")]
        ) from None


def read_document(text: str) -> Document:
    """Read JSON (fast, without lines) or YAML; raises UnreadableDocument."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return Document(read_json(text))
        except json.JSONDecodeError:
            pass  # YAML's flow style looks like JSON, and the YAML reader's message has the place
    return read_yaml(text)


def read_json(text: str, *, above: int = 0) -> Any:
    """Read JSON; raises UnreadableDocument, and JSONDecodeError where the text is not JSON at all.

    `above`: how many levels lie around the text, where it is part of a document.
    """
    repeated: list[str] = []

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    repeated.append(name)
                seen.add(name)
        return result

    try:
        value = json.loads(text, object_pairs_hook=as_dict)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of thousands of digits
        raise UnreadableDocument([(None, None, "a number is too long")]) from None
    except RecursionError:
        raise UnreadableDocument([(None, None, _too_deep())]) from None
    if repeated:
        try:
            read_yaml(text)  # says where
        except UnreadableDocument as problem:
            raise problem from None
        raise UnreadableDocument([(None, None, _repeated(name)) for name in repeated[:MOST_SYNTAX_PROBLEMS]])
    check_plain_data(value, above=above)
    return value


def check_plain_data(value: object, *, above: int = 0) -> None:
    """Refuse a decoded document that nests too deep or holds keys or characters that cannot be used."""
    problems: list[tuple[int | None, int | None, str]] = []
    level: list[Any] = [value]
    for _ in range(LONGEST_DEPTH + 1 - above):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for name in item:
                    if not isinstance(name, str):
                        problems.append((None, None, f"keys must be strings, not {name!r}"))
                    elif problem := _character_problem(name):
                        problems.append((None, None, problem))
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and (problem := _character_problem(item)):
                problems.append((None, None, problem))
        if problems:
            raise UnreadableDocument(problems[:MOST_SYNTAX_PROBLEMS])
        if not below:
            return
        level = below
    raise UnreadableDocument([(None, None, _too_deep())])


def _character_problem(text: str) -> str | None:
    if text.isascii():
        return "NUL characters are not allowed" if "\0" in text else None
    if "\0" in text:
        return "NUL characters are not allowed"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair is not a character"
    return None


def _too_deep() -> str:
    return f"nested deeper than {LONGEST_DEPTH} levels"


def _repeated(name: str) -> str:
    return f"duplicate key '{name}'"


def read_yaml(text: str, *, above: int = 0) -> Document:
    """Read one YAML document; raises UnreadableDocument with all problems that allow to read on.

    `above`: how many levels lie around the text, where it is part of a document.
    """
    reader = _YamlReader(above)
    try:
        value = reader.read(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as problem:
        mark = problem.context_mark or problem.problem_mark
        reader.problems.append((*_place(text, mark), str(problem.problem)))
    except yaml.reader.ReaderError as problem:
        before = text[: problem.position]
        column = len(before) - (before.rfind("\n") + 1) + 1
        reader.problems.append((before.count("\n") + 1, column, str(problem.reason)))
    except UnicodeEncodeError:
        reader.problems.append((None, None, "half of a surrogate pair is not a character"))
    except _StopReading:
        pass
    if reader.problems:
        raise UnreadableDocument(reader.problems)
    return Document(value, reader.lines, reader.has_aliases)


def _place(text: str, mark: Any) -> tuple[int | None, int | None]:
    """Line and column of a parser's mark, from 1; where that is behind the end, those of the last
    character."""
    if mark is None:
        return None, None
    if mark.line > text.count("\n"):
        return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1)
    return mark.line + 1, mark.column + 1


class _StopReading(Exception):
    """There is no use in reading on; the problem is noted."""


class _Open:
    """A list or mapping whose end has not been read yet."""

    __slots__ = ("container", "first_count", "key", "lines", "merged", "merging", "start")

    def __init__(self, start: Any, container: Any, lines: Any, first_count: int) -> None:
        self.start = start
        self.container = container
        self.lines = lines
        """The line of each key, or of each item."""
        self.first_count = first_count
        self.key: str | None = None
        """The key whose value comes next."""
        self.merging = False
        """The value of a merge key (`<<`) comes next."""
        self.merged: list[dict[str, Any]] = []


class _YamlReader:
    def __init__(self, above: int) -> None:
        self.problems: list[tuple[int | None, int | None, str]] = []
        self.lines: dict[int, Any] = {}
        self._deepest = LONGEST_DEPTH - above
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        """Anchor -> its value, and how many values that holds."""
        self._count = 0
        """Values so far, aliases counted with all they stand for."""
        self._expanded = 0
        self._kept: list[Any] = []
        """Containers that are no part of the result; their object ids (the keys of `lines`) must stay
        taken."""

    def read(self, events: Iterator[Any]) -> Any:
        """The value of the one document in the events."""
        result: Any = None
        documents = 0
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value, start = self._scalar(event), event
                self._count += 1
                if event.anchor:
                    self._anchors[event.anchor] = (value, 1)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._open(event, kind is yaml.MappingStartEvent)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                value, start = self._close()
            elif kind is yaml.AliasEvent:
                value, start = self._alias(event), event
            else:
                if kind is yaml.DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        self._stop(event, "more than one document in the text")
                continue
            if not self._stack:
                result = value
            elif isinstance(self._stack[-1].container, list):
                self._stack[-1].container.append(value)
                self._stack[-1].lines.append(start.start_mark.line)
            else:
                self._add_to_mapping(self._stack[-1], value, start)
        return result

    @property
    def has_aliases(self) -> bool:
        """Whether there were any, or merge keys, which are of no use without."""
        return self._expanded > 0

    def _problem(self, event: Any, text: str) -> None:
        mark = event.start_mark
        self.problems.append((mark.line + 1, mark.column + 1, text))
        if len(self.problems) >= MOST_SYNTAX_PROBLEMS:
            raise _StopReading

    def _stop(self, event: Any, text: str) -> NoReturn:
        self._problem(event, text)
        raise _StopReading

    def _open(self, event: Any, mapping: bool) -> None:
        if len(self._stack) >= self._deepest:
            self._stop(event, _too_deep())
        if event.tag not in (None, "!", _CORE + ("map" if mapping else "seq")):
            self._problem(event, f"the tag {_shown(event.tag)} is not supported")
        self._count += 1
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        container: Any = {} if mapping else []
        self._stack.append(_Open(event, container, type(container)(), self._count))

    def _close(self) -> tuple[Any, Any]:
        closed = self._stack.pop()
        for merged in closed.merged:
            lines = self.lines.get(id(merged), {})
            for name, value in merged.items():
                if name not in closed.container:
                    closed.container[name] = value
                    closed.lines[name] = lines.get(name, closed.start.start_mark.line)
        self.lines[id(closed.container)] = closed.lines
        if closed.start.anchor:
            size = self._count - closed.first_count + 1
            self._anchors[closed.start.anchor] = (closed.container, size)
        return closed.container, closed.start

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            if any(opened.start.anchor == event.anchor for opened in self._stack):
                self._stop(event, f"the alias '{event.anchor}' stands inside of what it refers to")
            self._stop(event, f"the alias '{event.anchor}' refers to nothing")
        value, size = self._anchors[event.anchor]
        self._count += size
        self._expand(event, size)
        return value

    def _expand(self, event: Any, size: int) -> None:
        self._expanded += size
        if self._expanded > LARGEST_EXPANSION:
            self._stop(event, f"aliases expand to more than {LARGEST_EXPANSION} values")

    def _add_to_mapping(self, opened: _Open, value: Any, event: Any) -> None:
        if opened.merging:
            opened.merging = False
            self._merge(opened, value, event)
        elif opened.key is not None:
            opened.container[opened.key] = value
            opened.key = None
        elif value == "<<" and type(event) is yaml.ScalarEvent and event.implicit[0]:
            opened.merging = True
        else:
            opened.key = self._key(opened, value, event)

    def _key(self, opened: _Open, name: Any, event: Any) -> str:
        if not isinstance(name, str):
            self._kept.append(name)
            shown = str(event.value) if type(event) is yaml.ScalarEvent else "a list or mapping"
            self._problem(event, f"keys must be strings, not {shown or 'nothing'} (quotes make a string)")
            return str(name)
        if name in opened.lines:
            self._problem(event, f"{_repeated(name)} (first in line {opened.lines[name] + 1})")
        elif problem := _character_problem(name):
            self._problem(event, problem)
        else:
            opened.lines[name] = event.start_mark.line
        return name

    def _merge(self, opened: _Open, value: Any, event: Any) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(mapping, dict) for mapping in merged):
            self._problem(event, "only mappings can be merged with <<")
            return
        self._kept.append(merged)
        opened.merged.extend(merged)
        # The keys taken over count as if they had been written out here.
        self._expand(event, sum(map(len, merged)))

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        tag = event.tag
        if tag is None and event.implicit[0]:
            return plain_value(text)
        if tag in (None, "!", f"{_CORE}str"):
            if problem := _character_problem(text):
                self._problem(event, problem)
            return text
        value = plain_value(text)
        kind = _TAGS.get(tag)
        if kind is None:
            self._problem(event, f"the tag {_shown(tag)} is not supported")
        elif type(value) not in kind:
            self._problem(event, f"'{text}' is not a value of the tag {_shown(tag)}")
        return float(value) if tag == f"{_CORE}float" and type(value) is int else value


_TAGS: dict[str, tuple[type, ...]] = {
    f"{_CORE}null": (type(None),),
    f"{_CORE}bool": (bool,),
    f"{_CORE}int": (int,),
    f"{_CORE}float": (float, int),
}


def _shown(tag: str) -> str:
    return f"!!{tag.removeprefix(_CORE)}" if tag.startswith(_CORE) else tag


def plain_value(text: str) -> Any:
    """What an unquoted YAML scalar is.

    YAML 1.1 as Kong reads it, without the forms that only surprise: dates, base-60 numbers ("12:30"), octal
    numbers and digits with underscores stay strings. No string that PyYAML writes without quotes is read as
    anything else.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 20 else float(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    return text

"""Making a text say something else, with as few changes to it as possible.

A text says `old` and shall say `new`. Both are plain data; parts of `new` that stay are best the same objects
as in `old`, then they cost nothing. Items of lists are told apart by the objects they come from (`origin`),
so that a changed element is found in its place.

Block style YAML is changed line by line, what stands in brackets (JSON, flow style YAML) between them. Where
that is not possible a part is written anew, the smallest one for which it is: of that part the comments are
lost. Whoever uses this reads the text again and compares.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Any

from gateway.store.editing.nodes import Node, json_nodes, yaml_nodes
from gateway.store.editing.rendering import JsonStyle, YamlStyle, is_block

Origin = Callable[[Any], Any]
"""The object of the old data that an object of the new data comes from; itself where it is unchanged."""

MOST_LOOKED_AT = 1000
"""How many nodes are looked at to find out how a file is indented."""

_FLOW_BEFORE = re.compile(r"\s*")
_DASH_BEFORE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*|[&!][^\s]*)*-")


class CannotEdit(Exception):
    """The text is not of a form that can be changed in part."""


def edit_yaml(text: str, old: Any, new: Any, origin: Origin) -> str:
    """A YAML text that says `new`; `text` says `old`. Raises CannotEdit."""
    root = yaml_nodes(text)
    return _Editor(text, yaml_style(root, text), origin).edit(root, old, new)


def edit_json(text: str, old: Any, new: Any, origin: Origin) -> str:
    """The same for JSON. Raises CannotEdit."""
    indent = re.search(r"\n([ \t]+)\S", text)
    style = JsonStyle(None if indent is None else indent[1])
    return _Editor(text, style, origin).edit(json_nodes(text), old, new)


def expand_aliases(text: str, value: Any) -> str:
    """The YAML text with every alias written out and every mapping with a merge key written anew; `value` is
    what it says."""
    root = yaml_nodes(text)
    editor = _Editor(text, yaml_style(root, text), lambda found: found)
    if not editor.expand(root, value):
        raise CannotEdit
    return editor.result()


class _Editor:
    def __init__(self, text: str, style: YamlStyle | JsonStyle, origin: Origin) -> None:
        self._text = text
        self._style = style
        self._origin = origin
        self._break = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[tuple[int, int, str]] = []
        """Start, end, and what comes there; those that lie further inside are noted first."""

    def edit(self, root: Node, old: Any, new: Any) -> str:
        if not self._patch(root, old, new):
            raise CannotEdit
        return self.result()

    def result(self) -> str:
        """The text with all edits."""
        parts: list[str] = []
        place = 0
        for start, end, replacement in sorted(self._edits, key=lambda edit: edit[:2]):
            if start < place:
                if replacement:
                    raise CannotEdit  # two changes that overlap
                start = place  # neighbours of the first line, which took the break behind it
                end += len(self._break) if self._text.startswith(self._break, end) else 0
            parts += [self._text[place:start], replacement]
            place = end
        if place == len(self._text) and parts and parts[-1].lstrip() and not self._text.endswith("\n"):
            parts.append(self._break)  # a text of several lines may stand at the end, and needs it
        return "".join([*parts, self._text[place:]])

    def _patch(self, node: Node, old: Any, new: Any) -> bool:
        """Edit inside of a node. False: the node must be written anew; nothing was noted then."""
        if new is old or same(old, new):
            return True
        noted = len(self._edits)
        if node.kind == "mapping" and isinstance(old, dict) and isinstance(new, dict):
            done = self._patch_mapping(node, old, new)
        elif node.kind == "sequence" and isinstance(old, list) and isinstance(new, list):
            done = self._patch_sequence(node, old, new)
        else:
            done = False
        if not done:
            del self._edits[noted:]
        return done

    # Mappings

    def _patch_mapping(self, node: Node, old: dict[str, Any], new: dict[str, Any]) -> bool:
        names = [key.text for key, _ in node.entries]
        if any(name in old and name not in new and name not in names for name in old):
            return False  # what a merge key brings cannot be left out
        kept = [number for number, name in enumerate(names) if name in new or name not in old]
        if not kept:
            return False
        for number in kept:
            key, value = node.entries[number]
            if key.text in new and not self._patch(value, old[key.text], new[key.text]):
                self._replace_value(node, key, value, new[key.text])
        added = {name: value for name, value in new.items() if name not in names}
        added = {
            name: value for name, value in added.items() if name not in old or not same(old[name], value)
        }
        if node.is_flow:
            spans = [(key.start, value.end) for key, value in node.entries]
            rendered = [
                f"{self._flow_key(name)}: {self._in_flow(node, value)}" for name, value in added.items()
            ]
            return self._change_members(node, spans, kept, rendered)
        for number in range(len(node.entries)):
            if number not in kept:
                self._delete_entry(node, number, kept)
        self._add_entries(node, kept, old, added)
        return True

    def _replace_value(self, node: Node, key: Node, value: Node, new: Any) -> None:
        if node.is_flow:
            self._edits.append((value.start, value.end, self._in_flow(node, new)))
            return
        style = self._yaml
        column = self._column(key.start)
        inline = not is_block(new) or (value.kind in ("mapping", "sequence") and value.is_flow)
        if (
            inline
            and (value.kind == "alias" or value.is_flow or self._is_inline(value))
            and value.end > value.start
        ):
            lines = [style.inline(new)] if is_block(new) else style.scalar_lines(new)
            self._edits.append((value.start, value.end, self._joined(lines, column + style.step)))
            return
        colon = self._text.index(":", key.end)
        end = max(value.end, colon + 1)
        comment = self._comment_between(colon, value.start)
        if "\n" not in self._text[colon:end]:
            comment = self._comment_between(end, self._line_end(end))
            end += len(comment)
        if is_block(new):
            indent = column + (style.step if isinstance(new, dict) else style.dash)
            lines = [comment, *(" " * indent + line if line else line for line in style.block_lines(new))]
        else:
            first, *rest = style.scalar_lines(new)
            lines = [
                f" {first}{comment}",
                *(" " * (column + style.step) + line if line else line for line in rest),
            ]
        self._edits.append((colon + 1, end, self._break.join(lines)))

    def _is_inline(self, value: Node) -> bool:
        return value.kind == "scalar" and self._text[value.start] not in "|>&!"

    def _comment_between(self, start: int, end: int) -> str:
        found = re.search(r"[ \t]+#[^\r\n]*", self._text[start:end])
        return found[0] if found else ""

    def _delete_entry(self, node: Node, number: int, kept: list[int]) -> None:
        key, value = node.entries[number]
        line = self._line_start(key.start)
        if not self._text[line : key.start].strip(" "):
            self._delete_lines(line, value.end)
            return
        # The first key stands behind the dash of its item.
        if number + 1 in kept:
            following = node.entries[number + 1][0].start
            if "#" not in self._text[value.end : following]:
                self._edits.append((key.start, following, ""))
                return
        start = key.start - 1 if self._text[key.start - 1] == " " else key.start
        self._edits.append((start, self._line_end(value.end), ""))

    def _add_entries(self, node: Node, kept: list[int], old: dict[str, Any], added: dict[str, Any]) -> None:
        """New entries go behind the last one; those without entities in them, before the entities."""
        style = self._yaml
        column = self._column(node.entries[0][0].start)
        short = [number for number in kept if not _holds_entities(old.get(node.entries[number][0].text))]
        leading = [number for number in short if all(other in short for other in kept if other < number)]
        for name, value in added.items():
            after = kept[-1] if _holds_entities(value) or not leading else leading[-1]
            place = self._line_end(node.entries[after][1].end)
            lines = style.entry_lines(name, value)
            self._edits.append((place, place, self._new_lines(lines, column)))

    # Sequences

    def _patch_sequence(self, node: Node, old: list[Any], new: list[Any]) -> bool:
        pairs = self._aligned(old, new)
        if not pairs:
            return False
        matched = dict(pairs)
        kept = sorted(matched)
        if node.is_flow:
            return self._patch_flow_sequence(node, old, new, matched)
        dashes = self._dashes(node)
        if any(self._text[self._line_start(dash) : dash].strip(" ") for dash in dashes):
            return False  # a list whose first item stands behind the dash of another list
        for number in range(len(old)):
            if number not in matched:
                self._delete_lines(self._line_start(dashes[number]), node.items[number].end)
        column = self._column(dashes[0])
        for number, position in pairs:
            if not self._patch(node.items[number], old[number], new[position]):
                lines = self._yaml.item_lines(new[position])
                end = max(node.items[number].end, dashes[number] + 1)
                self._edits.append((dashes[number], end, self._joined(lines, column)))
        positions = {position: number for number, position in pairs}
        before = None
        for position, value in enumerate(new):
            if position in positions:
                before = positions[position]
                continue
            lines = self._yaml.item_lines(value)
            if before is None:
                place = self._line_start(dashes[kept[0]])
                self._edits.append(
                    (place, place, self._new_lines(lines, column)[len(self._break) :] + self._break)
                )
            else:
                place = self._line_end(max(node.items[before].end, dashes[before] + 1))
                self._edits.append((place, place, self._new_lines(lines, column)))
        return True

    def _patch_flow_sequence(
        self, node: Node, old: list[Any], new: list[Any], matched: dict[int, int]
    ) -> bool:
        added = [position for position in range(len(new)) if position not in matched.values()]
        if added and added[0] < max(matched.values()):
            return False
        for number, position in matched.items():
            item = node.items[number]
            if not self._patch(item, old[number], new[position]):
                self._edits.append((item.start, item.end, self._in_flow(node, new[position])))
        spans = [(item.start, item.end) for item in node.items]
        rendered = [self._in_flow(node, new[position]) for position in added]
        return self._change_members(node, spans, sorted(matched), rendered)

    def _aligned(self, old: list[Any], new: list[Any]) -> list[tuple[int, int]]:
        """Numbers of items that are the same one, in order."""
        if any(isinstance(item, dict) for item in old):
            numbers = {id(item): number for number, item in enumerate(old)}
            found = ((numbers.get(id(self._origin(item))), position) for position, item in enumerate(new))
            pairs: list[tuple[int, int]] = []
            for number, position in found:
                if number is not None and (not pairs or number > pairs[-1][0]):
                    pairs.append((number, position))
            return pairs
        matcher = SequenceMatcher(
            None, list(map(_comparable, old)), list(map(_comparable, new)), autojunk=False
        )
        return [(a + n, b + n) for a, b, size in matcher.get_matching_blocks() for n in range(size)]

    def _dashes(self, node: Node) -> list[int]:
        places: list[int] = []
        place = node.start
        for item in node.items:
            found = _DASH_BEFORE.match(self._text, place)
            if found is None:
                raise CannotEdit
            places.append(found.end() - 1)
            place = max(item.end, found.end())
        return places

    # Between brackets

    def _change_members(
        self, node: Node, spans: list[tuple[int, int]], kept: list[int], rendered: list[str]
    ) -> bool:
        """Take out the members that are not kept, and add others at the end."""
        if kept[0] != 0:
            self._edits.append((spans[0][0], spans[kept[0]][0], ""))
        for before, after in zip(kept, [*kept[1:], len(spans)], strict=True):
            if after > before + 1:
                self._edits.append((spans[before][1], spans[after - 1][1], ""))
        last = spans[kept[-1]][1]
        for text in rendered:
            self._edits.append((last, last, f",{self._between(node, spans)}{text}"))
        return True

    def _between(self, node: Node, spans: list[tuple[int, int]]) -> str:
        """What stands between the comma and the next member: a space, or a new line with its indentation."""
        found = _FLOW_BEFORE.match(self._text, node.start + 1)
        before = found[0] if found else ""
        if "\n" in before:
            return self._break + before.rpartition("\n")[2]
        if len(spans) > 1:
            between = self._text[spans[0][1] : spans[1][0]]
            return "" if between == "," else " "
        return " "

    def _flow_key(self, name: str) -> str:
        return self._style.inline_in_flow(name)

    def _in_flow(self, node: Node, value: Any) -> str:
        """A value as a member of what stands in brackets."""
        style = self._style
        found = _FLOW_BEFORE.match(self._text, node.start + 1)
        before = found[0] if found else ""
        if isinstance(style, JsonStyle) and "\n" in before and is_block(value):
            indent = before.rpartition("\n")[2]
            return (self._break + indent).join(style.block_lines(value))
        return style.inline_in_flow(value)

    # Aliases

    def expand(self, node: Node, value: Any) -> bool:
        """Write out the aliases in a node. False: the node must be written anew."""
        if node.kind == "alias":
            return False
        if node.kind == "mapping":
            if any(key.text not in value for key, _ in node.entries):
                return False  # a merge key
            for key, below in node.entries:
                if not self.expand(below, value[key.text]):
                    self._replace_value(node, key, below, value[key.text])
        elif node.kind == "sequence":
            dashes = [] if node.is_flow else self._dashes(node)
            for number, item in enumerate(node.items):
                if self.expand(item, value[number]):
                    continue
                if node.is_flow:
                    self._edits.append((item.start, item.end, self._in_flow(node, value[number])))
                else:
                    lines = self._yaml.item_lines(value[number])
                    column = self._column(dashes[number])
                    self._edits.append((dashes[number], item.end, self._joined(lines, column)))
        return True

    # Lines

    @property
    def _yaml(self) -> YamlStyle:
        assert isinstance(self._style, YamlStyle), "JSON has no block style"
        return self._style

    def _column(self, place: int) -> int:
        return place - self._line_start(place)

    def _line_start(self, place: int) -> int:
        return self._text.rfind("\n", 0, place) + 1

    def _line_end(self, place: int) -> int:
        """Where the line ends, before its line break."""
        end = self._text.find("\n", place)
        if end < 0:
            return len(self._text)
        return end - 1 if end > place and self._text[end - 1] == "\r" else end

    def _delete_lines(self, start: int, end: int) -> None:
        """Delete from the start of a line to the end of the line in which `end` lies."""
        end = self._line_end(end)
        if start == 0:
            self._edits.append((0, min(len(self._text), end + len(self._break)), ""))
        else:
            self._edits.append((start - len(self._break), end, ""))

    def _new_lines(self, lines: list[str], column: int) -> str:
        return "".join(self._break + (" " * column + line if line else line) for line in lines)

    def _joined(self, lines: list[str], column: int) -> str:
        """Lines of which the first one goes on in a line that exists."""
        return self._new_lines(lines, column)[len(self._break) + (column if lines[0] else 0) :]


def same(old: Any, new: Any) -> bool:
    """Whether plain data is equal, and of the same types: 1, 1.0 and true are three values."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(same(value, new[name]) for name, value in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(same, old, new))
    return bool(old == new)


def _comparable(value: Any) -> Any:
    return (type(value), repr(value))


def _holds_entities(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def yaml_style(root: Node, text: str) -> YamlStyle:
    """How a file is indented: as its first list in a mapping and its first mapping in a mapping are."""
    step = dash = None
    waiting = deque([root])
    for _ in range(MOST_LOOKED_AT):
        if not waiting or (step is not None and dash is not None):
            break
        node = waiting.popleft()
        if node.is_flow:
            continue
        waiting += [*node.items, *(value for _, value in node.entries)]
        for key, value in node.entries:
            column = key.start - text.rfind("\n", 0, key.start) - 1
            if value.is_flow or value.kind not in ("mapping", "sequence") or text[value.start] in "&!":
                continue
            offset = value.start - text.rfind("\n", 0, value.start) - 1 - column
            if value.kind == "mapping" and step is None and offset > 0:
                step = offset
            elif value.kind == "sequence" and dash is None and offset >= 0:
                dash = offset
    return YamlStyle(2 if step is None else step, 0 if dash is None else dash)

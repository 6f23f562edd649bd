"""What can go wrong with a read or write of entities, as Kong tells it (reference/entities.md §6).

One class; the functions make its instances, each a row of Kong's table of codes with its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.entities.fields import Errors
from gateway.entities.record import ENTITY
from gateway.store.declarative_errors import as_arrays

LUA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EntityError(Exception):
    """An answer of the Admin API: `{"message", "name", "code", "fields"}` with an HTTP status."""

    def __init__(
        self,
        code: int,
        name: str,
        status: int,
        message: str,
        fields: Mapping[Any, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.status = status
        self.message = message
        self.fields = fields
        self.options = options

    def answer(self) -> dict[str, Any]:
        """The body of the answer."""
        answer: dict[str, Any] = {"message": self.message, "name": self.name, "code": self.code}
        if self.fields is not None:
            answer["fields"] = self.fields
        if self.options is not None:
            answer["options"] = self.options
        return answer


class StoreUnavailable(Exception):
    """The database cannot be reached or does not answer; nothing was changed. The text says why."""


class FileUnavailable(StoreUnavailable):
    """The declarative file cannot be read or written; nothing was changed. The text, which says where and
    why, is for clients, too: they wrote to the file."""


def invalid_primary_key(key: Mapping[str, Any], fields: Mapping[str, Any]) -> EntityError:
    """An id that is no UUID."""
    return EntityError(1, "invalid primary key", 400, f"invalid primary key: '{braces(key)}'", fields)


def schema_violation(errors: Mapping[Any, Errors]) -> EntityError:
    """Values that break the rules of their fields; `errors` as `check_entity` gives them."""
    texts = flat_texts(errors)
    count = "schema violation" if len(texts) == 1 else f"{len(texts)} schema violations"
    return EntityError(2, "schema violation", 400, f"{count} ({'; '.join(texts)})", shown_errors(errors))


def primary_key_violation(identifier: str) -> EntityError:
    """A new entity with the id of another one."""
    key = {"id": identifier}
    return EntityError(3, "primary key violation", 400, f"primary key violation on key '{braces(key)}'", key)


def missing_reference(field: str, reference: Mapping[str, Any], type_name: str) -> EntityError:
    """A foreign key to nothing."""
    text = f"the foreign key '{braces(reference)}' does not reference an existing '{type_name}' entity."
    return EntityError(4, "foreign key violation", 400, text, {field: dict(reference)})


def still_referenced(type_name: str, by: str) -> EntityError:
    """Removing what others refer to."""
    text = f"an existing '{by}' entity references this '{type_name}' entity"
    return EntityError(4, "foreign key violation", 400, text, {"@referenced_by": by})


def unique_violation(values: Mapping[str, Any]) -> EntityError:
    """A value, or a combination, that another entity has."""
    text = f"UNIQUE violation detected on '{braces(values)}'"
    return EntityError(5, "unique constraint violation", 409, text, dict(values))


def entity_not_found(key: Mapping[str, Any]) -> EntityError:
    """A write to what does not exist."""
    what = "with primary key " if "id" in key else "with "
    return EntityError(6, "not found", 404, f"could not find the entity {what}'{braces(key)}'", key)


def invalid_offset(text: str, reason: str) -> EntityError:
    """A page that begins nowhere."""
    return EntityError(7, "invalid offset", 400, f"'{text}' is not a valid offset: {reason}")


def database_error(text: str) -> EntityError:
    """The database does not do its part."""
    return EntityError(8, "database error", 500, text)


def invalid_size(reason: str) -> EntityError:
    """A page of an impossible length."""
    return EntityError(9, "invalid size", 400, reason)


def invalid_unique(field: str, problem: Errors) -> EntityError:
    """A name in a path that no entity can have."""
    return EntityError(10, f"invalid unique {field}", 400, str(problem))


def invalid_options(options: Mapping[str, str]) -> EntityError:
    """A parameter of a query that makes no sense."""
    texts = "; ".join(f"{name}: {text}" for name, text in sorted(options.items()))
    count = "invalid option" if len(options) == 1 else f"{len(options)} invalid options"
    return EntityError(11, "invalid options", 400, f"{count} ({texts})", options=dict(options))


def operation_unsupported(text: str) -> EntityError:
    """A write without a database."""
    return EntityError(12, "operation unsupported", 405, text)


def unresolved_references(errors: Mapping[str, Mapping[str, str]]) -> EntityError:
    """References by a unique field that nothing has; `errors`: foreign field -> unique field -> text."""
    texts = flat_texts(errors)
    count = "foreign key unresolved" if len(texts) == 1 else f"{len(texts)} foreign keys unresolved"
    return EntityError(
        13, "foreign keys unresolved", 400, f"{count} ({'; '.join(texts)})", shown_errors(errors)
    )


def referenced_by_others(text: str) -> EntityError:
    """A CA certificate that a service trusts."""
    return EntityError(19, "referenced by others", 400, text)


def braces(values: Mapping[str, Any]) -> str:
    """Values in the notation of Kong's messages: `{consumer=null,name="x",service={id="…"}}`."""
    members = []
    for name in sorted(values):
        value = values[name]
        if isinstance(value, Mapping):
            text = braces(value)
        elif value is None:
            text = "null"
        elif isinstance(value, bool):
            text = "true" if value else "false"
        else:
            text = f'"{value}"' if isinstance(value, str) else str(value)
        members.append(f"{name}={text}")
    return "{" + ",".join(members) + "}"


def flat_texts(errors: Mapping[Any, Any]) -> list[str]:
    """The texts of a message: those about the entity first, then `field: text` and `field.member: text` by
    name. What lies deeper is printed as a Lua table, as in Kong."""
    whole = errors.get(ENTITY, [])
    found = [str(text) for text in (whole if isinstance(whole, list) else [whole])]
    for name in sorted((name for name in errors if name != ENTITY), key=str):
        below = errors[name]
        if isinstance(below, Mapping):
            for member in sorted(below, key=_in_order):
                # Lua counts from 1.
                shown = member + 1 if isinstance(member, int) else member
                found.append(f"{name}.{shown}: {pretty(below[member])}")
        elif isinstance(below, list):
            found += [f"{name}.{position}: {text}" for position, text in enumerate(below, 1)]
        else:
            found.append(f"{name}: {below}")
    return found


def pretty(errors: Errors) -> str:
    """Nested errors as Kong's messages print them: a text as it is, more as a Lua table over several
    lines."""
    return errors if isinstance(errors, str) else _table(errors, "")


def _table(errors: Errors, indentation: str) -> str:
    if isinstance(errors, str):
        return '"' + errors.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    inner = indentation + "  "
    if isinstance(errors, list):
        errors = dict(enumerate(errors))
    members = []
    for position, name in enumerate(sorted(errors, key=_in_order)):
        if isinstance(name, int):
            # Elements behind a gap are printed with their index.
            label = "" if name == position else f"[{name + 1}] = "
        else:
            label = f"{name} = " if LUA_NAME.fullmatch(name) else f'["{name}"] = '
        members.append(f"{inner}{label}{_table(errors[name], inner)}")
    return "{\n" + ",\n".join(members) + f"\n{indentation}}}"


def _in_order(name: object) -> tuple[bool, int, str]:
    return (True, name, "") if isinstance(name, int) else (False, 0, str(name))


def shown_errors(errors: Mapping[Any, Any]) -> dict[str, Any]:
    """Errors as the member `fields` has them: those of elements as arrays with null for the good ones."""
    return {name: as_arrays(below) for name, below in errors.items()}

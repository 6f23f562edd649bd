"""get, create, update, delete: single entities of a running gateway."""

import difflib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from gateway.cli.connecting import Target, connected
from gateway.cli.options import fail
from gateway.cli.tables import Form, Names, print_document, print_fields, print_table
from gateway.client import paths
from gateway.client.contents import is_nested_only
from gateway.client.errors import NotFound
from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.record import Entity, shape_of

if TYPE_CHECKING:
    from gateway.client import AdminClient
    from gateway.client.collections import BlockingCollection, Document

LOOKED_UP_ONE_BY_ONE = 20
"""up to so many references of a table are looked up each for itself, more by listing all of their type"""
FORM_TYPE = "application/x-www-form-urlencoded"


def get(target: Target, path: str, key: str | None, tags: str | None, form: Form) -> None:
    """Print the entities of a type, or one."""
    with connected(target) as admin:
        kind, collection = find_collection(admin, path)
        if collection is None:
            fail(belongs_to_another(kind))
        if key is None:
            documents = list(collection.list(tags=tags or ()))
            if form is Form.TABLE:
                print_table(kind, documents, names_of_references(admin, kind, documents))
            else:
                print_document(documents, form)
            return
        document = collection.find(key)
        if document is None:
            fail(f"there is no {kind.singular} {key}")
        show(admin, kind, document, form)


def create(target: Target, path: str, values: Sequence[str], form: Form) -> None:
    """Make an entity."""
    with connected(target) as admin:
        kind, collection = find_collection(admin, path)
        if collection is None:
            fail(belongs_to_another(kind))
        show(admin, kind, write(admin, "POST", collection.path, values), form)


def update(target: Target, path: str, key: str, values: Sequence[str], form: Form) -> None:
    """Change some fields of an entity."""
    if not values:
        fail("nothing to change: write FIELD=VALUE")
    with connected(target) as admin:
        kind, collection = find_collection(admin, path)
        if collection is None:
            fail(belongs_to_another(kind))
        try:
            document = write(admin, "PATCH", collection.path_of(key), values)
        except NotFound:
            fail(f"there is no {kind.singular} {key}")
        show(admin, kind, document, form)


def delete(target: Target, path: str, keys: Sequence[str]) -> None:
    """Remove entities; none of them when one does not exist."""
    with connected(target) as admin:
        kind, collection = find_collection(admin, path)
        if collection is None:
            fail(belongs_to_another(kind))
        missing = [key for key in keys if collection.find(key) is None]
        if missing:
            fail(*(f"there is no {kind.singular} {key}" for key in missing))
        for key in keys:
            collection.delete(key)
            print(f"{kind.singular} {key} deleted")


def write(admin: "AdminClient", method: str, path: str, values: Sequence[str]) -> "Document":
    """Send fields as they were written on the command line: FIELD=VALUE as a form, of which the gateway knows
    the types, or `-` for JSON from standard input."""
    if list(values) == ["-"]:
        content, kind = sys.stdin.buffer.read(), "application/json"
    else:
        for value in values:
            if "=" not in value:
                fail(f"'{value}': expected FIELD=VALUE, or - for JSON from standard input")
        content, kind = urlencode([value.partition("=")[::2] for value in values]).encode(), FORM_TYPE
    answer = admin.request(method, path, content=content, headers={"Content-Type": kind})
    return cast("Document", answer.json())


def show(admin: "AdminClient", kind: type[Entity], document: "Document", form: Form) -> None:
    """Print one entity."""
    if form is Form.TABLE:
        print_fields(kind, document, names_of_references(admin, kind, [document]))
    else:
        print_document(document, form)


def names_of_references(admin: "AdminClient", kind: type[Entity], documents: Sequence["Document"]) -> Names:
    """The names of the entities that these refer to, by type and id; those without a name are left out."""
    wanted: dict[str, set[str]] = {}
    for name, field in shape_of(kind).foreign.items():
        ids = {document[name]["id"] for document in documents if document.get(name)}
        wanted.setdefault(field.reference, set()).update(ids)
    found = {}
    for type_name, ids in wanted.items():
        referred_kind = ENTITY_TYPES[type_name]
        key = referred_kind.endpoint_key
        if key is None or shape_of(referred_kind).fields[key].encrypted or not ids:
            continue
        collection = admin.collection(type_name)
        referred: Any = (
            filter(None, map(collection.find, ids)) if len(ids) <= LOOKED_UP_ONE_BY_ONE else collection.list()
        )
        found.update({(type_name, one["id"]): one[key] for one in referred if one.get(key)})
    return found


def find_collection(
    admin: "AdminClient", path: str
) -> tuple[type[Entity], "BlockingCollection[Document] | None"]:
    """What `services` or `services/users/routes` stands for; no collection for a type that is only nested."""
    words = path.strip("/").split("/")
    if len(words) not in (1, 3) or not all(words):
        fail(f"'{path}' is neither a type of entity nor like services/users/routes")
    kind = type_named(words[0])
    if len(words) == 1:
        return kind, None if is_nested_only(kind) else admin.collection(kind.type_name)
    child = type_named(words[2])
    if child.type_name not in CHILDREN[kind.type_name]:
        fail(
            f"{kind.type_name} have no {child.type_name}",
            f"They have: {', '.join(CHILDREN[kind.type_name]) or 'nothing'}",
        )
    return child, getattr(admin.collection(kind.type_name)(words[1]), child.type_name)


def belongs_to_another(kind: type[Entity]) -> str:
    """What is wrong with a path to a type that is only nested."""
    (foreign,) = shape_of(kind).foreign.values()
    example = f"{foreign.reference}/NAME/{kind.type_name}"
    return f"each of the {kind.type_name} belongs to one of the {foreign.reference}: write {example}"


def type_named(word: str) -> type[Entity]:
    """The type that a word means: `services`, `service`, `key-auths`, `key-auth`, `keyauth_credentials`."""
    names = {}
    for type_name, kind in ENTITY_TYPES.items():
        in_paths = (kind.admin_paths.collection, kind.admin_paths.nested)
        for name in (type_name, kind.singular, *filter(None, in_paths)):
            names[name.replace("-", "_")] = kind
    wanted = word.lower().replace("-", "_")
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, 1)
    known = ", ".join(sorted(paths.collection_path(name).strip("/") for name in ENTITY_TYPES))
    hint = [f"Did you mean {near[0]}?"] if near else []
    fail(f"there is no type of entity '{word}'", *hint, f"Types: {known}")

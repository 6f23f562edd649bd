"""What the endpoints of entities do, for /openapi.json: the same for every type."""

from __future__ import annotations

from gateway.entities.record import Entity, shape_of

from .descriptions import (
    ERROR,
    INTEGER,
    REFUSAL,
    TEXT,
    Answer,
    Description,
    Parameter,
    Schema,
    component,
    list_of,
    object_of,
)
from .json_schemas import Use, component_name, new_entity_body
from .naming import naming_of
from .paging import DEFAULT_SIZE, LARGEST_SIZE

SIZE = Parameter(
    "size",
    "How many are shown at once.",
    {**INTEGER, "minimum": 1, "maximum": LARGEST_SIZE, "default": DEFAULT_SIZE},
)
OFFSET = Parameter("offset", "Where the page begins: `offset` of the page before it.")
TAGS = Parameter("tags", "Only those with all of the tags `a,b`, or with one of the tags `a/b`.")

STORED_SECRETS = Parameter("_transform", "false: secrets in the body are hashed already.")

MISSING = Answer("There is no such entity.", REFUSAL)
REFUSED = Answer("The values, the name in the path or the parameters are not valid.", REFUSAL)
CONFLICT = Answer("Another entity has the same unique value.", ERROR)
READ_ONLY = Answer("Nothing can be changed: the node has neither a database nor a writable file.", ERROR)
CHANGED = {400: REFUSED, 405: READ_ONLY, 409: CONFLICT}


def page_of(kind: type[Entity]) -> Schema:
    """A page of a list. `offset` is there when there is another page."""
    following: Schema = {"type": ["string", "null"], "description": "The path of the next page."}
    elements = list_of(component(component_name(kind, Use.SHOWN)))
    return object_of({"data": elements, "next": following}, {"offset": TEXT})


def collection_descriptions(kind: type[Entity], parent: type[Entity] | None = None) -> dict[str, Description]:
    """GET and POST of all entities of a type, or of those that belong to a parent."""
    words = plural_words(kind) + (f" of one {words_of(parent)}" if parent else "")
    missing = {404: MISSING} if parent else {}
    shown = component(component_name(kind, Use.SHOWN))
    query = (SIZE, OFFSET) if parent else (SIZE, OFFSET, TAGS, *lookups(kind))
    return {
        "GET": Description(
            f"List the {words}.",
            {200: Answer("A page.", page_of(kind)), 400: REFUSED, **missing},
            kind.type_name,
            query,
            path_words(kind, parent),
        ),
        "POST": Description(
            f"Add to the {words}.",
            {201: Answer("The new entity.", shown), **CHANGED, **missing},
            kind.type_name,
            path=path_words(kind, parent),
            body=new_entity_body(kind, fields_to(kind, parent)),
        ),
    }


def member_descriptions(kind: type[Entity], parent: type[Entity] | None = None) -> dict[str, Description]:
    """GET, PUT, PATCH and DELETE of one entity, perhaps as one of those that belong to a parent."""
    words = words_of(kind) + (f" of a {words_of(parent)}" if parent else "")
    shown = component(component_name(kind, Use.SHOWN))
    changed = {200: Answer("The entity.", shown), **CHANGED, 404: MISSING}
    path = path_words(kind, parent)
    patch = Description(
        f"Change some fields of one {words}.",
        changed,
        kind.type_name,
        path=path,
        body=component(component_name(kind, Use.CHANGE)),
    )
    put = Description(
        f"Replace one {words} as a whole, or make it.",
        changed,
        kind.type_name,
        (STORED_SECRETS,) if kind.hashed and parent is None else (),
        path=path,
        body=new_entity_body(kind, (*naming_fields(kind), *fields_to(kind, parent))),
    )
    return {
        "GET": Description(
            f"Show one {words}.",
            {200: Answer("The entity.", shown), 400: REFUSED, 404: MISSING},
            kind.type_name,
            path=path,
        ),
        "PUT": patch if naming_of(kind).put_changes else put,
        "PATCH": patch,
        "DELETE": Description(
            f"Remove one {words}, with what cannot be without it.",
            {
                204: Answer("It is not there any more, or was not."),
                400: REFUSED,
                404: MISSING,
                405: READ_ONLY,
            },
            kind.type_name,
            path=path,
        ),
    }


def linked_descriptions(kind: type[Entity], field: str, target: type[Entity]) -> dict[str, Description]:
    """GET, PUT, PATCH and DELETE of the entity that a foreign field of another one refers to."""
    owner = words_of(kind)
    descriptions = member_descriptions(target)
    path = path_words(kind, None)
    summaries = {
        "GET": f"Show the {field} of one {owner}.",
        "PUT": f"Replace the {field} of one {owner}, or make one for it.",
        "PATCH": f"Change some fields of the {field} of one {owner}.",
        "DELETE": f"The {field} of one {owner} cannot be removed this way.",
    }
    return {
        method: Description(
            summaries[method],
            {405: Answer("It is in use.", REFUSAL), 400: REFUSED, 404: MISSING}
            if method == "DELETE"
            else {**description.answers, 404: Answer("There is none.", REFUSAL)},
            kind.type_name,
            path=path,
            body=description.body,
        )
        for method, description in descriptions.items()
    }


def lookups(kind: type[Entity]) -> tuple[Parameter, ...]:
    """Parameters of a list that find the one entity with that value."""
    return tuple(Parameter(name, f"Only the one with this {name}.") for name in kind.admin_paths.lookups)


def path_words(kind: type[Entity], parent: type[Entity] | None) -> dict[str, str]:
    """What the parameters of a path are: named as the types are."""
    return {one.type_name: f"The {names_of(one)} of the {words_of(one)}." for one in (kind, parent) if one}


def fields_to(kind: type[Entity], parent: type[Entity] | None) -> tuple[str, ...]:
    """The fields by which a type refers to a parent, which the path of the parent's children gives."""
    foreign = shape_of(kind).foreign.items()
    return tuple(name for name, field in foreign if parent and field.reference == parent.type_name)


def naming_fields(kind: type[Entity]) -> tuple[str, ...]:
    """The fields that the name in a path gives."""
    own = [name for name in kind.cache_key if name not in shape_of(kind).foreign]
    return (*own, *((kind.endpoint_key,) if kind.endpoint_key else ()))


def names_of(kind: type[Entity]) -> str:
    """By what one of a type is named in a path."""
    return f"id or {kind.endpoint_key}" if kind.endpoint_key else "id"


def words_of(kind: type[Entity]) -> str:
    """`key set`: one of the type, in prose."""
    return kind.singular.replace("_", " ")


def plural_words(kind: type[Entity]) -> str:
    """`key sets`: several of the type, in prose."""
    return kind.type_name.replace("_", " ")

"""What must hold between entities: ids and unique values are held once, references lead somewhere."""

from __future__ import annotations

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES, LISTED_BY
from gateway.entities.expiry import is_expired
from gateway.entities.fields import Reference
from gateway.entities.record import Entity, shape_of
from gateway.store.changes import EntityId
from gateway.store.draft import Draft, unique_combinations
from gateway.store.errors import missing_reference, referenced_by_others, still_referenced, unique_violation
from gateway.store.indexes import combination_of


def check_integrity(draft: Draft, entity: Entity, now: float) -> list[Entity]:
    """Whether an entity can be put into the draft: the expired ones that must go before. `now` in seconds
    since the epoch. Raises EntityError: 5 for values that another one has, 4 for a reference to nothing."""
    kind = type(entity)
    in_the_way: dict[str, Entity] = {}
    for fields in unique_combinations(kind):
        values = combination_of(entity, fields)
        if values == (None,):
            continue
        holder = draft.find_combination(kind.type_name, fields, values)
        if holder is None or holder.id == entity.id:
            continue
        if is_expired(holder, now):
            in_the_way[holder.id] = holder
        else:
            raise unique_violation({name: _shown(getattr(entity, name)) for name in fields})
    for name, field in shape_of(kind).foreign.items():
        reference = getattr(entity, name)
        if reference is not None and draft.get(field.reference, reference.id) is None:
            raise missing_reference(name, {"id": reference.id}, field.reference)
    return list(in_the_way.values())


def removed_with(draft: Draft, entity: Entity) -> list[Entity]:
    """An entity with all that cannot be without it. Raises EntityError (4, 19) when something else refers to
    one of them."""
    going: dict[EntityId, Entity] = {(entity.type_name, entity.id): entity}
    staying: list[tuple[str, Entity]] = []
    queue = [entity]
    for one in queue:
        for type_name, field in CHILDREN[one.type_name].items():
            cascades = shape_of(ENTITY_TYPES[type_name]).foreign[field].cascade
            for child in draft.children(type_name, one.type_name, one.id):
                if not cascades:
                    staying.append((one.type_name, child))
                elif (type_name, child.id) not in going:
                    going[type_name, child.id] = child
                    queue.append(child)
    for type_name, child in staying:
        if (child.type_name, child.id) not in going:
            raise still_referenced(type_name, child.type_name)
    for one in queue:
        for type_name, field in LISTED_BY[one.type_name].items():
            for user in draft.referring(type_name, field, one.id):
                what = type(one).singular.replace("_", " ")
                raise referenced_by_others(
                    f"{what} {one.id} is still referenced by {type_name} (id = {user.id})"
                )
    return queue


def _shown(value: object) -> object:
    return {"id": value.id} if isinstance(value, Reference) else value

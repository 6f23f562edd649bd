"""Kong's entities: one module each, with the fields, defaults, checks and foreign keys.

The modules of one entity are built from `fields` (kinds of field), `record` (structs and their field tables),
`record_checks` (rules over several fields) and `value_checks`, `hosts`, `paths`, `patterns` (rules about
values). `catalogue` lists all types; `identifiers` derives the ids of entities that come from a file.
"""

from gateway.entities.fields import Reference
from gateway.entities.record import Entity, check_entity, shape_of, to_kong

__all__ = ("Entity", "Reference", "check_entity", "shape_of", "to_kong")

"""The tables of a database. Adding a field or a type of entity changes nothing here.

Kong's rules are applied in memory (`gateway.store.operations`); the constraints stand behind them. The tables
are made by the migrations; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()
NUMBER = BigInteger().with_variant(Integer(), "sqlite")

ENTITIES = Table(
    "entities",
    METADATA,
    Column("position", NUMBER, Identity(), primary_key=True, comment="in the order they were made"),
    Column("type_name", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("document", Text, nullable=False, comment="JSON of the struct"),
    Column("expires_at", Float(53), comment="seconds since the epoch"),
    UniqueConstraint("type_name", "id", name="entities_type_name_id"),
)

UNIQUE_VALUES = Table(
    "unique_values",
    METADATA,
    Column("type_name", Text, primary_key=True),
    Column("fields", Text, primary_key=True, comment="names, separated by commas"),
    Column("digest", Text, primary_key=True, comment="sha256 of the values"),
    Column("entity_id", Text, nullable=False),
    ForeignKeyConstraint(
        ["type_name", "entity_id"],
        ["entities.type_name", "entities.id"],
        name="unique_values_entity",
        ondelete="CASCADE",
    ),
    Index("unique_values_of_entity", "type_name", "entity_id"),
)

FOREIGN_KEYS = Table(
    "foreign_keys",
    METADATA,
    Column("type_name", Text, primary_key=True),
    Column("entity_id", Text, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("target_type", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    ForeignKeyConstraint(
        ["type_name", "entity_id"],
        ["entities.type_name", "entities.id"],
        name="foreign_keys_entity",
        ondelete="CASCADE",
    ),
    # Whatever the order of the writes of a transaction: what counts is what there is in the end.
    ForeignKeyConstraint(
        ["target_type", "target_id"],
        ["entities.type_name", "entities.id"],
        name="foreign_keys_target",
        deferrable=True,
        initially="DEFERRED",
    ),
    Index("foreign_keys_to_target", "target_type", "target_id"),
)

CHANGES = Table(
    "changes",
    METADATA,
    Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False, comment="random: no two commits have the same"),
    Column("entries", Text, comment="JSON of [type, id, document or null]; null: too much for this table"),
)

STATE = Table(
    "state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", NUMBER, nullable=False, comment="of the newest of the changes"),
    Column("hash", Text, nullable=False),
    CheckConstraint("id = 1", name="state_one_row"),
)

LIMIT_COUNTS = Table(
    "limit_counts",
    METADATA,
    Column("key", Text, primary_key=True, comment="of the plugin's scope, who is counted, window and period"),
    Column("count", NUMBER, nullable=False),
    Column("ends_at", NUMBER, nullable=False, comment="of the window, seconds since the epoch"),
    Index("limit_counts_by_end", "ends_at"),
)

CLUSTER_EVENTS = Table(
    "cluster_events",
    METADATA,
    Column("id", NUMBER, Identity(), primary_key=True, comment="in the order of the commits"),
    Column("sender", Text, nullable=False, comment="the process that wrote it"),
    Column("channel", Text, nullable=False),
    Column("data", Text, nullable=False, comment="JSON"),
    Column(
        "created_at", Float(53), nullable=False, comment="seconds since the epoch, by the database's clock"
    ),
)

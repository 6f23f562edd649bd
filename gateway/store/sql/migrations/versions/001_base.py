"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "001_base"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make what is not there."""
    op.create_table(
        "entities",
        sa.Column("position", NUMBER, sa.Identity(), primary_key=True),
        sa.Column("type_name", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Float(53)),
        sa.UniqueConstraint("type_name", "id", name="entities_type_name_id"),
        if_not_exists=True,
    )
    op.create_table(
        "unique_values",
        sa.Column("type_name", sa.Text, primary_key=True),
        sa.Column("fields", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["type_name", "entity_id"],
            ["entities.type_name", "entities.id"],
            name="unique_values_entity",
            ondelete="CASCADE",
        ),
        if_not_exists=True,
    )
    op.create_index(
        "unique_values_of_entity", "unique_values", ["type_name", "entity_id"], if_not_exists=True
    )
    op.create_table(
        "foreign_keys",
        sa.Column("type_name", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("target_type", sa.Text, nullable=False),
        sa.Column("target_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["type_name", "entity_id"],
            ["entities.type_name", "entities.id"],
            name="foreign_keys_entity",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["target_type", "target_id"],
            ["entities.type_name", "entities.id"],
            name="foreign_keys_target",
            deferrable=True,
            initially="DEFERRED",
        ),
        if_not_exists=True,
    )
    op.create_index(
        "foreign_keys_to_target", "foreign_keys", ["target_type", "target_id"], if_not_exists=True
    )
    changes = op.create_table(
        "changes",
        sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("entries", sa.Text),
        if_not_exists=True,
    )
    state = op.create_table(
        "state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", NUMBER, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="state_one_row"),
        if_not_exists=True,
    )
    connection = op.get_bind()
    if connection.execute(sa.select(state.c.id)).first() is None:
        beginning = {"sequence": 0, "hash": "0" * 32}
        connection.execute(state.insert().values(id=1, **beginning))
        connection.execute(changes.insert().values(entries="[]", **beginning))

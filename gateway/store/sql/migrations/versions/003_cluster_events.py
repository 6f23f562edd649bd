"""What nodes tell each other."""

import sqlalchemy as sa
from alembic import op

revision = "003_cluster_events"
down_revision = "002_limit_counts"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "cluster_events",
        sa.Column("id", NUMBER, sa.Identity(), primary_key=True),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        if_not_exists=True,
    )

"""Counts of rate limits with the policy `cluster`."""

import sqlalchemy as sa
from alembic import op

revision = "002_limit_counts"
down_revision = "001_base"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "limit_counts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("count", NUMBER, nullable=False),
        sa.Column("ends_at", NUMBER, nullable=False),
        if_not_exists=True,
    )
    op.create_index("limit_counts_by_end", "limit_counts", ["ends_at"], if_not_exists=True)

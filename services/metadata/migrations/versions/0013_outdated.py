"""A mark for targets whose place in lists is derived again in a later transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("target", sa.Column("outdated", sa.Boolean, nullable=False, server_default=sa.false()))
    outdated = sa.column("outdated", sa.Boolean)
    op.create_index("target_outdated", "target", ["digest"], sqlite_where=outdated, postgresql_where=outdated)

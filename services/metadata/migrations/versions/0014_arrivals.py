"""What arrives on each node, for all nodes of a store; on SQLite, which has one, there is no such table.

The rows are not logged: nothing depends on them, and they are written every two seconds.
"""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.create_table(
            "arrival",
            sa.Column("key", TEXT, primary_key=True),
            sa.Column("size", sa.BigInteger, nullable=False),
            sa.Column("written_at", sa.Double, nullable=False),
            prefixes=["UNLOGGED"],
        )

"""What each process transfers now, for all nodes of a store; on SQLite, which has one, it is in files.

The rows are not logged: nothing depends on them, and they are written every two seconds.
"""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "running_transfers",
        sa.Column("process", TEXT, primary_key=True),
        sa.Column("page", TEXT, nullable=False),
        sa.Column("renewed_at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "transfer_end",
        sa.Column("transfer", TEXT, primary_key=True),
        sa.Column("asked_at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )

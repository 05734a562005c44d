"""Sources: the repositories that hold a blob."""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "source",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("registry", TEXT, primary_key=True),
        sa.Column("repository", TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )

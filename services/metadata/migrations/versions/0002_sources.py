"""Sources: the repositories that hold a blob."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "source",
        sa.Column("digest", sa.Text, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("registry", sa.Text, primary_key=True),
        sa.Column("repository", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )

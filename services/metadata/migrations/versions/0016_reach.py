"""The table `reach`, instead of counted columns; `upgrade` fills it, since the store has no platform during the revision.

The columns go, so that a version which does not keep the new table cannot write: a sweep would take its images for garbage. What nodes
told each other of arriving blobs goes too.
"""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "reach",
        sa.Column("target", sa.BigInteger, sa.ForeignKey("target.id"), primary_key=True),
        sa.Column("digest", TEXT, primary_key=True),
        sa.Index("reach_digest", "digest", "target"),
        sqlite_with_rowid=False,
    )
    op.drop_index("blob_unused", "blob")
    op.drop_index("target_outdated", "target")
    for table, column in (("blob", "users"), ("target", "shared"), ("target", "outdated"), ("manifest", "content_size")):
        op.drop_column(table, column)
    op.execute("UPDATE store SET platform = NULL")
    if op.get_context().dialect.name == "postgresql":
        op.drop_table("arrival")

"""Where the bytes of a blob are, if not in a file of its digest; objects that are being written, and those that are to be removed."""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("blob", sa.Column("location", TEXT, nullable=False, server_default=""))
    op.create_table(
        "intent",
        sa.Column("location", TEXT, primary_key=True),
        sa.Column("lease", TEXT, sa.ForeignKey("lease.id"), nullable=False),
        sa.Column("written", sa.BigInteger, nullable=False),
        sa.Index("intent_lease", "lease"),
    )
    op.create_table(
        "doomed",
        sa.Column("location", TEXT, primary_key=True),
        sa.Column("digest", TEXT),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Index("doomed_since", "since"),
    )

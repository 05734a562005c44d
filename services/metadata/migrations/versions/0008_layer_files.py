"""Lists of what is in layers, as they were read when somebody first looked. They can be read again."""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "layer_files",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("kept_at", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("checksum", sa.BigInteger, nullable=False),
        sa.Column("list", sa.LargeBinary, nullable=False),
    )
    op.create_index("layer_files_kept_at", "layer_files", ["kept_at", "bytes"])

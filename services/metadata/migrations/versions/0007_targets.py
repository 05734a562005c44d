"""What lists, disk usage and the sweep need of each image, instead of reading every manifest; `upgrade` fills it.

The index by target gets the names, of which the first is needed. No process keeps a catalog any more, so nothing uses the table
`generation` now.
"""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "target",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("digest", TEXT, sa.ForeignKey("manifest.digest"), nullable=False, unique=True),
        sa.Column("first_name", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("shown", TEXT),
        sa.Column("is_known", sa.Boolean, nullable=False),
        sa.Column("age", sa.BigInteger),
        sa.Column("weight", sa.BigInteger, nullable=False),
        sa.Column("shared", sa.BigInteger, nullable=False),
    )
    op.create_index("target_order", "target", [sa.text("created DESC"), "first_name"])
    op.create_index("target_age", "target", ["age"])
    op.create_table(
        "target_label",
        sa.Column("hash", sa.BigInteger, primary_key=True),
        sa.Column("target", sa.BigInteger, sa.ForeignKey("target.id"), primary_key=True),
        sa.Column("everywhere", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("target_label_target", "target_label", ["target"])
    op.add_column("blob", sa.Column("users", sa.Integer, nullable=False, server_default="0"))
    op.create_index("blob_unused", "blob", ["digest"], sqlite_where=sa.text("users = 0"), postgresql_where=sa.text("users = 0"))
    op.create_index("image_target_name", "image", ["target", "name"])
    op.drop_index("image_target", "image")
    op.add_column("store", sa.Column("platform", TEXT))

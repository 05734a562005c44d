"""The number of images, when the last sweep ended, and ids of targets that are never used again.

A list that is being read would show another image by the same id. What lists need is derived again by `upgrade`. Nothing has used the
table `generation` since 0007.
"""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.drop_table("generation")
    op.add_column("store", sa.Column("images", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("store", sa.Column("swept_at", sa.BigInteger))
    op.execute("UPDATE store SET platform = NULL")
    op.drop_table("target_label")
    op.drop_table("target")
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
        sqlite_autoincrement=True,
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

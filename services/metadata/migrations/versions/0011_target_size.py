"""The size of each image beside what it shares, so that a list is ordered by either without reading manifests."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("target", sa.Column("size", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE target SET size = (SELECT content_size FROM manifest WHERE manifest.digest = target.digest)")

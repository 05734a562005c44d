"""The first tables: images, blobs, layers, manifests, edges, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_content()
    _create_graph()
    _create_leases()
    generation = op.create_table(
        "generation",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(generation, [{"id": 1, "value": 0}])


def _create_content() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "layer",
        sa.Column("digest", sa.Text, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("diff_id", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("layer_diff_id", "layer", ["diff_id"])
    op.create_table(
        "manifest",
        sa.Column("digest", sa.Text, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content_size", sa.BigInteger, nullable=False),
        sa.Column("platform", sa.Text),
        sa.Column("created", sa.Text),
        sa.Column("labels", sa.Text),
    )
    op.create_table(
        "config",
        sa.Column("manifest", sa.Text, sa.ForeignKey("manifest.digest"), primary_key=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )


def _create_graph() -> None:
    op.create_table(
        "edge",
        sa.Column("parent", sa.Text, sa.ForeignKey("manifest.digest"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("child", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("descriptor", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_child", "edge", ["child"])
    op.create_table(
        "image",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, sa.ForeignKey("manifest.digest"), nullable=False),
        sa.Column("descriptor", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_target", "image", ["target"])


def _create_leases() -> None:
    op.create_table(
        "lease",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("alive_until", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "lease_blob",
        sa.Column("lease", sa.Text, sa.ForeignKey("lease.id"), primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("lease_blob_digest", "lease_blob", ["digest"])

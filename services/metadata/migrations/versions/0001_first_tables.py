"""The first tables: images, blobs, layers, manifests, edges, leases."""

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

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
    if op.get_context().dialect.name == "postgresql":
        _create_last_writes()


def _create_content() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", TEXT, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "layer",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("diff_id", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("layer_diff_id", "layer", ["diff_id"])
    op.create_table(
        "manifest",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("media_type", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("content_size", sa.BigInteger, nullable=False),
        sa.Column("platform", TEXT),
        sa.Column("created", TEXT),
        sa.Column("labels", TEXT),
    )
    op.create_table(
        "config",
        sa.Column("manifest", TEXT, sa.ForeignKey("manifest.digest"), primary_key=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )


def _create_graph() -> None:
    op.create_table(
        "edge",
        sa.Column("parent", TEXT, sa.ForeignKey("manifest.digest"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("child", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("descriptor", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_child", "edge", ["child"])
    op.create_table(
        "image",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("target", TEXT, sa.ForeignKey("manifest.digest"), nullable=False),
        sa.Column("descriptor", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("image_target", "image", ["target"])


def _create_leases() -> None:
    op.create_table(
        "lease",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("alive_until", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "lease_blob",
        sa.Column("lease", TEXT, sa.ForeignKey("lease.id"), primary_key=True),
        sa.Column("digest", TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("lease_blob_digest", "lease_blob", ["digest"])


def _create_last_writes() -> None:
    """The last write transaction of each writer: see `stowage.services.metadata.postgresql`."""
    op.create_table(
        "last_write",
        sa.Column("writer", TEXT, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
    )

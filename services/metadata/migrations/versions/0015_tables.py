"""The tables as they were before `reach`: a store that is older was upgraded to these by the version that made them."""

import secrets

import sqlalchemy as sa
from alembic import op

from stowage.services.metadata.column_types import TEXT

revision = "0015"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_content()
    _create_graph()
    _create_targets()
    _create_leases()
    _create_event()
    if op.get_context().dialect.name == "postgresql":
        _create_shared()


def _create_content() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", TEXT, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("damage", TEXT),
        sa.Column("users", sa.Integer, nullable=False, server_default="0"),
        sa.Column("location", TEXT, nullable=False, server_default=""),
    )
    op.create_index("blob_unused", "blob", ["digest"], sqlite_where=sa.text("users = 0"), postgresql_where=sa.text("users = 0"))
    op.create_table(
        "layer",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("diff_id", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Index("layer_diff_id", "diff_id"),
    )
    op.create_table(
        "layer_files",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("kept_at", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("checksum", sa.BigInteger, nullable=False),
        sa.Column("list", sa.LargeBinary, nullable=False),
        sa.Index("layer_files_kept_at", "kept_at", "bytes"),
    )
    op.create_table(
        "source",
        sa.Column("digest", TEXT, sa.ForeignKey("blob.digest"), primary_key=True),
        sa.Column("registry", TEXT, primary_key=True),
        sa.Column("repository", TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )


def _create_graph() -> None:
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
    op.create_table(
        "edge",
        sa.Column("parent", TEXT, sa.ForeignKey("manifest.digest"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("child", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("descriptor", TEXT, nullable=False),
        sa.Index("edge_child", "child"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "image",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("target", TEXT, sa.ForeignKey("manifest.digest"), nullable=False),
        sa.Column("descriptor", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Index("image_target_name", "target", "name"),
    )


def _create_targets() -> None:
    op.create_table(
        "target",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("digest", TEXT, sa.ForeignKey("manifest.digest"), nullable=False, unique=True),
        sa.Column("first_name", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("shown", TEXT),
        sa.Column("is_known", sa.Boolean, nullable=False),
        sa.Column("age", sa.BigInteger),
        sa.Column("weight", sa.BigInteger, nullable=False),
        sa.Column("shared", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("outdated", sa.Boolean, nullable=False, server_default=sa.false()),
        sqlite_autoincrement=True,
    )
    op.create_index("target_order", "target", [sa.text("created DESC"), "first_name"])
    op.create_index("target_age", "target", ["age"])
    outdated = sa.column("outdated", sa.Boolean)
    op.create_index("target_outdated", "target", ["digest"], sqlite_where=outdated, postgresql_where=outdated)
    op.create_table(
        "target_label",
        sa.Column("hash", sa.BigInteger, primary_key=True),
        sa.Column("target", sa.BigInteger, sa.ForeignKey("target.id"), primary_key=True),
        sa.Column("everywhere", sa.Boolean, nullable=False),
        sa.Index("target_label_target", "target"),
        sqlite_with_rowid=False,
    )
    store = op.create_table(
        "store",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("platform", TEXT),
        sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("swept_at", sa.BigInteger),
        sa.Column("claimed", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.bulk_insert(store, [{"id": secrets.token_hex(16)}])


def _create_leases() -> None:
    op.create_table(
        "lease",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("alive_until", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Index("lease_expires_at", "expires_at"),
    )
    op.create_table(
        "lease_blob",
        sa.Column("lease", TEXT, sa.ForeignKey("lease.id"), primary_key=True),
        sa.Column("digest", TEXT, primary_key=True),
        sa.Index("lease_blob_digest", "digest"),
        sqlite_with_rowid=False,
    )
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


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", _ID, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("attributes", TEXT, nullable=False),
    )


def _create_shared() -> None:
    """The last write transaction of each writer (see `stowage.services.metadata.postgresql`), and what nodes tell each other: nothing
    depends on these rows, which are written every two seconds and not logged.
    """
    op.create_table(
        "last_write",
        sa.Column("writer", TEXT, primary_key=True),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "running_transfers",
        sa.Column("process", TEXT, primary_key=True),
        sa.Column("page", TEXT, nullable=False),
        sa.Column("renewed_at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "transfer_end",
        sa.Column("transfer", TEXT, primary_key=True),
        sa.Column("asked_at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "arrival",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.Double, nullable=False),
        prefixes=["UNLOGGED"],
    )

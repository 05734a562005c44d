"""The tables, as SQLAlchemy Core sees them; a revision in migrations/ creates each of them.

Digests are text, `sha256:<hex>`. JSON is text. Times of images, blobs and events are nanoseconds since 1970, those of leases seconds since
1970 by the database's own clock. `target`, `target_label`, `reach` and `store.images` are derived from `image`, `edge` and `manifest`, for
lists, disk usage and the sweep: see targets.py.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, false

from stowage.services.metadata.column_types import TEXT

METADATA = MetaData()

blob = Table(
    "blob",
    METADATA,
    Column("digest", TEXT, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("damage", TEXT),
    Column("location", TEXT, nullable=False, server_default=""),
)

layer = Table(
    "layer",
    METADATA,
    Column("digest", TEXT, ForeignKey("blob.digest"), primary_key=True),
    Column("diff_id", TEXT, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("layer_diff_id", "diff_id"),
)

manifest = Table(
    "manifest",
    METADATA,
    Column("digest", TEXT, ForeignKey("blob.digest"), primary_key=True),
    Column("media_type", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("platform", TEXT),
    Column("created", TEXT),
    Column("labels", TEXT),
)

# Apart from the manifest, since lists read every manifest and no config.
config = Table(
    "config",
    METADATA,
    Column("manifest", TEXT, ForeignKey("manifest.digest"), primary_key=True),
    Column("raw", LargeBinary, nullable=False),
)

edge = Table(
    "edge",
    METADATA,
    Column("parent", TEXT, ForeignKey("manifest.digest"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("child", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("descriptor", TEXT, nullable=False),
    Index("edge_child", "child"),
    sqlite_with_rowid=False,
)

image = Table(
    "image",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("target", TEXT, ForeignKey("manifest.digest"), nullable=False),
    Column("descriptor", TEXT, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("image_target_name", "target", "name"),
)

target = Table(
    "target",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("digest", TEXT, ForeignKey("manifest.digest"), nullable=False, unique=True),
    Column("first_name", TEXT, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("shown", TEXT),
    Column("is_known", Boolean, nullable=False),
    Column("age", BigInteger),
    Column("weight", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,  # a list that is being read must not find another image by the id of one that is gone
)
Index("target_order", target.c.created.desc(), target.c.first_name)
Index("target_age", target.c.age)

# Every digest below a target, present or not, and its own: who uses a blob, and what an image uses, are queries on these.
reach = Table(
    "reach",
    METADATA,
    Column("target", BigInteger, ForeignKey("target.id"), primary_key=True),
    Column("digest", TEXT, primary_key=True),
    Index("reach_digest", "digest", "target"),
    sqlite_with_rowid=False,
)

target_label = Table(
    "target_label",
    METADATA,
    Column("hash", BigInteger, primary_key=True),
    Column("target", BigInteger, ForeignKey("target.id"), primary_key=True),
    Column("everywhere", Boolean, nullable=False),
    Index("target_label_target", "target"),
    sqlite_with_rowid=False,
)

lease = Table(
    "lease",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("note", TEXT, nullable=False),
    Column("alive_until", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("lease_expires_at", "expires_at"),
)

lease_blob = Table(
    "lease_blob",
    METADATA,
    Column("lease", TEXT, ForeignKey("lease.id"), primary_key=True),
    Column("digest", TEXT, primary_key=True),
    Index("lease_blob_digest", "digest"),
    sqlite_with_rowid=False,
)

intent = Table(
    "intent",
    METADATA,
    Column("location", TEXT, primary_key=True),
    Column("lease", TEXT, ForeignKey("lease.id"), nullable=False),
    Column("written", BigInteger, nullable=False),
    Index("intent_lease", "lease"),
)

doomed = Table(
    "doomed",
    METADATA,
    Column("location", TEXT, primary_key=True),
    Column("digest", TEXT),
    Column("size", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Index("doomed_since", "since"),
)

source = Table(
    "source",
    METADATA,
    Column("digest", TEXT, ForeignKey("blob.digest"), primary_key=True),
    Column("registry", TEXT, primary_key=True),
    Column("repository", TEXT, primary_key=True),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("action", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("attributes", TEXT, nullable=False),
)

layer_files = Table(
    "layer_files",
    METADATA,
    Column("digest", TEXT, ForeignKey("blob.digest"), primary_key=True),
    Column("kept_at", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("list", LargeBinary, nullable=False),
    Index("layer_files_kept_at", "kept_at", "bytes"),
)

store = Table(
    "store",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("platform", TEXT),
    Column("images", BigInteger, nullable=False, server_default="0"),
    Column("swept_at", BigInteger),
    Column("claimed", Boolean, nullable=False, server_default=false()),
)

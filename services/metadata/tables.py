"""The tables, as SQLAlchemy Core sees them; a revision in migrations/ creates each of them.

Digests are text, `sha256:<hex>`. JSON is text. Times of images, blobs and events are nanoseconds since 1970, those of leases seconds since
1970 by the database's own clock. What `image`, `edge` and `manifest` imply is kept beside them for lists, disk usage and the sweep, in
`target`, `target_label` and `blob.users`: see upkeep.py.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

blob = Table(
    "blob",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("damage", Text),
    Column("users", Integer, nullable=False, server_default="0"),
)
Index("blob_unused", blob.c.digest, sqlite_where=blob.c.users == 0, postgresql_where=blob.c.users == 0)

layer = Table(
    "layer",
    METADATA,
    Column("digest", Text, ForeignKey("blob.digest"), primary_key=True),
    Column("diff_id", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("layer_diff_id", "diff_id"),
)

manifest = Table(
    "manifest",
    METADATA,
    Column("digest", Text, ForeignKey("blob.digest"), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("content_size", BigInteger, nullable=False),
    Column("platform", Text),
    Column("created", Text),
    Column("labels", Text),
)

# Apart from the manifest, since lists read every manifest and no config.
config = Table(
    "config",
    METADATA,
    Column("manifest", Text, ForeignKey("manifest.digest"), primary_key=True),
    Column("raw", LargeBinary, nullable=False),
)

edge = Table(
    "edge",
    METADATA,
    Column("parent", Text, ForeignKey("manifest.digest"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("child", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("descriptor", Text, nullable=False),
    Index("edge_child", "child"),
    sqlite_with_rowid=False,
)

image = Table(
    "image",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("target", Text, ForeignKey("manifest.digest"), nullable=False),
    Column("descriptor", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("image_target_name", "target", "name"),
)

target = Table(
    "target",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("digest", Text, ForeignKey("manifest.digest"), nullable=False, unique=True),
    Column("first_name", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("shown", Text),
    Column("is_known", Boolean, nullable=False),
    Column("age", BigInteger),
    Column("shared", BigInteger, nullable=False),
)
Index("target_order", target.c.created.desc(), target.c.first_name)
Index("target_age", target.c.age)

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
    Column("id", Text, primary_key=True),
    Column("note", Text, nullable=False),
    Column("alive_until", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("lease_expires_at", "expires_at"),
)

lease_blob = Table(
    "lease_blob",
    METADATA,
    Column("lease", Text, ForeignKey("lease.id"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Index("lease_blob_digest", "digest"),
    sqlite_with_rowid=False,
)

source = Table(
    "source",
    METADATA,
    Column("digest", Text, ForeignKey("blob.digest"), primary_key=True),
    Column("registry", Text, primary_key=True),
    Column("repository", Text, primary_key=True),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("attributes", Text, nullable=False),
)

store = Table("store", METADATA, Column("id", Text, primary_key=True), Column("platform", Text))

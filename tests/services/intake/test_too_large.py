"""Blobs that a bucket could never take."""

from __future__ import annotations

from pathlib import Path

import pytest

from stowage.services.content.bucket import PART_BYTES
from stowage.services.errors import OutOfSpace
from stowage.services.gc.leases import hold
from stowage.services.intake.ingest import store_blob
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from tests.buckets import open_bucket
from tests.engines import real_engine


@pytest.mark.parametrize(
    ("size", "message"),
    [
        pytest.param(10_000 * PART_BYTES + 1, "in a bucket it may have at most 83886080000", id="more parts than an object has"),
        pytest.param(PART_BYTES, "too large for the 1000000 bytes that STOWAGE_SPOOL_BYTES allows", id="more than the spool"),
    ],
)
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "unnamed"])
def test_a_blob_that_can_never_be_stored_is_refused_before_anything_of_it_is_read(
    tmp_path: Path, bucket_url: str, metadata: MetadataStore, size: int, message: str, *, is_named: bool
) -> None:
    spool_bytes = 1 << 40 if size > 10_000 * PART_BYTES else 1_000_000
    engine = real_engine(metadata, open_bucket(tmp_path / "root", bucket_url, metadata, spool_bytes=spool_bytes), tmp_path / "transfers")
    chunks = iter([b"never read"])
    with pytest.raises(OutOfSpace, match=message), hold(metadata, engine.content, "test") as lease:
        store_blob(engine, lease, chunks, digest=Digest.of(b"large") if is_named else None, size=size)
    assert list(chunks) == [b"never read"]
    engine.content.require_room(1_000_000)

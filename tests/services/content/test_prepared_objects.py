"""Objects whose locations are recorded with the lease, before anything else is written."""

from __future__ import annotations

from pathlib import Path

from stowage.services.gc.leases import hold
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from tests.buckets import open_bucket

CONTENT = b"a small blob"


def test_what_a_lease_prepares_needs_no_other_intent_and_goes_with_the_lease(
    tmp_path: Path, bucket_url: str, metadata: MetadataStore
) -> None:
    store = open_bucket(tmp_path / "root", bucket_url, metadata)
    digest, unused = Digest.of(CONTENT), Digest.of(b"never written")
    with hold(metadata, store, "prepared", digests={digest, unused}, prepares=True) as lease:
        location = lease.take_location(digest)
        with metadata.read() as tx:
            assert tx.objects.named([location]) == {location}
        with store.ingest(str(digest), lease=lease.id, location=location) as ingest:
            ingest.write(CONTENT)
            ingest.commit(digest)
        assert (ingest.location, lease.take_location(digest)) == (location, "")
        with metadata.write() as tx:
            tx.graph.add_blob(digest, len(CONTENT), 1, location)
        assert store.read(digest) == CONTENT
    assert list(store.unnamed(0)) == []
    with metadata.read() as tx:
        assert (tx.objects.named([location]), tx.objects.doomed(age=0, limit=9)) == (set(), [])

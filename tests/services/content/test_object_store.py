"""What is particular to the store in a bucket: what becomes visible when, what is removed and what is not, and its errors."""

from __future__ import annotations

import http.client
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stowage.services.content.bucket import PART_BYTES, Bucket, BucketAddress
from stowage.services.content.object_store import S3Store
from stowage.services.content.upload import UPLOAD_BYTES
from stowage.services.errors import BlobNotFound, Internal, InvalidContent, OutOfSpace, Unavailable
from stowage.services.gc.collector import collect_garbage
from stowage.services.metadata.objects import MetadataObjects
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from tests.buckets import open_bucket
from tests.contracts.stores import PROJECT
from tests.seaweedfs import UNLISTED, WRONG, Seaweed

LARGE = random.Random(7).randbytes(3 * PART_BYTES + 5)
SMALL = b"a small blob"


@pytest.fixture
def lease(metadata: MetadataStore) -> str:
    with metadata.write() as tx:
        return tx.leases.create("test", alive=600, expires=600)


@pytest.fixture
def store(tmp_path: Path, bucket_url: str, metadata: MetadataStore) -> S3Store:
    return open_bucket(tmp_path / "root", bucket_url, metadata)


def write(store: S3Store, lease: str, content: bytes = LARGE, key: str = "") -> tuple[Digest, str]:
    """A committed blob without a row, and its location."""
    digest = Digest.of(content)
    with store.ingest(key or str(digest), lease=lease) as ingest:
        for start in range(0, len(content), 1 << 20):
            ingest.write(content[start : start + (1 << 20)])
        ingest.commit(digest, len(content))
    return digest, ingest.location


def record(metadata: MetadataStore, digest: Digest, size: int, location: str) -> None:
    with metadata.write() as tx:
        tx.graph.add_blob(digest, size, 1, location)


def put(store: S3Store, metadata: MetadataStore, lease: str, content: bytes = LARGE) -> tuple[Digest, str]:
    digest, location = write(store, lease, content)
    record(metadata, digest, len(content), location)
    return digest, location


def objects(bucket_url: str, seaweedfs: Seaweed) -> set[str]:
    """The locations of every object of the store, and the keys of every unfinished upload."""
    bucket, prefix = (part.decode() for part in re.fullmatch(rb"s3://([^/]+)/([^?]+)\?.*", bucket_url.encode()).groups())  # type: ignore[union-attr]
    found: set[str] = set()
    for query in ({"list-type": "2", "prefix": f"{prefix}/"}, {"uploads": "", "prefix": f"{prefix}/"}):
        status, answer = seaweedfs.request("GET", f"/{bucket}", query)
        assert status == http.client.OK
        found |= {key.decode().removeprefix(f"{prefix}/") for key in re.findall(rb"<Key>(.*?)</Key>", answer)}
    return found


def unfinished(bucket_url: str, seaweedfs: Seaweed) -> Iterator[bool]:
    """Whether there is an upload that is not finished, asked again and again for some seconds."""
    for _ in range(100):
        yield bool(objects(bucket_url, seaweedfs))
        time.sleep(0.05)


def test_a_large_blob_begins_its_upload_while_it_arrives(store: S3Store, lease: str, bucket_url: str, seaweedfs: Seaweed) -> None:
    with store.ingest(str(Digest.of(LARGE)), lease=lease) as ingest:
        ingest.write(LARGE[: PART_BYTES + 1])
        assert any(unfinished(bucket_url, seaweedfs))
        ingest.write(LARGE[PART_BYTES + 1 :])
        ingest.commit(Digest.of(LARGE))
    assert objects(bucket_url, seaweedfs) == {ingest.location}
    assert list(store.partials()) == []


def test_an_object_without_a_row_is_no_blob(store: S3Store, metadata: MetadataStore, lease: str) -> None:
    digest, location = write(store, lease)
    with pytest.raises(BlobNotFound):
        store.open(digest)
    record(metadata, digest, len(LARGE), location)
    assert (store.read(digest), store.size(digest)) == (LARGE, len(LARGE))


@pytest.mark.parametrize("content", [pytest.param(LARGE, id="large"), pytest.param(SMALL, id="small")])
def test_a_refused_blob_leaves_no_object_and_no_parts(
    store: S3Store, lease: str, content: bytes, bucket_url: str, seaweedfs: Seaweed
) -> None:
    with store.ingest("some", lease=lease) as ingest:
        ingest.write(content)
        with pytest.raises(InvalidContent, match="unexpected commit digest"):
            ingest.commit(Digest.of(b"other"))
    assert objects(bucket_url, seaweedfs) == set()


def test_what_broke_is_resumed_on_this_node(store: S3Store, lease: str, bucket_url: str, seaweedfs: Seaweed) -> None:
    key = str(Digest.of(LARGE))
    with store.ingest(key, lease=lease) as ingest:
        ingest.write(LARGE[: 2 * PART_BYTES])
        ingest.keep()
    assert objects(bucket_url, seaweedfs) == set()
    with store.ingest(key, lease=lease) as ingest:
        assert b"".join(ingest.resume()) == LARGE[: 2 * PART_BYTES]
        ingest.write(LARGE[2 * PART_BYTES :])
        ingest.commit(Digest.of(LARGE))
    assert objects(bucket_url, seaweedfs) == {ingest.location}


def test_a_blob_that_begins_again_is_whole(store: S3Store, metadata: MetadataStore, lease: str) -> None:
    with store.ingest("some", lease=lease) as ingest:
        ingest.write(bytes(2 * PART_BYTES))
        ingest.restart()
        ingest.write(LARGE)
        digest = ingest.commit()
    record(metadata, digest, len(LARGE), ingest.location)
    assert store.read(digest) == LARGE


def test_writers_that_have_stopped_delay_no_others(tmp_path: Path, bucket_url: str, metadata: MetadataStore, lease: str) -> None:
    store = open_bucket(tmp_path / "root", bucket_url, metadata, upload_bytes=2 * UPLOAD_BYTES)
    with store.ingest("one", lease=lease) as first, store.ingest("two", lease=lease) as second:
        first.write(LARGE)
        second.write(LARGE)
        digest, location = write(store, lease, LARGE[::-1])
        record(metadata, digest, len(LARGE), location)
        assert store.read(digest) == LARGE[::-1]


def test_the_spool_has_a_limit(tmp_path: Path, bucket_url: str, metadata: MetadataStore, lease: str) -> None:
    store = open_bucket(tmp_path / "root", bucket_url, metadata, spool_bytes=100)
    with pytest.raises(OutOfSpace, match="STOWAGE_SPOOL_BYTES"), store.ingest("some", lease=lease) as ingest:
        ingest.write(bytes(101))
    assert store.free() == 100


def test_nothing_is_written_without_a_lease(store: S3Store, bucket_url: str, seaweedfs: Seaweed) -> None:
    with pytest.raises(Internal, match="has ended"):
        write(store, "ended", SMALL)
    with pytest.raises(Internal, match="has ended"), store.publish({Digest.of(SMALL): SMALL}, lease="ended"):
        pass
    assert objects(bucket_url, seaweedfs) == set()


def test_a_reader_goes_on_where_the_blob_is_now(store: S3Store, metadata: MetadataStore, lease: str) -> None:
    digest, first = put(store, metadata, lease)
    with store.open(digest) as blob:
        begun = blob.read(100)
        _, second = put(store, metadata, lease)
        assert store.remove_doomed() == len(LARGE)
        assert begun + blob.read() == LARGE
    assert first != second
    assert store.version(digest) == (second, *store.version(digest)[1:])  # type: ignore[index]


def test_a_reader_may_go_back(store: S3Store, metadata: MetadataStore, lease: str) -> None:
    digest, _ = put(store, metadata, lease)
    with store.open(digest) as blob:
        assert (blob.read(PART_BYTES), blob.seek(5), blob.tell()) == (LARGE[:PART_BYTES], 5, 5)
        assert blob.read() == LARGE[5:]
        assert blob.read() == b""


def test_a_lost_object_is_said_to_be_lost(store: S3Store, metadata: MetadataStore, lease: str, bucket_url: str) -> None:
    digest, location = put(store, metadata, lease, SMALL)
    with store.open(digest) as blob:
        Bucket(BucketAddress.parse(bucket_url), timeout=10).delete([location])
        with pytest.raises(Internal, match="gone from the bucket"):
            blob.read()
    assert (store.size(digest), store.version(digest)) == (None, (location,))


def test_doomed_objects_are_kept_as_long_as_wanted(tmp_path: Path, bucket_url: str, metadata: MetadataStore, lease: str) -> None:
    keeping = open_bucket(tmp_path / "root", bucket_url, metadata, keep_seconds=3600)
    digest, _ = put(keeping, metadata, lease, SMALL)
    with metadata.write() as tx:
        tx.graph.remove([digest])
    assert (keeping.delete([digest]), keeping.remove_doomed()) == ({digest: 0}, 0)
    assert len(list(open_bucket(tmp_path / "root", bucket_url, metadata).unnamed(0))) == 0
    removing = open_bucket(tmp_path / "root", bucket_url, metadata)
    assert (removing.delete([digest]), removing.delete([digest])) == ({digest: len(SMALL)}, {})


def test_an_object_whose_writer_lost_its_lease_is_removed(
    store: S3Store, metadata: MetadataStore, lease: str, bucket_url: str, seaweedfs: Seaweed
) -> None:
    digest, location = write(store, lease, SMALL)
    with metadata.write() as tx:
        tx.leases.end(lease)
    with pytest.raises(Internal, match="has ended"):
        record(metadata, digest, len(SMALL), location)
    assert objects(bucket_url, seaweedfs) == {location}
    store.remove_doomed()
    assert objects(bucket_url, seaweedfs) == set()


def test_unnamed_objects_and_uploads_are_found_and_removed(
    store: S3Store, metadata: MetadataStore, lease: str, bucket_url: str, seaweedfs: Seaweed
) -> None:
    _, kept = put(store, metadata, lease, SMALL)
    address = BucketAddress.parse(bucket_url)
    seaweedfs.request("PUT", f"/{address.bucket}/{address.prefix}/blobs/orphan", payload=b"orphan")
    seaweedfs.request("POST", f"/{address.bucket}/{address.prefix}/blobs/begun", {"uploads": ""})
    assert list(store.unnamed(3600)) == []
    found = list(store.unnamed(0))
    assert [(each.location, each.size) for each in found] == [("blobs/orphan", 6), ("blobs/begun", 0)]
    assert store.remove_unnamed(found) == 6
    assert objects(bucket_url, seaweedfs) == {kept}


def test_a_bucket_that_may_not_be_listed_works_and_says_what_was_not_looked_at(
    tmp_path: Path, bucket_url: str, metadata: MetadataStore, lease: str, seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.environ(UNLISTED).items():
        monkeypatch.setenv(name, value)
    store = open_bucket(tmp_path / "root", bucket_url, metadata)
    digest, _ = put(store, metadata, lease)
    assert store.read(digest) == LARGE
    (sentence,) = collect_garbage(metadata, store).unseen
    assert sentence.startswith("objects without a row were not looked for: the bucket")
    assert "denies access (AccessDenied)" in sentence


def test_a_missing_bucket_is_not_created(tmp_path: Path, seaweedfs: Seaweed, metadata: MetadataStore, bucket_url: str) -> None:
    store = open_bucket(tmp_path / "root", seaweedfs.url("absent-bucket"), metadata)
    for attempt in (store.mark, store.check):
        with pytest.raises(Internal, match="the bucket absent-bucket does not exist"):
            attempt()
    assert seaweedfs.request("GET", "/absent-bucket", {"list-type": "2"})[0] == http.client.NOT_FOUND


def test_a_lost_mark_is_a_problem(store: S3Store) -> None:
    store.claim("id")
    store.check()
    assert list(store.unnamed(0)) == []
    store.adopt("other")
    assert store.mark() == ("other", "the tests")
    store._bucket.delete(["store-id"])
    with pytest.raises(Internal, match="has lost the object store-id"):
        store.check()


def test_wrong_credentials_are_said_without_showing_them(
    store: S3Store, seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch, lease: str
) -> None:
    for name, value in seaweedfs.environ(WRONG).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Internal, match=r"the secret of the access key is wrong \(SignatureDoesNotMatch\)") as caught:
        write(store, lease, SMALL)
    assert WRONG.secret not in str(caught.value)
    assert WRONG.key_id not in str(caught.value)


def test_a_server_that_is_gone_is_unavailable_and_then_used_again(
    tmp_path: Path, own_seaweedfs: Seaweed, metadata: MetadataStore, lease: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in own_seaweedfs.environ().items():
        monkeypatch.setenv(name, value)
    store = open_bucket(tmp_path / "root", own_seaweedfs.url(own_seaweedfs.create_bucket()), metadata, timeout=3)
    key = str(Digest.of(LARGE))
    with store.ingest(key, lease=lease) as ingest:
        ingest.write(LARGE)
        own_seaweedfs.stop()
        with pytest.raises(Unavailable, match="cannot be reached"):
            ingest.commit()
    assert store.partial_size(key) == len(LARGE)  # nothing that arrived is fetched again
    own_seaweedfs.start()
    with store.ingest(key, lease=lease) as ingest:
        for _ in ingest.resume():
            pass
        ingest.commit()
    record(metadata, Digest.of(LARGE), len(LARGE), ingest.location)
    assert store.read(Digest.of(LARGE)) == LARGE


FORKED = """
import os, sys
from pathlib import Path
from tests.buckets import open_bucket
from tests.engines import metadata_store

root, url, database, lease = sys.argv[1:]
store = open_bucket(Path(root), url, metadata_store(database))
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with store.ingest("forked", lease=lease) as ingest:
    ingest.commit()
    print(ingest.location, flush=True)
os._exit(0)
"""


def test_a_store_that_was_made_before_a_fork_works_in_the_child(tmp_path: Path, bucket_url: str, database_url: str, lease: str) -> None:
    arguments = [str(tmp_path / "root"), bucket_url, database_url, lease]
    run = subprocess.run([sys.executable, "-c", FORKED, *arguments], cwd=PROJECT, check=True, timeout=60, stdout=subprocess.PIPE, text=True)
    written = Bucket(BucketAddress.parse(bucket_url), timeout=10).head(run.stdout.strip())
    assert written is not None and written.size == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from stowage.services.content import object_store, object_ingest
from stowage.services.metadata.objects import MetadataObjects
from tests.buckets import open_bucket
from tests.engines import metadata_store

root, url, database, lease, step, size = sys.argv[1:]
metadata = metadata_store(database)
store = open_bucket(Path(root), url, metadata)
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if step == "before the intent":
    MetadataObjects.intend = die
elif step == "before the object":
    object_ingest.ObjectIngest._send_whole = object_ingest.ObjectIngest._begin_upload = die
elif step == "before the end":
    object_ingest.ObjectIngest._send = die
elif step == "before the partial goes":
    object_ingest.remove_partial = die
with store.ingest("killed", lease=lease) as ingest:
    ingest.write(bytes(int(size)))
    digest = ingest.commit()
    if step == "before the row":
        die()
    with metadata.write() as tx:
        tx.graph.add_blob(digest, int(size), 1, ingest.location)
        if step == "before the commit":
            die()
    die()
"""
STEPS = [
    "before the intent",
    "before the object",
    "before the end",
    "before the partial goes",
    "before the row",
    "before the commit",
    "after",
]


@pytest.mark.parametrize("size", [100, 3 * PART_BYTES], ids=["small", "large"])
@pytest.mark.parametrize("step", STEPS)
def test_a_writer_that_is_killed_loses_nothing_recorded_and_leaves_nothing_else(
    step: str, size: int, tmp_path: Path, bucket_url: str, database_url: str, metadata: MetadataStore, lease: str, seaweedfs: Seaweed
) -> None:
    arguments = [str(tmp_path / "root"), bucket_url, database_url, lease, step, str(size)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    digest = Digest.of(bytes(size))
    store = open_bucket(tmp_path / "root", bucket_url, metadata)
    with metadata.write() as tx:
        assert bool(tx.graph.present([digest])) == (step == "after")
        tx.leases.add(lease, [digest])
        tx.leases.renew(lease, alive=600 if step == "after" else 0, expires=600)
    collect_garbage(metadata, store)
    store.remove_unnamed(list(store.unnamed(0)))  # an upload that was begun; gc waits an hour for it
    assert list(store.partials()) == []
    assert len(objects(bucket_url, seaweedfs)) == (step == "after")
    assert dict(store.blobs()) == ({digest: size} if step == "after" else {})


def test_records_are_committed_reads(metadata: MetadataStore, lease: str) -> None:
    records = MetadataObjects(metadata)
    records.intend(lease, ["one"])
    assert (records.named(["one", "two"]), records.locations([Digest.of(b"a")]), list(records.blobs())) == ({"one"}, {}, [])

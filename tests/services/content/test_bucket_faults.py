"""What a bucket may answer instead of what it was asked for: throttling, refused credentials, silence and half an answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stowage.services.content.bucket import PART_BYTES
from stowage.services.content.object_store import S3Store
from stowage.services.errors import EngineError, Internal, Unavailable
from stowage.services.gc.collector import collect_garbage
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from tests.buckets import open_bucket
from tests.faulty_bucket import Fault, FaultyBucket
from tests.seaweedfs import Seaweed
from tests.waiting import poll

LARGE = random.Random(3).randbytes(2 * PART_BYTES + 5)
SMALL = b"a small blob"
COUNT = 5
MESSAGES = {
    "ExpiredToken": "the credentials have expired (ExpiredToken): renew them",
    "InvalidAccessKeyId": "the access key does not exist (InvalidAccessKeyId): give the service one that exists",
    "AccessDenied": "denies access (AccessDenied): allow what",
}
STATUSES = {"ExpiredToken": 400, "InvalidAccessKeyId": 403, "AccessDenied": 403}

every_refusal = pytest.mark.parametrize("code", MESSAGES)


@pytest.fixture
def faulty(seaweedfs: Seaweed) -> Iterator[FaultyBucket]:
    with FaultyBucket(seaweedfs).running() as proxy:
        yield proxy


@pytest.fixture
def faulty_url(bucket_url: str, seaweedfs: Seaweed, faulty: FaultyBucket) -> str:
    return bucket_url.replace(seaweedfs.endpoint, faulty.endpoint)


@pytest.fixture
def store(tmp_path: Path, faulty_url: str, metadata: MetadataStore) -> S3Store:
    """A store that waits for no answer longer than two seconds."""
    return open_bucket(tmp_path / "root", faulty_url, metadata, timeout=2)


@pytest.fixture
def write(store: S3Store, metadata: MetadataStore) -> Callable[[bytes], Digest]:
    """Stores a blob with its row; what an earlier attempt has left is continued."""
    with metadata.write() as tx:
        lease = tx.leases.create("test", alive=600, expires=600)

    def write_blob(content: bytes) -> Digest:
        digest = Digest.of(content)
        with store.ingest(str(digest), lease=lease) as ingest:
            kept = sum(map(len, ingest.resume()))
            ingest.write(content[kept:])
            ingest.commit(digest, len(content))
        with metadata.write() as tx:
            tx.graph.add_blob(digest, len(content), 1, ingest.location)
        return digest

    return write_blob


Write = Callable[[bytes], Digest]


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_requests_that_are_throttled_for_a_while_are_sent_again(
    store: S3Store, faulty: FaultyBucket, write: Write, content: bytes, metadata: MetadataStore
) -> None:
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        faulty.fail(Fault(method=method, times=COUNT, status=503, code="SlowDown"))
    digest = write(content)
    assert (store.size(digest), store.read(digest)) == (len(content), content)
    with metadata.write() as tx:
        tx.graph.remove([digest])
    assert store.delete([digest]) == {digest: len(content)}


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_throttling_that_does_not_end_is_said_and_loses_nothing(store: S3Store, faulty: FaultyBucket, write: Write, content: bytes) -> None:
    faulty.fail(Fault(status=503, code="SlowDown"))
    with pytest.raises(Unavailable, match=r"is busy or fails for a while \(SlowDown\): try again later"):
        write(content)
    assert store.partial_size(str(Digest.of(content))) == len(content)
    faulty.heal()
    assert store.read(write(content)) == content


@every_refusal
@pytest.mark.parametrize("skip", [0, 2, 4], ids=["at the beginning", "in the middle", "at the end"])
def test_an_upload_that_is_refused_is_said_not_tried_for_ever_and_loses_nothing(
    store: S3Store, faulty: FaultyBucket, write: Write, code: str, skip: int
) -> None:
    faulty.fail(Fault(method="PUT|POST", skip=skip, status=STATUSES[code], code=code))
    with pytest.raises(Internal) as caught:
        write(LARGE)
    assert MESSAGES[code] in str(caught.value)
    assert len(faulty.seen) < 20
    assert store.partial_size(str(Digest.of(LARGE))) == len(LARGE)
    faulty.heal()
    assert store.read(write(LARGE)) == LARGE


@every_refusal
def test_a_read_that_is_refused_in_the_middle_is_said_and_works_again_afterwards(
    store: S3Store, faulty: FaultyBucket, write: Write, code: str
) -> None:
    digest = write(LARGE)
    with store.open(digest) as blob:
        begun = blob.read(100)
        faulty.fail(Fault(status=STATUSES[code], code=code))
        with pytest.raises(Internal) as caught:
            blob.read()
        assert MESSAGES[code] in str(caught.value)
        with pytest.raises(Internal) as caught:  # an answer to HEAD does not say why
            store.size(digest)
        assert MESSAGES[code] in str(caught.value)
    faulty.heal()
    assert store.read(digest) == LARGE
    assert begun == LARGE[:100]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST"])
def test_a_server_that_accepts_connections_and_never_answers_is_given_up(
    store: S3Store, faulty: FaultyBucket, write: Write, method: str
) -> None:
    digest = write(SMALL)
    faulty.fail(Fault(method=method, hangs=True))
    attempts: dict[str, Callable[[], object]] = {
        "GET": lambda: store.read(digest),
        "HEAD": lambda: store.size(digest),
        "PUT": lambda: write(b"another"),
        "POST": lambda: write(LARGE),
    }
    with pytest.raises(Unavailable, match="cannot be reached, or did not answer in time"):
        attempts[method]()
    faulty.heal()
    assert store.read(digest) == SMALL


@pytest.mark.parametrize("target", ["list-type", "uploads"])
def test_a_list_that_does_not_come_is_given_up(store: S3Store, faulty: FaultyBucket, target: str) -> None:
    faulty.fail(Fault(target=target, status=503, code="SlowDown", times=2))
    assert list(store.unnamed(0)) == []
    faulty.fail(Fault(target=target, hangs=True))
    with pytest.raises(Unavailable, match="cannot be reached, or did not answer in time"):
        list(store.unnamed(0))


@pytest.mark.parametrize("cut", [0, 1000, 100_000])
def test_an_answer_that_is_cut_is_continued(store: S3Store, faulty: FaultyBucket, write: Write, cut: int) -> None:
    digest = write(LARGE)
    faulty.fail(Fault(method="GET", cut=cut, times=COUNT))
    faulty.seen.clear()
    assert store.read(digest) == LARGE
    ranges = [asked for method, _, asked in faulty.seen if method == "GET"]
    assert len(ranges) == len(set(ranges)) or cut == 0


@pytest.mark.parametrize("cut", [0, 1000])
def test_an_answer_that_is_always_cut_ends_the_read(store: S3Store, faulty: FaultyBucket, write: Write, cut: int) -> None:
    digest = write(LARGE)
    faulty.fail(Fault(method="GET", cut=cut))
    with pytest.raises(Unavailable, match="cannot be reached"):
        store.read(digest)


@pytest.mark.parametrize("cut", [0, 1000])
def test_an_answer_that_is_shorter_than_it_should_be_is_not_taken_for_a_blob(
    store: S3Store, faulty: FaultyBucket, write: Write, cut: int
) -> None:
    digest = write(LARGE)
    faulty.fail(Fault(method="GET", cut=cut, claims_whole=True, times=2))
    assert store.read(digest) == LARGE
    faulty.fail(Fault(method="GET", cut=cut, claims_whole=True))
    with pytest.raises(Internal, match="is shorter than it was"):
        store.read(digest)


@pytest.mark.parametrize("target", [pytest.param("uploadId", id="the end"), pytest.param("partNumber", id="a part")])
@pytest.mark.parametrize("fault", [Fault(cut=0, times=1), Fault(status=200, code="InternalError", times=1)], ids=["lost", "an error in it"])
def test_an_upload_whose_answer_is_lost_or_has_an_error_is_whole(
    store: S3Store, faulty: FaultyBucket, write: Write, target: str, fault: Fault
) -> None:
    faulty.fail(Fault(method="POST", target=target, cut=fault.cut, status=fault.status, code=fault.code, times=1))
    assert store.read(write(LARGE)) == LARGE


def test_where_listing_is_denied_all_else_works_and_an_absent_object_is_no_absent_bucket(
    store: S3Store, faulty: FaultyBucket, write: Write, metadata: MetadataStore
) -> None:
    """As Amazon answers to those who may not list: 403 for an object that does not exist."""
    faulty.fail(Fault(method="GET", target=r"list-type|[?&]uploads=", status=403, code="AccessDenied"))
    faulty.fail(Fault(instead_of=404, status=403, code="AccessDenied"))
    assert "denies access (AccessDenied)" in store.listing_problem()
    assert store.claim("id") == "id"
    store.check()
    assert store.read(write(LARGE)) == LARGE
    unseen = collect_garbage(metadata, store).unseen
    assert [sentence.partition(":")[0] for sentence in unseen] == [
        "objects without a row were not looked for",
        "unfinished uploads were not looked for",
    ]


def test_a_bucket_that_lists_has_no_problem(store: S3Store) -> None:
    assert store.listing_problem() == ""


@pytest.mark.parametrize("status", [500, 502, 504])
def test_errors_of_the_server_pass(store: S3Store, faulty: FaultyBucket, write: Write, status: int) -> None:
    faulty.fail(Fault(times=2, status=status))
    assert store.read(write(SMALL)) == SMALL
    faulty.fail(Fault(status=status))
    with pytest.raises(EngineError) as caught:
        write(b"another")
    assert isinstance(caught.value, Unavailable)


def test_a_few_blobs_are_asked_for_at_once(store: S3Store, faulty: FaultyBucket, write: Write) -> None:
    blobs = {write(bytes([number]) * number): number for number in range(1, 13)}
    faulty.fail(Fault(method="HEAD", hangs=True))
    faulty.seen.clear()
    with ThreadPoolExecutor(1) as asking:
        places = asking.submit(store.places, [*blobs, Digest.of(b"absent")])
        poll(lambda: len(faulty.seen) == 8)
        faulty.heal()
        assert {digest: place.size for digest, place in places.result().items()} == blobs


def test_blobs_that_cannot_be_asked_for_are_given_up_together(store: S3Store, faulty: FaultyBucket, write: Write) -> None:
    blobs = [write(bytes([number])) for number in range(12)]
    faulty.seen.clear()
    faulty.fail(Fault(method="HEAD", hangs=True))
    with pytest.raises(Unavailable):
        store.places(blobs)
    assert len(faulty.seen) <= 2 * 8

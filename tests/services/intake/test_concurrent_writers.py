"""Writers of one blob: one at a time, and nobody held up by one who brings too little."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.leases import hold
from stowage.services.gc.verify import verify_store
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.intake.ingest import store_blob
from stowage.services.oci.digest import Digest
from stowage.services.registry.repository import BlobStream
from tests.builders import Layout, make_layer
from tests.fake_registry import FakeRegistry
from tests.services.intake.fetching import fetch_blob
from tests.waiting import poll

CONTENT = make_layer("layer", 300_000)
DIGEST = Digest.of(CONTENT)
HALF = len(CONTENT) // 2
SECONDS = 20


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """An engine that watches others for a moment only."""
    return replace(engine, limits=replace(engine.limits, turn_seconds=0.1))


class Stream:
    def __init__(self, offset: int, chunks: Iterator[bytes]) -> None:
        self.offset = offset
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def suspect(self) -> None:
        """Nobody else has it."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Remote:
    """A registry; with `stops` it sends a part, and the rest when `goes_on` is set."""

    stops: bool = False
    asked: list[int] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, offset: int) -> BlobStream:
        self.asked.append(offset)
        return Stream(offset, self.chunks(offset))

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        middle = offset + 100 if self.stops else offset
        yield CONTENT[offset:middle]
        if self.stops:
            assert self.goes_on.wait(SECONDS)
        yield CONTENT[middle:]


def fetch(engine: Engine, remote: Remote) -> None:
    with hold(engine.metadata, engine.content, "fetch", keep_on_failure=True) as lease:
        fetch_blob(engine, lease, remote, digest=DIGEST, size=len(CONTENT))


def is_present(engine: Engine) -> bool:
    with engine.metadata.read() as tx:
        return bool(tx.graph.present([DIGEST])) and engine.content.read(DIGEST) == CONTENT


def findings(engine: Engine) -> list[str]:
    return [finding.sentence for finding in verify_store(engine.metadata, engine.content)]


@contextmanager
def running(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(SECONDS)
        assert not thread.is_alive()


@contextmanager
def stopped_load(engine: Engine) -> Iterator[None]:
    """A `docker load` that has brought half of a layer; inside nothing comes, and then the rest."""
    goes_on = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield CONTENT[:HALF]
        assert goes_on.wait(SECONDS)
        yield CONTENT[HALF:]

    def load() -> None:
        with hold(engine.metadata, engine.content, "load") as lease:
            store_blob(engine, lease, chunks(), digest=DIGEST, size=len(CONTENT))

    with running(load):
        poll(lambda: engine.content.partial_size(str(DIGEST)) == HALF)
        try:
            yield
        finally:
            goes_on.set()


def test_a_load_that_has_stopped_holds_up_no_pull(engine: Engine) -> None:
    remote = Remote()
    with hold(engine.metadata, engine.content, "observer") as lease:
        lease.add([DIGEST])
        with stopped_load(engine):
            fetch(engine, remote)
            assert is_present(engine)
            assert remote.asked == [0]
        assert is_present(engine)
        assert findings(engine) == []


def test_a_registry_that_drips_holds_up_no_load(engine: Engine) -> None:
    drip = Remote(stops=True)
    with running(lambda: fetch(engine, drip)), hold(engine.metadata, engine.content, "load") as lease:
        poll(lambda: drip.asked)
        store_blob(engine, lease, iter([CONTENT]), digest=DIGEST, size=len(CONTENT))
        assert is_present(engine)
        drip.goes_on.set()
    assert findings(engine) == []


def test_a_writer_that_brings_enough_is_waited_for(engine: Engine) -> None:
    patient = replace(engine, limits=replace(engine.limits, least_rate=1, turn_seconds=0.5))
    remote = Remote()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(CONTENT), 20_000):
            yield CONTENT[start : start + 20_000]
            time.sleep(0.04)

    def trickle() -> None:
        with hold(engine.metadata, engine.content, "trickle") as lease:
            store_blob(engine, lease, chunks(), digest=DIGEST, size=len(CONTENT))

    with running(trickle):
        poll(lambda: engine.content.partial_size(str(DIGEST)))
        fetch(patient, remote)
    assert remote.asked == []


def test_those_who_do_not_wait_write_beside_each_other_and_the_last_rename_wins(engine: Engine) -> None:
    first, second = Remote(stops=True), Remote(stops=True)
    with hold(engine.metadata, engine.content, "observer") as lease:
        lease.add([DIGEST])
        with stopped_load(engine), running(lambda: fetch(engine, first)), running(lambda: fetch(engine, second)):
            poll(lambda: first.asked and second.asked)
            for remote in (first, second):
                remote.goes_on.set()
        assert first.asked == second.asked == [0]
        assert is_present(engine)
        assert findings(engine) == []


def test_whoever_waits_for_two_that_have_stopped_goes_on_alone(engine: Engine) -> None:
    second, third = Remote(stops=True), Remote()
    with hold(engine.metadata, engine.content, "observer") as lease:
        lease.add([DIGEST])
        with stopped_load(engine), running(lambda: fetch(engine, second)):
            poll(lambda: second.asked)
            fetch(engine, third)
            assert is_present(engine)
            second.goes_on.set()
        assert is_present(engine)
        assert findings(engine) == []


def test_whoever_reads_again_what_was_there_is_waited_for(engine: Engine) -> None:
    """The holder waits for its disk alone, so that nobody would be faster."""
    with engine.content.ingest(str(DIGEST)) as ingest:
        ingest.write(CONTENT)
        ingest.keep()
    reading, watched, remote = threading.Event(), threading.Event(), Remote()
    looked: list[float] = []

    def read_slowly() -> None:
        reading.set()
        assert watched.wait(SECONDS)

    def waiting() -> None:
        looked.append(time.monotonic())
        if looked[-1] - looked[0] > 5 * engine.limits.turn_seconds:
            watched.set()

    def first() -> None:
        with hold(engine.metadata, engine.content, "first") as lease:
            fetch_blob(engine, lease, remote, digest=DIGEST, size=len(CONTENT), waiting=read_slowly)

    with running(first), hold(engine.metadata, engine.content, "second") as lease:
        assert reading.wait(SECONDS)
        fetch_blob(engine, lease, remote, digest=DIGEST, size=len(CONTENT), waiting=waiting)
    assert watched.is_set()
    assert remote.asked == []


def test_a_writer_with_more_bytes_than_the_blob_has_is_not_waited_for(engine: Engine) -> None:
    began, over = threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield bytes(len(CONTENT) + 1)
        began.set()
        while not over.wait(0.01):
            yield bytes(5000)

    def load() -> None:
        with pytest.raises(InvalidContent), hold(engine.metadata, engine.content, "load") as lease:
            store_blob(engine, lease, chunks(), digest=DIGEST, size=1 << 40)

    with running(load), hold(engine.metadata, engine.content, "fetch") as lease:
        assert began.wait(SECONDS)
        fetch_blob(engine, lease, Remote(), digest=DIGEST, size=len(CONTENT))
        assert not over.is_set()
        assert is_present(engine)
        over.set()


def test_wrong_bytes_of_a_writer_that_has_stopped_spoil_no_pull(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer("blob", 400_000)], compression="none")
    layer = next(digest for digest, content in layout.blobs.items() if len(content) > 400_000)
    with FakeRegistry().serve() as registry:
        reference = pull_reference(registry.publish(layout, image), "1")
        goes_on, lies = threading.Event(), bytes(400_000)

        def chunks() -> Iterator[bytes]:
            yield lies
            assert goes_on.wait(SECONDS)

        def load() -> None:
            with pytest.raises(InvalidContent), hold(engine.metadata, engine.content, "load") as lease:
                store_blob(engine, lease, chunks(), digest=Digest.parse(layer), size=len(layout.blobs[layer]))

        with running(load):
            poll(lambda: engine.content.partial_size(layer) == len(lies))
            lines = list(pull_image(engine, reference))
            assert lines[-1].status.startswith("Status: Downloaded newer image")
            goes_on.set()
        offsets = [request.headers.get("Range", "") for request in registry.requests if request.path.endswith(layer)]
    assert offsets == [""]
    assert findings(engine) == []


def test_a_file_that_is_published_beside_is_not_taken_up_before_its_row(engine: Engine) -> None:
    """The first writer comes to its turn between the rename and the row of another: a row without a file would be damage."""
    waits, remote = threading.Event(), Remote()
    with hold(engine.metadata, engine.content, "beside") as lease:
        lease.add([DIGEST])

        def first() -> None:
            with hold(engine.metadata, engine.content, "first") as own:
                fetch_blob(engine, own, remote, digest=DIGEST, size=len(CONTENT), waiting=waits.set)

        with engine.content.ingest(f"{DIGEST}:beside") as ingest:
            ingest.write(CONTENT)
            ingest.commit(DIGEST)
            thread = threading.Thread(target=first)
            thread.start()
            assert waits.wait(SECONDS)
            assert engine.content.size(DIGEST) == len(CONTENT)
            with engine.metadata.write() as tx:
                tx.graph.add_blob(DIGEST, len(CONTENT), 1)
        thread.join(SECONDS)
        assert is_present(engine)
    assert remote.asked == []


def test_a_blob_that_was_swept_meanwhile_is_published_again(engine: Engine) -> None:
    """The one who went beside is gone and its blob with it; the slow one then brings its own."""
    slow = Remote(stops=True)
    with hold(engine.metadata, engine.content, "observer") as lease:
        with running(lambda: fetch_blob(engine, lease, slow, digest=DIGEST, size=len(CONTENT))):
            poll(lambda: engine.content.partial_size(str(DIGEST)) == 100)
            fetch(engine, Remote())
            with engine.metadata.write() as tx:
                tx.leases.end(lease._id)
            assert collect_garbage(engine.metadata, engine.content).blobs == {DIGEST: len(CONTENT)}
            assert engine.content.size(DIGEST) is None
            slow.goes_on.set()
        assert is_present(engine)

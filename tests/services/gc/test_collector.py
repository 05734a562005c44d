"""The sweep: nothing kept is lost, nothing unkept stays, whoever runs at the same time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.gc.collector import ORPHAN_GRACE_SECONDS, collect_garbage, sweep
from stowage.services.gc.leases import hold
from stowage.services.intake.ingest import store_bytes
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci.digest import Digest
from tests.builders import Layout, make_layer, partial_layout, put_image, simple_layout
from tests.engines import ON_EVERY_DATABASE

pytestmark = ON_EVERY_DATABASE


def stored(engine: Engine) -> set[Digest]:
    """Every blob, having checked that rows and files agree."""
    with engine.metadata.read() as tx:
        rows = tx.graph.all_blobs()
    assert rows == dict(engine.content.blobs())
    return set(rows)


def untag(engine: Engine, name: str) -> None:
    with engine.metadata.write() as tx:
        tx.images.delete([f"docker.io/library/{name}:latest"])


def write_orphan(engine: Engine, content: bytes, *, age: int = 0) -> Digest:
    with engine.content.ingest("orphan") as ingest:
        ingest.write(content)
        digest = ingest.commit()
    then = time.time() - age
    with engine.content.open(digest) as blob:
        os.utime(blob.name, (then, then))
    return digest


def two_images() -> tuple[Layout, Layout]:
    first, second = Layout(), Layout()
    first.tag(first.image([make_layer("base"), make_layer("first")]))
    second.tag(second.image([make_layer("base"), make_layer("second")]))
    return first, second


def test_only_what_another_image_lacks_is_swept(engine: Engine) -> None:
    first, second = two_images()
    target = put_image(engine, "first", first)
    put_image(engine, "second", second)
    untag(engine, "first")
    swept = sweep(engine.metadata, engine.content, [target])
    lost = {Digest.parse(text): len(blob) for text, blob in first.blobs.items() if text not in second.blobs}
    assert swept.blobs == lost
    assert swept.bytes == sum(lost.values())
    assert stored(engine) == set(map(Digest.parse, second.blobs))


def test_the_blobs_that_were_dealt_with_are_reported(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.image([make_layer(str(number)) for number in range(100)]))
    put_image(engine, "many", layout)
    untag(engine, "many")
    steps: list[tuple[int, int]] = []
    collect_garbage(engine.metadata, engine.content, lambda done, total: steps.append((done, total)))
    assert steps == [(0, 102), (64, 102)]


def test_a_file_that_cannot_be_deleted_leaves_no_others(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    target = put_image(engine, "app")
    untag(engine, "app")
    stuck, *others = sorted(stored(engine))
    assert isinstance(engine.content, FilesystemStore)
    delete = engine.content._delete

    def refuse(digest: Digest) -> int | None:
        if digest == stuck:
            raise Internal("Operation not permitted")
        return delete(digest)

    monkeypatch.setattr(engine.content, "_delete", refuse)
    with pytest.raises(Internal, match="Operation not permitted"):
        sweep(engine.metadata, engine.content, [target])
    assert others
    assert dict(engine.content.blobs()).keys() == {stuck}


def test_candidates_that_are_kept_or_unknown_are_left_alone(engine: Engine) -> None:
    target = put_image(engine)
    before = stored(engine)
    assert sweep(engine.metadata, engine.content, [target, Digest.of(b"unknown")]).blobs == {}
    assert stored(engine) == before


def test_more_than_one_batch(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        digests = {store_bytes(engine, lease, str(number).encode()) for number in range(150)}
        assert stored(engine) == digests
    assert stored(engine) == set()


def test_a_partial_index_goes_whole(engine: Engine) -> None:
    target = put_image(engine, "partial", partial_layout())
    untag(engine, "partial")
    sweep(engine.metadata, engine.content, [target])
    assert stored(engine) == set()


def test_what_is_being_published_is_skipped_and_taken_the_next_time(engine: Engine) -> None:
    layout = simple_layout()
    target = put_image(engine, "simple", layout)
    untag(engine, "simple")
    with engine.content.locked(target):
        swept = sweep(engine.metadata, engine.content, [target])
        assert target not in swept.blobs
        assert stored(engine) == {target}
    assert set(sweep(engine.metadata, engine.content, [target]).blobs) == {target}


def test_a_skipped_layer_leaves_no_manifest_that_lacks_a_blob(engine: Engine) -> None:
    """The manifest's lock is free and the layer's is not, and the other way round: in both cases no manifest row is incomplete."""
    layout = simple_layout()
    target = put_image(engine, "simple", layout)
    with engine.metadata.read() as tx:
        sizes = tx.graph.content_sizes([target])
    untag(engine, "simple")
    with engine.content.locked(target):
        sweep(engine.metadata, engine.content, [target])
    with engine.metadata.read() as tx:
        assert tx.graph.manifest(target) is None
    put_image(engine, "simple", layout)
    with engine.metadata.read() as tx:
        assert tx.graph.content_sizes([target]) == sizes


class Interrupting(MetadataStore):
    """A metadata store that lets somebody else act just before a sweep's removing transaction."""

    def __init__(self, url: str, act: Callable[[], object]) -> None:
        super().__init__(url, event_history=4096)
        self._act = act

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        self._act()
        with super().write() as tx:
            yield tx


def test_a_writer_that_leases_between_mark_and_sweep_keeps_its_blobs(engine: Engine, database_url: str) -> None:
    layout = simple_layout()
    target = put_image(engine, "simple", layout)
    untag(engine, "simple")
    with hold(engine.metadata, engine.content, "late writer") as lease:
        with closing(Interrupting(database_url, lambda: lease.add([target]))) as interrupting:
            assert sweep(interrupting, engine.content, [target]).blobs == {}
        assert stored(engine) == set(map(Digest.parse, layout.blobs))


def test_a_name_given_between_mark_and_sweep_keeps_the_image(engine: Engine, database_url: str) -> None:
    layout = simple_layout()
    target = put_image(engine, "simple", layout)
    untag(engine, "simple")
    with closing(Interrupting(database_url, lambda: put_image(engine, "again", layout))) as interrupting:
        sweep(interrupting, engine.content, [target])
    assert stored(engine) == set(map(Digest.parse, layout.blobs))


class TestCollectGarbage:
    def test_an_empty_store(self, engine: Engine) -> None:
        assert collect_garbage(engine.metadata, engine.content).bytes == 0

    def test_it_finds_what_no_sweep_was_told_of(self, engine: Engine) -> None:
        first, second = two_images()
        put_image(engine, "first", first)
        put_image(engine, "second", second)
        untag(engine, "first")
        collect_garbage(engine.metadata, engine.content)
        assert stored(engine) == set(map(Digest.parse, second.blobs))

    def test_an_old_orphan_is_removed_and_a_young_one_left_for_its_writer(self, engine: Engine) -> None:
        young = write_orphan(engine, b"young")
        old = write_orphan(engine, b"old", age=ORPHAN_GRACE_SECONDS + 1)
        assert collect_garbage(engine.metadata, engine.content).blobs == {old: 3}
        assert [digest for digest, _ in engine.content.blobs()] == [young]

    def test_an_orphan_that_an_index_lists_is_removed_unless_a_lease_keeps_it(self, engine: Engine) -> None:
        whole, partial = Layout(), partial_layout()
        whole.multi_platform(("linux/amd64", "linux/arm64/v8"))
        put_image(engine, "partial", partial)
        listed = [each["digest"] for each in json.loads(partial.blobs[partial.manifests[0]["digest"]])["manifests"]]
        orphans = [
            write_orphan(engine, whole.blobs[digest], age=ORPHAN_GRACE_SECONDS + 1) for digest in listed if digest not in partial.blobs
        ]
        with hold(engine.metadata, engine.content, "pull") as lease:
            lease.add(orphans[:1])
            assert collect_garbage(engine.metadata, engine.content).blobs.keys() == set(orphans[1:]) != set()
        collect_garbage(engine.metadata, engine.content)
        assert stored(engine) == {Digest.parse(digest) for digest in partial.blobs}

    def test_the_partial_of_a_broken_pull_is_removed(self, engine: Engine) -> None:
        key = Digest.of(b"whole blob")
        with (
            suppress(RuntimeError),
            hold(engine.metadata, engine.content, "pull", keep_on_failure=True) as lease,
            engine.content.ingest(str(key)) as ingest,
        ):
            lease.add([key])
            ingest.write(b"whole b")
            ingest.keep()
            raise RuntimeError
        swept = collect_garbage(engine.metadata, engine.content)
        assert (swept.other_bytes, swept.bytes, swept.blobs) == (7, 7, {})

    def test_the_partial_of_a_blob_that_is_leased_is_left(self, engine: Engine) -> None:
        key = Digest.of(b"whole blob")
        with hold(engine.metadata, engine.content, "pull") as lease:
            lease.add([key])
            with engine.content.ingest(str(key)) as ingest:
                ingest.write(b"whole b")
                ingest.keep()
            assert collect_garbage(engine.metadata, engine.content).bytes == 0
        assert [name for name, _, _ in engine.content.partials()] == [str(key)]

    def test_the_partial_of_a_running_writer_is_left(self, engine: Engine) -> None:
        with engine.content.ingest("import") as ingest:
            ingest.write(b"half")
            assert collect_garbage(engine.metadata, engine.content).bytes == 0
            ingest.write(b" and half")
            digest = ingest.commit()
        assert digest == Digest.of(b"half and half")

    def test_the_partial_of_a_dead_writer_is_removed(self, engine: Engine) -> None:
        with engine.content.ingest("import") as ingest:
            ingest.write(b"half")
            ingest.keep()
        assert collect_garbage(engine.metadata, engine.content).other_bytes == 4
        assert list(engine.content.partials()) == []

    @pytest.mark.parametrize("marked", [True, False])
    def test_the_partial_of_a_blob_that_is_here_is_left_only_while_it_is_damaged(self, engine: Engine, marked: bool) -> None:
        digest = put_image(engine, "simple")
        with engine.content.ingest(str(digest)) as ingest:
            ingest.write(b"left")
            ingest.keep()
        with engine.metadata.write() as tx:
            tx.graph.mark(digest, "has no file" if marked else None)
        assert collect_garbage(engine.metadata, engine.content).other_bytes == (0 if marked else 4)

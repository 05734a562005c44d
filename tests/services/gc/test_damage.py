"""What a glance sees of a blob, and when a mark is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.gc.damage import mark_blob, sound_blobs
from stowage.services.gc.leases import hold
from stowage.services.intake.ingest import store_blob
from stowage.services.oci.digest import Digest
from tests.damage import Spoil, blob_file, damages, flip, lose, shorten

SMALL, LARGE = b"small", bytes(100_000)


def sound(engine: Engine, *digests: Digest) -> set[Digest]:
    with engine.metadata.read() as tx:
        return sound_blobs(engine.content, tx.graph.unmarked(digests))


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def digest(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Digest]:
    with hold(engine.metadata, engine.content, "test") as lease:
        yield store_blob(engine, lease, [request.param]).digest


def test_a_blob_with_its_file_is_sound(engine: Engine, digest: Digest) -> None:
    assert sound(engine, digest, Digest.of(b"absent")) == {digest}


@pytest.mark.parametrize("spoil", [lose, shorten])
def test_a_lost_or_cut_file_is_seen_in_a_glance(engine: Engine, digest: Digest, spoil: Spoil) -> None:
    spoil(blob_file(engine, digest))
    assert sound(engine, digest) == set()


def test_a_flipped_bit_is_seen_in_a_glance_in_small_blobs_only(engine: Engine, digest: Digest) -> None:
    file = blob_file(engine, digest)
    large = file.stat().st_size == len(LARGE)
    flip(file)
    assert sound(engine, digest) == ({digest} if large else set())


def test_what_cannot_be_read_is_not_sound(engine: Engine, digest: Digest) -> None:
    """A folder stands where the file was, of its very size."""
    file = blob_file(engine, digest)
    file.unlink()
    file.mkdir()
    with engine.metadata.write() as tx:
        tx.graph.add_blob(digest, file.stat().st_size, 1)
    assert sound(engine, digest) == set()


def test_a_marked_blob_is_not_sound_whatever_its_file_is(engine: Engine, digest: Digest) -> None:
    mark_blob(engine.metadata, engine.content, digest, "has no file", version=engine.content.version(digest))
    assert damages(engine) == {digest: "has no file"}
    assert sound(engine, digest) == set()


def test_a_file_that_was_replaced_meanwhile_is_not_marked(engine: Engine, digest: Digest) -> None:
    version = engine.content.version(digest)
    flip(blob_file(engine, digest))
    mark_blob(engine.metadata, engine.content, digest, "has no file", version=version)
    assert damages(engine) == {}


def test_a_file_that_came_meanwhile_is_not_marked(engine: Engine, digest: Digest) -> None:
    mark_blob(engine.metadata, engine.content, digest, "has no file", version=None)
    assert damages(engine) == {}


def test_what_a_writer_replaces_at_the_moment_is_not_marked(engine: Engine, digest: Digest) -> None:
    with engine.content.ingest(str(digest)) as ingest, ingest.locking():
        mark_blob(engine.metadata, engine.content, digest, "has no file", version=engine.content.version(digest))
    assert damages(engine) == {}


def test_what_was_swept_meanwhile_gets_no_row(engine: Engine, digest: Digest) -> None:
    version = engine.content.version(digest)
    with engine.metadata.write() as tx:
        tx.graph.remove([digest])
    mark_blob(engine.metadata, engine.content, digest, "has no file", version=version)
    with engine.metadata.read() as tx:
        assert tx.graph.all_blobs() == {}


def test_a_mark_that_cannot_be_made_hides_nothing(engine: Engine, digest: Digest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.rename(tmp_path / "root/locks", tmp_path / "root/elsewhere")
    mark_blob(engine.metadata, engine.content, digest, "has no file", version=engine.content.version(digest))
    assert f"could not mark blob {digest}" in caplog.text
    assert damages(engine) == {}

"""Which database may claim a content folder, and which may not even look after it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.metadata.store import MetadataStore, upgrade
from stowage.services.oci.digest import Digest
from stowage.services.store.identity import is_one_store
from tests.builders import Layout, make_layer, put_image
from tests.engines import PLATFORM, metadata_store


@pytest.fixture
def other(tmp_path: Path) -> Iterator[MetadataStore]:
    """The database of another store."""
    upgrade(f"sqlite:///{tmp_path}/other.db", PLATFORM)
    store = metadata_store(f"sqlite:///{tmp_path}/other.db")
    yield store
    store.close()


def write_blob(engine: Engine, content: bytes) -> None:
    """A file without a row."""
    with engine.content.ingest("unknown") as ingest:
        ingest.write(content)
        ingest.commit()


def test_a_new_folder_is_claimed_by_the_first_database(engine: Engine, other: MetadataStore) -> None:
    assert is_one_store(engine.metadata, engine.content)
    assert engine.content.store_id() == engine.metadata.store_id()
    assert is_one_store(engine.metadata, engine.content)
    assert not is_one_store(other, engine.content)
    assert engine.content.store_id() == engine.metadata.store_id()


def test_a_folder_with_partials_alone_is_new(engine: Engine) -> None:
    with engine.content.ingest("partial") as ingest:
        ingest.write(b"half")
        ingest.keep()
    assert is_one_store(engine.metadata, engine.content)


def test_a_folder_from_before_ids_is_that_of_the_database_that_knows_its_blobs(engine: Engine, other: MetadataStore) -> None:
    put_image(engine)
    write_blob(engine, b"left by a killed process")
    assert not is_one_store(other, engine.content)
    assert engine.content.store_id() is None
    assert is_one_store(engine.metadata, engine.content)
    assert engine.content.store_id() == engine.metadata.store_id()


def test_a_layer_that_two_stores_have_makes_them_not_one(engine: Engine, other: MetadataStore) -> None:
    layout = Layout()
    layout.tag(layout.image([make_layer("base"), make_layer("own")]))
    put_image(engine, "ours", layout)
    base = next(iter(layout.blobs))
    with other.write() as tx:
        tx.graph.add_blob(Digest.parse(base), len(layout.blobs[base]), 1)
    assert not is_one_store(other, engine.content)


def test_a_folder_with_the_id_of_another_store_is_refused_whatever_is_known_of_it(engine: Engine) -> None:
    put_image(engine)
    assert engine.content.claim("another") == "another"
    assert not is_one_store(engine.metadata, engine.content)


@pytest.mark.parametrize(("known", "one"), [(2, False), (3, True), (6, True)])
def test_half_of_the_blobs_must_be_known(engine: Engine, known: int, one: bool) -> None:
    contents = [str(number).encode() for number in range(6)]
    for content in contents:
        write_blob(engine, content)
    with engine.metadata.write() as tx:
        for content in contents[:known]:
            tx.graph.add_blob(Digest.of(content), len(content), 1)
    assert is_one_store(engine.metadata, engine.content) is one
    assert (engine.content.store_id() is not None) is one


def test_a_folder_without_blobs_is_not_that_of_a_database_with_images(engine: Engine, tmp_path: Path) -> None:
    put_image(engine)
    unmounted = FilesystemStore(tmp_path / "unmounted")
    assert not is_one_store(engine.metadata, unmounted)
    assert unmounted.store_id() is None


class Endless(FilesystemStore):
    """A folder whose blobs never end."""

    def blobs(self) -> Iterator[tuple[Digest, int]]:
        return ((Digest.of(str(number).encode()), 1) for number in itertools.count())


def test_a_bounded_number_of_blobs_is_looked_at(metadata: MetadataStore, tmp_path: Path) -> None:
    assert not is_one_store(metadata, Endless(tmp_path / "endless"))

"""What many images have in common is described once for all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import event

from stowage.services.metadata import labels
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci import mediatypes
from tests.rows import add_blobs, add_image, add_index, descriptor, image_facts

MANY = 50


def manifests(indexes: int) -> list[str]:
    return [f"manifest {number} of {indexes}" for number in range(500)]


def add_common(store: MetadataStore, indexes: int) -> None:
    """An index of hundreds of manifests, of which one is present, that this many others list."""
    present, late, *_ = manifests(indexes)
    with store.write() as tx:
        add_image(tx, present, ["layer"])
        add_index(tx, f"common of {indexes}", manifests(indexes))
        for number in range(indexes):
            label = f"index {number} of {indexes}"
            name = f"docker.io/library/{label.replace(' ', '-')}:1"
            add_index(tx, label, [f"common of {indexes}"], name=name, listed_type=mediatypes.OCI_INDEX)
        add_blobs(tx, [late, f"{late}.config"])


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    add_common(metadata, MANY)
    return metadata


def add_manifest(tx: Transaction, indexes: int) -> None:
    tx.graph.add_manifest(image_facts(manifests(indexes)[1], ["layer"]), b"{}")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the labels that are hashed."""
    keys: list[str] = []
    label_hash = labels.label_hash

    def counted(key: str, value: str | None = None) -> int:
        keys.append(key)
        return label_hash(key, value)

    monkeypatch.setattr(labels, "label_hash", counted)
    return keys


def test_the_labels_below_many_indexes_are_read_once(store: MetadataStore, hashed: list[str]) -> None:
    with store.write() as tx:
        add_manifest(tx, MANY)
    assert len(hashed) <= 8


def test_the_labels_of_a_manifest_that_an_index_lists_many_times_are_read_once(metadata: MetadataStore, hashed: list[str]) -> None:
    with metadata.write() as tx:
        add_image(tx, "image", ["layer"])
        add_index(tx, "index", ["image"] * 50, name="docker.io/library/index:1")
    assert len(hashed) <= 4


def test_of_more_labels_than_are_found_by_their_hash_none_is_hashed(metadata: MetadataStore, hashed: list[str]) -> None:
    many = {str(number): "" for number in range(257)}
    with metadata.write() as tx:
        add_blobs(tx, ["image", "image.config"])
        tx.graph.add_manifest(replace(image_facts("image", []), labels=many), b"{}")
        tx.images.put("docker.io/library/image:1", descriptor("image"), 1)
    assert hashed == []


def test_many_names_are_deleted_together(metadata: MetadataStore) -> None:
    names = [f"docker.io/library/name{number}:1" for number in range(400)]
    with metadata.write() as tx:
        add_image(tx, "image", ["layer"])
        for name in names:
            tx.images.put(name, descriptor("image"), 1)
    statements: list[str] = []
    with metadata.write() as tx:
        event.listen(tx.graph._connection, "before_cursor_execute", lambda *call: statements.append(call[2]))
        tx.images.delete(names)
        tx.events.flush()
    assert len(statements) < 20
    with metadata.read() as tx:
        assert tx.images.count() == 0

"""The state of an image: all of its rows that can change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stowage.services.metadata.records import LayerFacts
from stowage.services.metadata.store import MetadataStore, Transaction
from stowage.services.oci import mediatypes
from tests.rows import add_blobs, add_image, add_index, descriptor, digest, image_facts

_INDEX = descriptor("index", mediatypes.OCI_INDEX)


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def test_an_image_has_the_same_state_under_its_names_and_its_id(store: MetadataStore) -> None:
    with store.write() as tx:
        add_image(tx, "m", ["l"], name="a:1")
        tx.images.put("a:2", descriptor("m"), 1)
        state = tx.images.state("a:1")
        assert state and state == tx.images.state("a:2") == tx.images.state(digest("m"))
        assert tx.images.state("a:3") == tx.images.state(digest("l")) == ()
    assert store.state("a:1") == store.state(digest("m")) == state


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda tx: tx.images.put("b:1", _INDEX, 1), id="a name is added"),
        pytest.param(lambda tx: tx.images.delete(["a:2"]), id="a name is deleted"),
        pytest.param(lambda tx: tx.images.put("a:2", descriptor("other"), 1), id="a name gets another target"),
        pytest.param(lambda tx: tx.sources.add([digest("index")], registry="r", repository="a"), id="a registry has it"),
        pytest.param(lambda tx: tx.graph.remove([digest("m.config")]), id="a manifest is removed"),
        pytest.param(lambda tx: add_image(tx, "n", ["k"]), id="a manifest is added"),
        pytest.param(lambda tx: tx.graph.add_layer(digest("l"), LayerFacts(digest("l"), 1)), id="a layer can be read"),
        pytest.param(lambda tx: tx.graph.add_blob(digest("l"), 7, 1), id="a blob has another size"),
    ],
)
def test_whatever_changes_about_an_image_changes_its_state(store: MetadataStore, change: Callable[[Transaction], object]) -> None:
    with store.write() as tx:
        add_blobs(tx, ["m", "m.config", "l"])
        tx.graph.add_manifest(image_facts("m", ["l"]), b"{}")
        add_image(tx, "other")
        add_index(tx, "index", ["m", "n"])
        for name in ("a:1", "a:2"):
            tx.images.put(name, _INDEX, 1)
    before = store.state("a:1")
    with store.write() as tx:
        change(tx)
    assert store.state("a:1") != before


def test_a_version_that_is_the_same_means_that_nothing_was_committed(store: MetadataStore, other_store: MetadataStore) -> None:
    for writer in (store, other_store):
        version = store.version()
        with writer.write() as tx:
            add_image(tx, "m" if writer is store else "n")
        assert version is None or store.version() is not version

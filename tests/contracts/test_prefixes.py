"""Blobs and layers, found by the beginning of a digest, whatever database has them."""

from __future__ import annotations

import pytest

from stowage.services.metadata.records import LayerFacts
from stowage.services.metadata.store import MetadataStore
from tests.rows import add_blobs, add_image, digest


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


@pytest.mark.parametrize("digits", [8, 12, 64])
def test_a_blob_is_found_by_the_beginning_of_its_digest_and_a_layer_by_that_of_its_diff_id(store: MetadataStore, digits: int) -> None:
    def beginning(label: str) -> str:
        return str(digest(label))[: len("sha256:") + digits]

    with store.write() as tx:
        add_image(tx, "m", ["l", "k"])
        add_blobs(tx, ["again"])
        tx.graph.add_layer(digest("again"), LayerFacts(digest("l.tar"), 9))
        for label in ("m", "l", "m.config"):
            assert tx.graph.by_prefix(beginning(label)) == [digest(label)]
        assert tx.graph.by_prefix(beginning("k.tar")) == [digest("k")]
        assert tx.graph.by_prefix(beginning("l.tar")) == [min(digest("l"), digest("again"), key=str)]
        assert tx.graph.by_prefix(beginning("absent")) == []
        assert len(tx.graph.by_prefix("sha256:")) == 2

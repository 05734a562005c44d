"""Names of images, found by what their target is, whatever database has them."""

from __future__ import annotations

import pytest

from stowage.services.metadata.store import MetadataStore
from tests.rows import add_image, descriptor, digest


@pytest.fixture
def store(metadata: MetadataStore) -> MetadataStore:
    return metadata


def test_a_prefix_of_several_ids_finds_two(store: MetadataStore) -> None:
    with store.write() as tx:
        for content in "mno":
            add_image(tx, content, name=f"b:{content}")
            tx.images.put(f"a:{content}", descriptor(content), 1)
        first, second, _ = sorted("mno", key=lambda content: str(digest(content)))
        assert [record.name for record in tx.images.by_id_prefix("")] == [f"a:{first}", f"a:{second}"]


def test_a_target_is_found_by_its_names_in_one_repository(store: MetadataStore) -> None:
    names = ["r.io/a/b:1", "r.io/a:1", "r.io/a:2", f"r.io/a@{digest('m')}", "r.io/ab:1", "r.io/b:1"]
    with store.write() as tx:
        add_image(tx, "m", name=names[0])
        add_image(tx, "n", name="r.io/a:3")
        for name in names[1:]:
            tx.images.put(name, descriptor("m"), 1)
        assert [record.name for record in tx.images.by_target(digest("m"), repository="r.io/a")] == names[1:4]
        assert [record.name for record in tx.images.by_target(digest("m"), repository="r.io/a", most=1)] == names[1:2]
        assert tx.images.by_target(digest("m"), repository="r.io/c") == []

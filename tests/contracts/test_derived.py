"""Rows that are derived from others: every difference is reported, and counting again removes it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from stowage.services.metadata.store import MetadataStore
from tests.rows import BLOB_BYTES, add_image, digest


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        pytest.param(["UPDATE target SET created = 7"], "is listed with facts that differ from its manifests", id="a place in lists"),
        pytest.param(["DELETE FROM target_label"], "is listed with facts that differ from its manifests", id="labels"),
        pytest.param(["DELETE FROM target_label", "DELETE FROM reach", "DELETE FROM target"], "is missing in lists", id="an image"),
        pytest.param(["DELETE FROM image"], "is listed without a name", id="a name"),
        pytest.param(
            [f"DELETE FROM reach WHERE digest = '{digest('layer')}'"], "with other content than its manifests list", id="lost content"
        ),
        pytest.param([f"UPDATE reach SET digest = 'x' WHERE digest = '{digest('layer')}'"], "with other content than", id="other content"),
        pytest.param(["UPDATE store SET images = 7"], "7 images are recorded instead of 2", id="their number"),
        pytest.param(["UPDATE target SET size = 5"], f"has a recorded content of 5 bytes instead of {3 * BLOB_BYTES}", id="size"),
    ],
)
def test_a_derived_row_that_is_wrong_is_reported_and_repaired(metadata: MetadataStore, statements: list[str], problem: str) -> None:
    with metadata.write() as tx:
        for name in ("a", "b"):
            add_image(tx, name, ["layer"], name=name)
    assert metadata.problems() == []
    with metadata.write() as tx:
        for statement in statements:
            tx.graph._connection.execute(text(statement))
    assert problem in " ".join(metadata.problems())
    metadata.recount()
    assert metadata.problems() == []


def test_a_wrong_number_of_images_is_reported_beside_other_problems(metadata: MetadataStore) -> None:
    with metadata.write() as tx:
        add_image(tx, "a", ["layer"], name="a")
    with metadata.write() as tx:
        for statement in ("UPDATE store SET images = 7", "UPDATE target SET size = 5"):
            tx.graph._connection.execute(text(statement))
    found = " ".join(metadata.problems())
    assert "7 images are recorded instead of 1" in found and "has a recorded content of 5 bytes" in found

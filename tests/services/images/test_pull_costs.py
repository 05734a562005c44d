"""What a pull costs the database."""

from __future__ import annotations

import io

import pytest

from stowage.services.engine import Engine
from stowage.services.images.load import load_image
from stowage.services.images.push import push_image
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from tests.builders import Layout, make_layer
from tests.fake_registry import FakeRegistry
from tests.services.images.pulls import pull
from tests.statements import counted

LAYERS = 10
WRITES = 3
"""The lease of everything, the rows of the documents, and the image, with the end of the lease."""
STATEMENTS = 52
"""Of a pull without blobs, with BEGIN, COMMIT and ROLLBACK of 6 transactions."""
BLOB_STATEMENTS = {"folder": 7, "s3": 12}
"""Of a blob that is complete while no other is; in a bucket it is looked up first."""

EVERYWHERE = pytest.mark.parametrize(
    ("database", "storage"), [("sqlite", "folder"), ("postgresql", "folder"), ("postgresql", "s3")], indirect=True
)

pytestmark = EVERYWHERE


def image(label: str, layers: int, name: str | None = None) -> tuple[Layout, dict[str, object]]:
    layout = Layout()
    made = layout.image([make_layer(f"{label} {number}") for number in range(layers)])
    if name:
        layout.tag(made, name)
    return layout, made


@pytest.fixture
def first(engine: Engine, registry: FakeRegistry) -> None:
    """Another image is pulled before: the first operation also connects, and looks for what others have left to derive."""
    pull(engine, registry.publish(*image("first", 1), "team/first"))


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("layers", [1, LAYERS, 3 * LAYERS])
def test_a_pull_costs_little_for_each_layer(engine: Engine, registry: FakeRegistry, layers: int, storage: str) -> None:
    name = registry.publish(*image("app", layers), "team/app")
    with counted() as sent:
        pull(engine, name)
    blobs = layers + 1
    assert sent.writes <= WRITES + blobs
    assert sent.statements <= STATEMENTS + BLOB_STATEMENTS[storage] * blobs


@pytest.mark.usefixtures("first")
def test_what_is_there_already_costs_little(engine: Engine, registry: FakeRegistry) -> None:
    name = registry.publish(*image("app", LAYERS), "team/app")
    pull(engine, name)
    with counted() as again:
        pull(engine, name)
    with counted() as tag:
        tag_image(engine, f"{name}:1", Reference.parse(f"{name}:2"))
    with counted() as push:
        list(push_image(engine, Reference.parse(f"{name}:2")))
    assert (again.writes, tag.writes, push.writes) == (1, 1, 2)
    assert max(again.statements, tag.statements) <= 16
    assert push.statements <= 23


@pytest.mark.usefixtures("first")
def test_a_load_costs_a_few_transactions(engine: Engine) -> None:
    archive = image("app", LAYERS, "docker.io/library/app:1")[0].to_tar()
    with counted() as load:
        list(load_image(engine, io.BytesIO(archive)))
    assert load.writes <= 7
    assert load.statements <= 65

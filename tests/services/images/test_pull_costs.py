"""What a pull costs the database."""

from __future__ import annotations

import io

import pytest

from stowage.services.engine import Engine
from stowage.services.gc import leases
from stowage.services.images.load import load_image
from stowage.services.images.push import push_image
from stowage.services.images.tag import tag_image
from stowage.services.intake import recording
from stowage.services.oci.reference import Reference
from tests.builders import Layout, make_layer
from tests.fake_registry import FakeRegistry
from tests.services.images.pulls import pull
from tests.statements import counted

LAYERS = 10
WRITES = 3
"""The lease of everything, the rows of the blobs, and the image, with the end of the lease."""
STATEMENTS = {"folder": 41, "s3": 44}
"""Of a pull, with BEGIN, COMMIT and ROLLBACK of 5 transactions. A later group of blobs costs a transaction of 7 statements more."""
ROUND_TRIPS = 48
"""Each statement is one, and one more when it is prepared because it was executed several times."""

EVERYWHERE = pytest.mark.parametrize(
    ("database", "storage"), [("sqlite", "folder"), ("postgresql", "folder"), ("postgresql", "s3")], indirect=True
)

pytestmark = EVERYWHERE


@pytest.fixture(autouse=True)
def one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """All blobs are complete within a moment, also on a busy machine."""
    monkeypatch.setattr(recording, "_MOMENT_SECONDS", 60)
    monkeypatch.setattr(leases, "_MOMENT_SECONDS", 60)


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
def test_a_pull_costs_as_much_for_any_number_of_layers(engine: Engine, registry: FakeRegistry, layers: int, storage: str) -> None:
    name = registry.publish(*image("app", layers), "team/app")
    with counted() as sent:
        pull(engine, name)
    assert sent.writes == WRITES
    assert sent.statements <= STATEMENTS[storage]
    assert sent.round_trips <= ROUND_TRIPS


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

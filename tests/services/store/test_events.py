"""What each use case tells of images: the action, the actor, and the attributes, in order."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.filters import Filters
from stowage.services.images.delete import delete_image
from stowage.services.images.import_ import import_image
from stowage.services.images.load import load_image
from stowage.services.images.prune import prune_images
from stowage.services.images.pull import pull_image
from stowage.services.images.push import push_image
from stowage.services.images.save import save_images
from stowage.services.images.tag import tag_image
from stowage.services.metadata.graph import Graph
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.store import events
from tests.builders import Layout, make_tar, on_platform, put_image, simple_layout
from tests.fake_registry import FakeRegistry
from tests.special_images import config_target

Told = tuple[str, str, dict[str, str]]

LABELLED: dict[str, Any] = {"config": {"Labels": {"a": "b"}}}


@pytest.fixture
def image(engine: Engine) -> Digest:
    """An image with a label and a name."""
    return put_image(engine, "app:1", simple_layout(**LABELLED))


def told(engine: Engine) -> list[Told]:
    with engine.metadata.read() as tx:
        found = tx.events.after(0, limit=100)
    assert {event.type for event in found} <= {"image"}
    return [(event.action, event.actor.id, dict(event.actor.attributes)) for event in found]


def labelled(action: str, actor: object, name: object) -> Told:
    return action, str(actor), {"a": "b", "name": str(name)}


def test_a_tag_tells_the_new_name_also_where_it_is_there_already(engine: Engine, image: Digest) -> None:
    for _ in range(2):
        tag_image(engine, "app:1", Reference.parse("host:5000/app:2"))
    assert told(engine) == [labelled("tag", image, "host:5000/app:2")] * 2


def test_very_long_labels_are_left_out(engine: Engine) -> None:
    digest = put_image(engine, "app:1", simple_layout(config={"Labels": {"a": "b" * (64 << 10)}}))
    tag_image(engine, "app:1", Reference.parse("app:2"))
    assert told(engine) == [("tag", str(digest), {"name": "app:2"})]


@pytest.mark.parametrize("name", [None, "host:5000/app:2"])
def test_an_import_tells_its_name_and_its_image(engine: Engine, name: str | None) -> None:
    reference = Reference.parse(name) if name else None
    *_, line = import_image(engine, io.BytesIO(make_tar({"a": b"b"})), message="", reference=reference, changes=["LABEL a=b"])
    tagged = [labelled("tag", line.status, name)] if name else []
    assert told(engine) == [*tagged, labelled("import", line.status, line.status)]


def test_a_load_tells_each_image_of_the_archive(engine: Engine) -> None:
    layout = simple_layout("docker.io/library/a:1", **LABELLED)
    layout.tag(layout.manifests[0], "docker.io/library/a:2")
    digest = layout.manifests[0]["digest"]
    list(load_image(engine, io.BytesIO(layout.to_tar())))
    assert told(engine) == [labelled("load", digest, digest)] * 2


def test_a_load_that_fails_tells_nothing(engine: Engine) -> None:
    with pytest.raises(EngineError):
        list(load_image(engine, io.BytesIO(b"nothing")))
    assert told(engine) == []


def test_a_save_tells_each_image_before_its_first_byte(engine: Engine, image: Digest) -> None:
    chunks = save_images(engine, ["app:1", str(image)])
    next(chunks)
    assert told(engine) == [labelled("save", image, image)] * 2


def test_a_save_of_one_platform_tells_its_manifest_which_is_no_image_itself(engine: Engine) -> None:
    layout = Layout()
    manifests = [on_platform(layout.image(platform=platform, **LABELLED), platform) for platform in ("linux/amd64", "linux/arm64/v8")]
    put_image(engine, "multi:1", layout, layout.index(manifests))
    list(save_images(engine, ["multi:1"], platforms=[Platform("linux", "arm64", "v8")]))
    chosen = manifests[1]["digest"]
    assert told(engine) == [("save", chosen, {"name": chosen})]


@pytest.mark.parametrize(
    ("asked", "count"), [(["app:1", "nope", "app:2"], 1), (["nope", "app:1"], 0), (["app:1", "config", "app:2"], 3)],
    ids=["before what is not here", "nothing", "all where one cannot be written"],
)  # fmt: skip
def test_a_save_that_fails_tells_what_it_had_found(engine: Engine, image: Digest, asked: list[str], count: int) -> None:
    tag_image(engine, "app:1", Reference.parse("app:2"))
    list(load_image(engine, io.BytesIO(config_target())))
    before = len(told(engine))
    with pytest.raises(EngineError):
        next(save_images(engine, asked))
    assert [action for action, *_ in told(engine)[before:]] == ["save"] * count


def test_a_pull_tells_the_reference_also_where_nothing_is_new(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout(**LABELLED)
    name = registry.publish(layout, layout.manifests[0])
    for _ in range(2):
        list(pull_image(engine, Reference.parse(f"{name}:1")))
    assert told(engine) == [labelled("pull", f"{name}:1", name)] * 2


def test_a_pull_of_a_repository_tells_every_tag(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout(**LABELLED)
    name = registry.publish(layout, layout.manifests[0])
    registry.publish(layout, layout.manifests[0], tag="2")
    list(pull_image(engine, Reference.parse(name)))
    assert told(engine) == [labelled("pull", f"{name}:1", name), labelled("pull", f"{name}:2", name)]


def test_a_push_tells_the_reference(engine: Engine, registry: FakeRegistry) -> None:
    put_image(engine, f"{registry.host}/team/app:1", simple_layout(**LABELLED))
    list(push_image(engine, Reference.parse(f"{registry.host}/team/app:1")))
    assert told(engine) == [labelled("push", f"{registry.host}/team/app:1", f"{registry.host}/team/app")]


def test_a_deleted_name_is_told_without_labels(engine: Engine, image: Digest) -> None:
    put_image(engine, "app:2", simple_layout(**LABELLED))
    delete_image(engine, "app:1")
    assert told(engine) == [("untag", str(image), {"name": "app:1"})]


def test_a_deleted_image_is_told_after_its_names(engine: Engine, image: Digest) -> None:
    put_image(engine, "app:2", simple_layout(**LABELLED))
    delete_image(engine, str(image), force=True)
    assert told(engine) == [
        ("untag", str(image), {"name": "app:1"}),
        ("untag", str(image), {"name": "app:2"}),
        ("delete", str(image), {"name": str(image)}),
    ]


def test_a_deleted_image_without_a_name_has_only_its_id(engine: Engine) -> None:
    digest = put_image(engine, None)
    delete_image(engine, str(digest))
    assert told(engine) == [("delete", str(digest), {"name": str(digest)})]


def test_a_prune_tells_every_name_every_image_that_went_and_what_came_free(engine: Engine, image: Digest) -> None:
    put_image(engine, "app:2", simple_layout(**LABELLED))
    pruned = prune_images(engine, filters=Filters.parse('{"dangling":["false"]}'))
    assert told(engine) == [
        ("untag", str(image), {"name": "app:1"}),
        ("untag", str(image), {"name": "app:2"}),
        ("delete", str(image), {"name": "app:2"}),
        ("prune", "", {"reclaimed": str(pruned.freed)}),
    ]


def test_labels_of_many_images_are_read_a_few_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    for number in range(5):
        layout.tag(layout.image([], config={"Labels": {"n": str(number)}}), f"docker.io/library/many:{number}")
    read: list[int] = []
    listed = Graph.listed

    def count(graph: Graph, targets: Iterable[Digest]) -> object:
        targets = list(targets)
        read.append(len(targets))
        return listed(graph, targets)

    monkeypatch.setattr(events, "_TARGETS", 2)
    monkeypatch.setattr(Graph, "listed", count)
    assert list(load_image(engine, io.BytesIO(layout.to_tar())))
    assert read == [2, 2, 1]
    assert [attributes["n"] for action, _, attributes in told(engine) if action == "load"] == list("01234")

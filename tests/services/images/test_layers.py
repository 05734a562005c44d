"""The layers of an image, who else has them, and pages of the list."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, ImageNotFound, NotFound
from stowage.services.filters import Filters
from stowage.services.images.browse import browse_images, find_image
from stowage.services.images.layers import read_layer_users, read_layers
from stowage.services.images.tag import tag_image
from stowage.services.metadata.records import Order, SortKey
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from tests.builders import CREATED, Layout, digest_of, make_layer, partial_layout, put_image, simple_layout


def put(engine: Engine, name: str, *labels: str, **fields: object) -> None:
    layout = Layout()
    put_image(engine, name, layout, layout.image(map(make_layer, labels), **fields))  # type: ignore[arg-type]


def test_a_layer_has_its_step_its_sizes_and_its_other_images(engine: Engine) -> None:
    history = [
        {"created": CREATED, "created_by": "ADD base"},
        {"created": CREATED, "created_by": "ENV A=1", "empty_layer": True},
        {"created": CREATED, "created_by": "RUN make"},
    ]
    put(engine, "app:1", "base", "app", history=history)
    put(engine, "app:2", "base", "two")
    base, app = read_layers(engine, "app:1")
    assert [layer.step.created_by for layer in (base, app) if layer.step] == ["ADD base", "RUN make"]
    assert (base.users, [other.name for other in base.others]) == (2, ["app:2"])
    assert (app.users, app.others, app.present) == (1, (), True)
    assert str(base.diff_id) == digest_of(make_layer("base"))
    assert base.unpacked == len(make_layer("base")) > base.size > 0


def test_few_of_many_other_images_are_named(engine: Engine) -> None:
    for number in range(6):
        put(engine, f"app:{number}", "base", str(number))
    base, _ = read_layers(engine, "app:0")
    assert (base.users, len(base.others)) == (6, 3)
    assert "app:0" not in [other.name for other in base.others]


def test_a_history_with_too_few_steps_leaves_layers_without_one(engine: Engine) -> None:
    put(engine, "app:1", "a", "b", history=[{"created_by": "ADD a"}])
    put(engine, "app:2", "c", "d", history=None)
    assert [layer.step is None for layer in read_layers(engine, "app:1")] == [False, True]
    assert [layer.step for layer in read_layers(engine, "app:2")] == [None, None]


def test_each_platform_has_its_own_layers(engine: Engine) -> None:
    put_image(engine, "multi:1", partial_layout())
    amd64 = read_layers(engine, "multi:1")
    assert read_layers(engine, "multi:1", platform=Platform("linux", "amd64")) == amd64
    assert read_layers(engine, "multi:1", platform=Platform("linux", "arm64", "v8")) == []
    with pytest.raises(NotFound, match="does not provide the specified platform"):
        read_layers(engine, "multi:1", platform=Platform("linux", "s390x"))


def test_images_with_a_layer_come_in_pages(engine: Engine) -> None:
    for number in range(5):
        put(engine, f"app:{number}", "base", str(number))
    base = read_layers(engine, "app:0")[0].digest
    first, last, beyond = (read_layer_users(engine, base, start=start, count=2) for start in (0, 4, 99))
    assert [image.name for image in first.images] == ["app:0", "app:1"]
    assert ([image.name for image in last.images], last.users) == (["app:4"], 5)
    assert (beyond.images, beyond.users) == ((), 5)
    assert [image.more_names for image in (*first.images, *last.images)] == [0, 0, 0]
    tag_image(engine, "app:4", Reference.parse("app:latest"))
    (image,) = read_layer_users(engine, base, start=4, count=2).images
    assert (image.name, image.more_names) == ("app:4", 1)
    with pytest.raises(BlobNotFound, match="there is no blob sha256:"):
        read_layer_users(engine, Digest.of(b"absent"), start=0, count=2)


def test_a_list_comes_in_pages_and_in_an_order(engine: Engine) -> None:
    for number in range(5):
        put(engine, f"app:{number}", *map(str, range(number)))
    by_size = Order(SortKey.SIZE)
    pages = [browse_images(engine, filters=Filters(), order=by_size, start=start, count=2) for start in (0, 2, 4, 50)]
    assert [[image.repo_tags[0] for image in page.images] for page in pages] == [
        ["app:4", "app:3"],
        ["app:2", "app:1"],
        ["app:0"],
        ["app:0"],
    ]
    assert {page.total for page in pages} == {5}
    filtered = browse_images(engine, filters=Filters().adding("reference", "app:1"), order=by_size, start=0, count=2)
    assert [image.repo_tags for image in filtered.images] == [("app:1",)]
    empty = browse_images(engine, filters=Filters().adding("reference", "absent"), order=by_size, start=0, count=2)
    assert (empty.total, empty.start, empty.images) == (0, 0, ())


def test_an_image_is_found_with_what_a_list_has_of_it(engine: Engine) -> None:
    digest = put_image(engine, "app:1", simple_layout())
    found = find_image(engine, "app:1")
    assert (found.id, found.repo_tags, found.shared_size, len(found.manifests)) == (digest, ("app:1",), 0, 1)
    assert find_image(engine, digest.short).id == digest
    with pytest.raises(ImageNotFound):
        find_image(engine, "absent")

"""The disk usage of images."""

from __future__ import annotations

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.gc.leases import hold
from stowage.services.images.tag import tag_image
from stowage.services.intake.ingest import store_bytes
from stowage.services.oci.reference import Reference
from stowage.services.system.df import DiskUsage, ObjectType, read_disk_usage
from tests.builders import Layout, compress, make_layer, partial_layout, put_image


def bytes_on_disk(content: FilesystemStore) -> int:
    return sum(size for _, size in content.blobs())


def told(usage: DiskUsage) -> tuple[object, ...]:
    return usage.types, list(usage.images()), usage.image_count, usage.image_bytes


def test_nothing_takes_nothing(engine: Engine) -> None:
    assert told(read_disk_usage(engine)) == (frozenset(ObjectType), [], 0, 0)


def test_every_blob_counts_once_however_often_it_is_needed(engine: Engine, content: FilesystemStore) -> None:
    base, layout = make_layer("base"), Layout()
    for label in ("one", "two"):
        put_image(engine, f"{label}:1", layout, layout.image([base, make_layer(label)], config={"Labels": {"of": label}}))
    tag_image(engine, "one:1", Reference.parse("again:1"))
    usage = read_disk_usage(engine)
    images = list(usage.images())
    shared = len(compress(base, "gzip"))
    assert usage.image_bytes == bytes_on_disk(content) == sum(map(len, layout.blobs.values()))
    assert [image.shared_size for image in images] == [shared, shared]
    assert sum(image.size - image.shared_size for image in images) + shared == usage.image_bytes


def test_what_an_index_lists_but_is_not_here_takes_nothing(engine: Engine, content: FilesystemStore) -> None:
    put_image(engine, "partial", partial_layout())
    assert read_disk_usage(engine).image_bytes == bytes_on_disk(content)


def test_what_no_image_reaches_is_not_counted(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "running") as lease:
        store_bytes(engine, lease, b"{}")
        assert read_disk_usage(engine).image_bytes == 0


@pytest.mark.parametrize("types", [(), (ObjectType.CONTAINER,), (ObjectType.VOLUME, ObjectType.BUILD_CACHE)])
def test_images_are_told_only_when_asked_for(engine: Engine, types: tuple[ObjectType, ...]) -> None:
    put_image(engine)
    assert told(read_disk_usage(engine, types=types)) == (frozenset(types), [], 0, 0)

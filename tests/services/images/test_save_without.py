"""Archives without the layers that their receiver has."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.images.save import save_images
from stowage.services.images.save_since import save_since as images_since
from stowage.services.oci.digest import Digest
from tests.builders import Json, Layout, blob_path, layers_of, load_image, make_layer
from tests.engines import metadata_store
from tests.services.images.archives import blobs, listed, members, multi, names, put_layout, save

BASE = make_layer("base", 4096)


def app(layout: Layout, version: str) -> Json:
    return layout.image([BASE, make_layer(version)])


def put(engine: Engine, version: str) -> Layout:
    return put_layout(engine, f"docker.io/team/app:{version}", lambda layout: app(layout, version))


def save_since(engine: Engine, earlier: bytes, *images: str) -> bytes:
    return b"".join(images_since(engine, images, platforms=(), source=io.BytesIO(earlier)))


@pytest.fixture
def other(tmp_path: Path, engine: Engine, migrated_database: Path) -> Iterator[Engine]:
    """An engine with an empty store, on the other side."""
    root = tmp_path / "other"
    root.mkdir()
    shutil.copy(migrated_database, root / "stowage.db")
    store = metadata_store(f"sqlite:///{root}/stowage.db")
    yield replace(engine, metadata=store, content=FilesystemStore(root))
    store.close()


def test_a_known_layer_is_left_out_and_nothing_else(engine: Engine) -> None:
    put(engine, "1")
    first = save(engine, "team/app:1")
    layout = put(engine, "2")
    base, _ = layers_of(layout, layout.manifests[0])
    whole = members(save(engine, "team/app:2"))
    assert members(save_since(engine, first, "team/app:2")) == {
        name: content for name, content in whole.items() if name != blob_path(base["digest"])
    }


def test_manifests_and_configs_are_always_sent(engine: Engine) -> None:
    layout = put_layout(engine, "docker.io/team/multi:1", multi)
    archive = save(engine, "team/multi:1")
    again = members(save_since(engine, archive, "team/multi:1"))
    layers = {blob_path(layer["digest"]) for child in listed(layout) for layer in layers_of(layout, child)}
    assert members(archive).keys() - again.keys() == layers


def test_it_loads_where_the_layers_are(engine: Engine, other: Engine) -> None:
    put(engine, "1")
    first = save(engine, "team/app:1")
    put(engine, "2")
    second = save_since(engine, first, "team/app:2")
    load_image(other, first)
    assert load_image(other, second) == ["Loaded image: team/app:2\n"]
    assert names(other) == names(engine)
    assert blobs(other) == blobs(engine)


def test_it_leaves_nothing_where_they_are_not(engine: Engine, other: Engine) -> None:
    layout = put(engine, "1")
    base, _ = layers_of(layout, layout.manifests[0])
    archive = b"".join(save_images(engine, ["team/app:1"], without=[Digest.parse(base["digest"])]))
    with pytest.raises(EngineError, match=f"missing blob {base['digest']}"):
        load_image(other, archive)
    assert names(other) == {}
    assert blobs(other) == set()


def test_a_third_carry_needs_only_the_second(engine: Engine) -> None:
    put(engine, "1")
    first = save(engine, "team/app:1")
    put(engine, "2")
    second = save_since(engine, first, "team/app:2")
    layout = put(engine, "3")
    base, _ = layers_of(layout, layout.manifests[0])
    assert blob_path(base["digest"]) not in members(save_since(engine, second, "team/app:3"))

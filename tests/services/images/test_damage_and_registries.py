"""Files that were damaged behind the store's back: a pull mends them, and a push never sends them as if they were good."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Damaged, InvalidContent
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.images.tag import tag_image
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from tests.builders import Json, Layout, make_layer, put_image
from tests.damage import Spoil, blob_file, damages, every_damage, every_part, flip, parts_of, shorten, verify
from tests.fake_registry import FakeRegistry, Fault
from tests.fake_registry.uploads import UploadFault
from tests.services.images.archives import save
from tests.services.images.pulls import offsets, pull
from tests.services.images.pushes import push

LAYER = make_layer("large", 2_000_000)
LABEL = "x" * 100_000
"""Makes an index larger than what a glance reads."""


@dataclass(frozen=True)
class Image:
    """An image of two layers: its name without a tag, the blobs, the manifest's descriptor, and the digests of its parts."""

    name: str
    layout: Layout
    manifest: Json
    parts: dict[str, Digest]


def image(registry: FakeRegistry) -> Image:
    """One that belongs to this registry, which does not have it."""
    layout = Layout()
    manifest = layout.image([LAYER, make_layer("small")], compression="none")
    return Image(f"{registry.host}/team/app", layout, manifest, parts_of(layout, manifest))


@pytest.fixture
def pulled(engine: Engine, registry: FakeRegistry) -> Image:
    """An image that was pulled, after which nothing was asked of the registry."""
    published = image(registry)
    registry.publish(published.layout, published.manifest)
    pull(engine, published.name)
    registry.requests.clear()
    return published


@pytest.fixture
def stored(engine: Engine, registry: FakeRegistry) -> Image:
    """An image that is here and not in the registry."""
    unpublished = image(registry)
    put_image(engine, f"{unpublished.name}:1", unpublished.layout, unpublished.manifest)
    return unpublished


@every_damage
@every_part
def test_a_pull_mends_what_is_damaged(engine: Engine, registry: FakeRegistry, pulled: Image, part: str, spoil: Spoil) -> None:
    before = save(engine, f"{pulled.name}:1")
    spoil(blob_file(engine, pulled.parts[part]))
    if part == "layer":
        verify(engine)
    assert pull(engine, pulled.name)[-1].status == f"Status: Image is up to date for {pulled.name}:1"
    assert registry.asked("GET") == [f"GET {pulled.parts[part]}"]
    assert save(engine, f"{pulled.name}:1") == before
    assert verify(engine) == []
    assert damages(engine) == {}


def test_a_flipped_bit_in_a_large_layer_is_not_seen_by_a_pull_before_it_is_marked(
    engine: Engine, registry: FakeRegistry, pulled: Image
) -> None:
    whole = save(engine, f"{pulled.name}:1")
    flip(blob_file(engine, pulled.parts["layer"]))
    pull(engine, pulled.name)
    assert registry.asked("GET") == []
    with pytest.raises(Damaged):
        save(engine, f"{pulled.name}:1")
    pull(engine, pulled.name)
    assert save(engine, f"{pulled.name}:1") == whole


def test_a_pull_under_another_name_mends_an_index_of_many_kilobytes(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    index = layout.index([layout.image([LAYER], compression="none")], annotations={"long": LABEL})
    name = registry.publish(layout, index)
    registry.publish(layout, index, tag="2")
    pull(engine, name)
    flip(blob_file(engine, Digest.parse(index["digest"])))
    assert pull(engine, name, "2")[-1].status.startswith("Status: ")
    assert verify(engine) == []


@pytest.mark.parametrize("spoil", [shorten, flip])
def test_a_pull_of_wrong_bytes_leaves_what_was_here(engine: Engine, registry: FakeRegistry, pulled: Image, spoil: Spoil) -> None:
    layer = pulled.parts["layer"]
    spoil(blob_file(engine, layer))
    verify(engine)
    damaged = blob_file(engine, layer).read_bytes()
    registry.faults[str(layer)] = Fault.WRONG_BYTES
    with pytest.raises(InvalidContent):
        pull(engine, pulled.name)
    assert blob_file(engine, layer).read_bytes() == damaged
    assert damages(engine).keys() == {layer}


def test_a_broken_pull_of_a_damaged_layer_goes_on_where_it_was(engine: Engine, registry: FakeRegistry, pulled: Image) -> None:
    layer = pulled.parts["layer"]
    shorten(blob_file(engine, layer))
    stream = pull_image(engine, pull_reference(pulled.name, "1"))
    registry.pause_after[str(layer)] = 1 << 20
    for line in stream:
        if line.detail and line.detail.current >= 1 << 20:
            break
    stream.close()
    registry.resume.set()
    assert blob_file(engine, layer).stat().st_size == len(LAYER) - 1
    registry.pause_after.clear()
    registry.requests.clear()
    pull(engine, pulled.name)
    assert offsets(registry, str(layer)) == [1 << 20]
    assert verify(engine) == []


@every_damage
@every_part
def test_a_push_of_what_is_known_to_be_damaged_is_refused(
    engine: Engine, registry: FakeRegistry, stored: Image, part: str, spoil: Spoil
) -> None:
    damaged = stored.parts[part]
    spoil(blob_file(engine, damaged))
    if part == "layer":
        verify(engine)
    with pytest.raises(Damaged, match=rf"blob {damaged} (has|holds) .*; load or pull the image again to repair it, or delete it"):
        push(engine, f"{stored.name}:1")
    assert registry.requests == []


@pytest.mark.parametrize("faults", [pytest.param([], id="at once"), pytest.param([UploadFault.DROPPED], id="after a break")])
def test_a_push_that_finds_damage_does_not_complete_the_upload(
    engine: Engine, registry: FakeRegistry, stored: Image, faults: list[UploadFault]
) -> None:
    layer = stored.parts["layer"]
    registry.blobs |= {digest: blob for digest, blob in stored.layout.blobs.items() if digest != str(layer)}
    registry.uploads.faults = list(faults)
    flip(blob_file(engine, layer))
    with pytest.raises(Damaged, match=f"blob {layer} holds other bytes"):
        push(engine, f"{stored.name}:1")
    assert str(layer) not in registry.blobs
    assert registry.manifests == {}
    assert registry.uploads.begun == 1
    assert damages(engine).keys() == {layer}


def test_a_mended_image_is_pushed(engine: Engine, registry: FakeRegistry, pulled: Image) -> None:
    flip(blob_file(engine, pulled.parts["layer"]))
    verify(engine)
    other = f"{registry.host}/other/app:1"
    tag_image(engine, f"{pulled.name}:1", Reference.parse(other))
    pull(engine, pulled.name)
    push(engine, other)
    assert registry.manifests["other/app", "1"].content == pulled.layout.blobs[pulled.manifest["digest"]]

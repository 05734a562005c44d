"""Files that were damaged behind the store's back: a pull mends them, and a push never sends them as if they were good."""

from __future__ import annotations

import json

import pytest

from services.engine import Engine
from services.errors import Damaged, InvalidContent
from services.images.pull import pull_image, pull_reference
from services.images.push import push_image
from services.images.tag import tag_image
from services.oci.digest import Digest
from services.oci.reference import Reference
from tests.builders import Json, Layout, make_layer, put_image
from tests.damage import Spoil, blob_file, damages, flip, lose, shorten, verify
from tests.fake_registry import FakeRegistry, Fault
from tests.fake_registry.uploads import UploadFault
from tests.services.images.archives import save

LAYER = make_layer("large", 2_000_000)
LABEL = "x" * 100_000
"""Makes a config larger than what a glance reads."""

every_damage = pytest.mark.parametrize("spoil", [lose, shorten, flip])
every_part = pytest.mark.parametrize("part", ["manifest", "config", "layer", "small layer"])


def image(layout: Layout, **fields: object) -> tuple[Json, dict[str, Digest]]:
    """A manifest's descriptor, and the digests of the image's parts."""
    manifest = layout.image([LAYER, make_layer("small")], compression="none", **fields)  # type: ignore[arg-type]
    document = json.loads(layout.blobs[manifest["digest"]])
    parts = {"manifest": manifest, "config": document["config"], "layer": document["layers"][0], "small layer": document["layers"][1]}
    return manifest, {name: Digest.parse(part["digest"]) for name, part in parts.items()}


def pull(engine: Engine, name: str, tag: str = "1") -> str:
    """The last line of a pull."""
    return [line.status for line in pull_image(engine, pull_reference(name, tag)) if line.status][-1]


def push(engine: Engine, name: str) -> None:
    for _ in push_image(engine, Reference.parse(name)):
        pass


@every_damage
@every_part
def test_a_pull_mends_what_is_damaged(engine: Engine, registry: FakeRegistry, part: str, spoil: Spoil) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    name = registry.publish(layout, manifest)
    pull(engine, name)
    before = save(engine, f"{name}:1")
    spoil(blob_file(engine, parts[part]))
    if part == "layer":
        verify(engine)
    registry.requests.clear()
    assert pull(engine, name) == f"Status: Image is up to date for {name}:1"
    assert registry.asked("GET") == [f"GET {parts[part]}"]
    assert save(engine, f"{name}:1") == before
    assert verify(engine) == []
    assert damages(engine) == {}


def test_a_flipped_bit_in_a_large_layer_is_not_seen_by_a_pull_before_it_is_marked(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    name = registry.publish(layout, manifest)
    pull(engine, name)
    flip(blob_file(engine, parts["layer"]))
    registry.requests.clear()
    pull(engine, name)
    assert registry.asked("GET") == []
    with pytest.raises(Damaged):
        save(engine, f"{name}:1")
    pull(engine, name)
    save(engine, f"{name}:1")


def test_a_pull_under_another_name_mends_an_index_of_many_kilobytes(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    manifest, _ = image(layout)
    index = layout.index([manifest], annotations={"long": LABEL})
    name = registry.publish(layout, index)
    registry.publish(layout, index, tag="2")
    pull(engine, name)
    flip(blob_file(engine, Digest.parse(index["digest"])))
    assert pull(engine, name, "2").startswith("Status: ")
    assert verify(engine) == []


@pytest.mark.parametrize("spoil", [shorten, flip])
def test_a_pull_of_wrong_bytes_leaves_what_was_here(engine: Engine, registry: FakeRegistry, spoil: Spoil) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    name = registry.publish(layout, manifest)
    pull(engine, name)
    spoil(blob_file(engine, parts["layer"]))
    verify(engine)
    damaged = blob_file(engine, parts["layer"]).read_bytes()
    registry.faults[str(parts["layer"])] = Fault.WRONG_BYTES
    with pytest.raises(InvalidContent):
        pull(engine, name)
    assert blob_file(engine, parts["layer"]).read_bytes() == damaged
    assert damages(engine).keys() == {parts["layer"]}


def test_a_broken_pull_of_a_damaged_layer_goes_on_where_it_was(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    name = registry.publish(layout, manifest)
    pull(engine, name)
    shorten(blob_file(engine, parts["layer"]))
    stream = pull_image(engine, pull_reference(name, "1"))
    registry.pause_after[str(parts["layer"])] = 1 << 20
    for line in stream:
        if line.detail and line.detail.current >= 1 << 20:
            break
    stream.close()
    registry.resume.set()
    assert blob_file(engine, parts["layer"]).stat().st_size == len(LAYER) - 1
    registry.pause_after.clear()
    registry.requests.clear()
    pull(engine, name)
    asked = [request.headers.get("Range") for request in registry.requests if request.path.endswith(str(parts["layer"]))]
    assert asked == ["bytes=1048576-"]
    assert verify(engine) == []


@every_damage
@every_part
def test_a_push_of_what_is_known_to_be_damaged_is_refused(engine: Engine, registry: FakeRegistry, part: str, spoil: Spoil) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, manifest)
    spoil(blob_file(engine, parts[part]))
    if part == "layer":
        verify(engine)
    with pytest.raises(Damaged, match=rf"blob {parts[part]} (has|holds) .*; load or pull the image again to repair it, or delete it"):
        push(engine, name)
    assert registry.requests == []


@pytest.mark.parametrize("faults", [pytest.param([], id="at once"), pytest.param([UploadFault.DROPPED], id="after a break")])
def test_a_push_that_finds_damage_does_not_complete_the_upload(engine: Engine, registry: FakeRegistry, faults: list[UploadFault]) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, manifest)
    layer = parts["layer"]
    registry.blobs |= {digest: blob for digest, blob in layout.blobs.items() if digest != str(layer)}
    registry.uploads.faults = list(faults)
    flip(blob_file(engine, layer))
    with pytest.raises(Damaged, match=f"blob {layer} holds other bytes"):
        push(engine, name)
    assert str(layer) not in registry.blobs
    assert registry.manifests == {}
    assert registry.uploads.begun == 1
    assert damages(engine).keys() == {layer}


def test_a_mended_image_is_pushed(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    manifest, parts = image(layout)
    source = registry.publish(layout, manifest)
    pull(engine, source)
    flip(blob_file(engine, parts["layer"]))
    verify(engine)
    tag_image(engine, f"{source}:1", Reference.parse(f"{registry.host}/other/app:1"))
    pull(engine, source)
    push(engine, f"{registry.host}/other/app:1")
    assert ("other/app", "1") in registry.manifests

"""Files that were damaged behind the store's back: a load and an import mend them, and a save never gives them away as if they
were good.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Damaged, InvalidContent
from stowage.services.images.delete import delete_image
from stowage.services.images.import_ import import_image
from stowage.services.images.save import save_images
from stowage.services.oci.digest import Digest
from tests.builders import ArchivedImage, Layout, blob_path, digest_of, docker_archive, load_image, make_layer, make_tar
from tests.damage import Spoil, blob_file, damages, every_damage, every_part, flip, lose, parts_of, shorten, verify
from tests.listings import listed
from tests.services.images.archives import save

LAYER = make_layer("large", 200_000)
"""Larger than what a glance reads."""
LABEL = "x" * 100_000
"""Makes a config as large."""


@dataclass(frozen=True)
class Stored:
    """An image that was loaded as team/app:1: its archive, and the digests of its parts."""

    layout: Layout
    parts: dict[str, Digest]

    @property
    def archive(self) -> bytes:
        return self.layout.to_tar()


def store(engine: Engine, **image_fields: object) -> Stored:
    layout = Layout()
    manifest = layout.image([LAYER, make_layer("small")], compression="none", **image_fields)  # type: ignore[arg-type]
    layout.tag(manifest, "docker.io/team/app:1")
    load_image(engine, layout.to_tar())
    return Stored(layout, parts_of(layout, manifest))


@pytest.fixture
def stored(engine: Engine) -> Stored:
    return store(engine)


@every_damage
@every_part
def test_a_load_mends_what_it_brings(engine: Engine, stored: Stored, part: str, spoil: Spoil) -> None:
    before = save(engine, "team/app:1")
    spoil(blob_file(engine, stored.parts[part]))
    if part == "layer":
        verify(engine)  # a bit in a large file is found by who reads all of it
    assert load_image(engine, stored.archive) == ["Loaded image: team/app:1\n"]
    assert save(engine, "team/app:1") == before
    assert verify(engine) == []
    assert damages(engine) == {}


def test_a_load_tells_of_a_large_document_and_the_next_one_mends_it(engine: Engine) -> None:
    stored = store(engine, config={"Labels": {"long": LABEL}})
    flip(blob_file(engine, stored.parts["config"]))
    with pytest.raises(Damaged, match=f"blob {stored.parts['config']} holds other bytes: .*; load or pull the image again"):
        load_image(engine, stored.archive)
    assert damages(engine).keys() == {stored.parts["config"]}
    load_image(engine, stored.archive)
    assert verify(engine) == []


def test_a_load_of_a_docker_archive_mends_what_it_brings(engine: Engine) -> None:
    archive = docker_archive(ArchivedImage((LAYER,), ("team/app:1",)))
    load_image(engine, archive)
    before = save(engine, "team/app:1")
    for digest, _ in list(engine.content.blobs()):
        flip(blob_file(engine, digest))
    assert len(verify(engine)) == 4  # three blobs, and the image
    load_image(engine, archive)
    assert save(engine, "team/app:1") == before
    assert verify(engine) == []


@pytest.mark.parametrize("spoil", [shorten, flip])
def test_what_was_damaged_stays_until_its_replacement_is_verified(engine: Engine, stored: Stored, spoil: Spoil) -> None:
    layer = stored.parts["layer"]
    spoil(blob_file(engine, layer))
    verify(engine)
    damaged = blob_file(engine, layer).read_bytes()
    lie = stored.layout.members() | {blob_path(str(layer)): bytes(len(LAYER))}
    with pytest.raises(InvalidContent, match="unexpected commit digest"):
        load_image(engine, make_tar(lie))
    assert blob_file(engine, layer).read_bytes() == damaged
    assert damages(engine).keys() == {layer}
    assert list(engine.content.partials()) == []


@pytest.mark.parametrize("part", ["config", "layer"])
def test_an_archive_that_lies_about_a_blob_that_is_here_is_refused(engine: Engine, stored: Stored, part: str) -> None:
    path = blob_path(str(stored.parts[part]))
    members = stored.layout.members()
    zeros = bytes(len(stored.layout.blobs[str(stored.parts[part])]))
    with pytest.raises(InvalidContent, match=f'failed to ingest "{path}": unexpected commit digest'):
        load_image(engine, make_tar(members | {path: zeros}))
    with pytest.raises(InvalidContent, match=f'failed to ingest "{path}": unexpected (size|commit digest)'):
        load_image(engine, make_tar(members | {path: zeros[1:]}))
    assert verify(engine) == []


def test_a_second_member_of_one_name_is_verified_too(engine: Engine, stored: Stored) -> None:
    path = blob_path(str(stored.parts["layer"]))
    with pytest.raises(InvalidContent, match="unexpected commit digest"):
        load_image(engine, make_tar([*stored.layout.members().items(), (path, bytes(len(LAYER)))]))


@every_damage
def test_an_archive_without_the_damaged_layer_is_not_loaded(engine: Engine, stored: Stored, spoil: Spoil) -> None:
    layer = stored.parts["layer"]
    spoil(blob_file(engine, layer))
    verify(engine)
    del stored.layout.blobs[str(layer)]
    with pytest.raises(InvalidContent, match=f"missing blob {layer}"):
        load_image(engine, stored.archive)


def test_an_index_does_not_count_a_damaged_manifest_that_was_here_before(engine: Engine) -> None:
    layout = Layout()
    manifest = layout.image([LAYER], compression="none")
    layout.tag(layout.index([manifest]), "docker.io/team/app:1")
    load_image(engine, layout.to_tar())
    lose(blob_file(engine, Digest.parse(digest_of(LAYER))))
    layout.without(manifest)
    with pytest.raises(InvalidContent, match=f"missing blob {digest_of(LAYER)}"):
        load_image(engine, layout.to_tar())


def test_a_compressed_twin_that_is_damaged_is_not_preferred(engine: Engine) -> None:
    compressed = Layout()
    compressed.tag(compressed.image([LAYER]), "docker.io/team/compressed:1")
    load_image(engine, compressed.to_tar())
    plain = docker_archive(ArchivedImage((LAYER,), ("team/plain:1",)))
    load_image(engine, plain)
    with engine.metadata.read() as tx:
        twin = tx.graph.by_diff_id([Digest.parse(digest_of(LAYER))]).popitem()[1]
    delete_image(engine, "team/plain:1")
    flip(blob_file(engine, twin))
    verify(engine)
    load_image(engine, plain)
    assert twin in damages(engine)
    save(engine, "team/plain:1")


def import_layer(engine: Engine) -> None:
    list(import_image(engine, io.BytesIO(LAYER), message=""))


@every_damage
def test_an_import_that_makes_the_damaged_layer_again_mends_it(engine: Engine, spoil: Spoil) -> None:
    import_layer(engine)
    with engine.metadata.read() as tx:
        layer = next(digest for digest in tx.graph.all_blobs() if digest in tx.graph.layers([digest]))
    spoil(blob_file(engine, layer))
    verify(engine)
    import_layer(engine)
    assert verify(engine) == []


@every_damage
@every_part
def test_a_save_is_refused_before_its_first_byte(engine: Engine, stored: Stored, part: str, spoil: Spoil) -> None:
    spoil(blob_file(engine, stored.parts[part]))
    if part == "layer":
        verify(engine)
    sentence = rf"blob {stored.parts[part]} (has|holds) .*; load or pull the image again to repair it, or delete it"
    with pytest.raises(Damaged, match=sentence):
        next(save_images(engine, ["team/app:1"]))


def test_a_save_that_finds_damage_breaks_off_and_marks_it(engine: Engine) -> None:
    layout = Layout()
    layer = make_layer("huge", (4 << 20) - 4096)
    layout.tag(layout.image([layer], compression="none"), "docker.io/team/app:1")
    load_image(engine, layout.to_tar())
    digest = Digest.parse(digest_of(layer))
    flip(blob_file(engine, digest))
    given: list[bytes] = []
    stream = map(given.append, save_images(engine, ["team/app:1"]))
    with pytest.raises(Damaged, match=f"blob {digest} holds other bytes"):
        list(stream)
    assert 1 << 20 < len(b"".join(given)) < len(layer)
    assert damages(engine).keys() == {digest}
    with pytest.raises(Damaged):
        next(save_images(engine, ["team/app:1"]))


def test_what_an_image_lacks_legitimately_is_no_damage(engine: Engine) -> None:
    layout = Layout()
    index = layout.multi_platform(attested=False)
    layout.tag(index, "docker.io/team/app:1")
    layout.without(json.loads(layout.blobs[index["digest"]])["manifests"][1])
    load_image(engine, layout.to_tar())
    assert len(save(engine, "team/app:1")) > 0


def test_readers_of_rows_do_not_care(engine: Engine, stored: Stored) -> None:
    before = listed(engine.metadata)
    lose(blob_file(engine, stored.parts["config"]))
    verify(engine)
    assert listed(engine.metadata) == before


def test_a_layer_that_images_share_is_mended_for_all_of_them(engine: Engine) -> None:
    layout = Layout()
    for name in "ab":
        layout.tag(layout.image([LAYER, make_layer(name)], compression="none"), f"docker.io/team/{name}:1")
    load_image(engine, layout.to_tar())
    flip(blob_file(engine, Digest.parse(digest_of(LAYER))))
    assert len(verify(engine)) == 3
    layout.manifests.pop()
    load_image(engine, layout.to_tar())
    assert verify(engine) == []
    save(engine, "team/a:1", "team/b:1")


def test_deleting_every_image_that_has_it_ends_the_damage(engine: Engine, stored: Stored) -> None:
    flip(blob_file(engine, stored.parts["layer"]))
    verify(engine)
    delete_image(engine, "team/app:1")
    assert list(engine.content.blobs()) == []
    assert verify(engine) == []
    load_image(engine, stored.archive)
    save(engine, "team/app:1")


def test_an_index_that_lies_about_a_size_marks_no_sound_blob(engine: Engine) -> None:
    layout, other = Layout(), Layout()
    child = other.image([LAYER], compression="none")
    other.tag(child, "docker.io/team/child:1")
    index = layout.index([layout.image([make_layer("small")]), {**child, "size": child["size"] + 1}])
    layout.tag(index, "docker.io/team/index:1")
    load_image(engine, layout.to_tar())
    load_image(engine, other.to_tar())
    save(engine, "team/index:1")
    assert damages(engine) == {}
    save(engine, "team/child:1")

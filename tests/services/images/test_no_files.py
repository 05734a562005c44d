"""Something else than a file in the place of a blob is damage like any other: told, mended by a load, gone with its image, and in
nobody's way.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Damaged
from stowage.services.filters import Filters
from stowage.services.gc.collector import collect_garbage
from stowage.services.images.delete import delete_image
from stowage.services.images.prune import prune_images
from stowage.services.oci.digest import Digest
from tests.builders import Layout, load_image, make_layer, on_platform, simple_layout
from tests.damage import NO_FILES, Spoil, blob_file, damages, full_folder, link_to, verify
from tests.services.images.archives import save

LAYER = make_layer("large", 200_000)
"""Larger than what a glance reads."""
NAME = "team/app:1"


@dataclass(frozen=True)
class Stored:
    """An image for a platform with an attestation, loaded as team/app:1, and the digests of its parts."""

    archive: bytes
    parts: dict[str, Digest]


@pytest.fixture
def stored(engine: Engine) -> Stored:
    layout = Layout()
    image = on_platform(layout.image([LAYER, make_layer("small")], compression="none"), "linux/amd64")
    attestation = layout.attestation(image)
    index = layout.index([image, attestation])
    layout.tag(index, f"docker.io/{NAME}")
    load_image(engine, layout.to_tar())
    document = json.loads(layout.blobs[image["digest"]])
    parts = {"index": index, "manifest": image, "attestation": attestation, "config": document["config"]}
    parts |= {"layer": document["layers"][0], "small layer": document["layers"][1]}
    return Stored(layout.to_tar(), {name: Digest.parse(part["digest"]) for name, part in parts.items()})


def copied_aside(path: Path) -> None:
    """A user moved the file to another disk."""
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


every_part = pytest.mark.parametrize("part", ["index", "manifest", "attestation", "config", "layer", "small layer"])
every_no_file = pytest.mark.parametrize("spoil", [*NO_FILES.values(), copied_aside], ids=[*NO_FILES, "symlink to a good file"])


def prune(engine: Engine) -> None:
    prune_images(engine, filters=Filters.parse('{"dangling":["false"]}'))


@every_no_file
@every_part
def test_it_is_told_marked_and_mended_by_a_load(engine: Engine, stored: Stored, part: str, spoil: Spoil) -> None:
    before, digest = save(engine, NAME), stored.parts[part]
    spoil(blob_file(engine, digest))
    assert verify(engine) == [
        f"damage: blob {digest} is not a readable file",
        f"affected: image {NAME}: load or pull it again, or delete it",
    ]
    assert damages(engine) == {digest: "is not a readable file"}
    with pytest.raises(Damaged, match=f"blob {digest} is not a readable file; load or pull the image again"):
        save(engine, NAME)
    load_image(engine, stored.archive)
    assert (save(engine, NAME), verify(engine), damages(engine)) == (before, [], {})
    assert list(engine.content.partials()) == []


@every_no_file
@every_part
def test_a_load_needs_no_verify_before(engine: Engine, stored: Stored, part: str, spoil: Spoil) -> None:
    before = save(engine, NAME)
    spoil(blob_file(engine, stored.parts[part]))
    load_image(engine, stored.archive)
    assert (save(engine, NAME), verify(engine)) == (before, [])


@pytest.mark.parametrize("pruned", [False, True], ids=["deleted", "pruned"])
@every_no_file
@every_part
def test_it_goes_with_its_image(engine: Engine, content: FilesystemStore, stored: Stored, part: str, spoil: Spoil, pruned: bool) -> None:
    file = blob_file(engine, stored.parts[part])
    spoil(file)
    if pruned:
        prune(engine)
    else:
        delete_image(engine, NAME)
    assert content.version(stored.parts[part]) is None
    assert (list(content.blobs()), list(content.partials()), verify(engine)) == ([], [], [])
    load_image(engine, stored.archive)
    assert verify(engine) == []


def test_another_blob_stays_whole_when_a_link_to_it_is_mended(engine: Engine, content: FilesystemStore, stored: Stored) -> None:
    """Neither with a row nor without one is the link written through."""
    other = simple_layout("docker.io/library/other:1")
    load_image(engine, other.to_tar())
    before = save(engine, "other:1")
    file = blob_file(engine, stored.parts["layer"])
    target = next(blob_file(engine, digest) for digest, _ in content.blobs() if digest not in stored.parts.values())
    link_to(target.name)(file)
    load_image(engine, stored.archive)
    assert (save(engine, "other:1"), verify(engine)) == (before, [])
    delete_image(engine, NAME)
    link_to(target.name)(file)
    load_image(engine, stored.archive)
    assert (save(engine, "other:1"), verify(engine)) == (before, [])


def test_what_cannot_be_removed_is_in_nobodys_way(engine: Engine, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def refuse(path: Path) -> None:
        if (path / "data" / "inner").exists():
            raise PermissionError
        remove(path)

    full_folder(blob_file(engine, stored.parts["layer"]))
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        delete_image(engine, NAME)
        with engine.content.ingest("left") as ingest:
            ingest.write(b"left")
            ingest.keep()
        prune(engine)
        collect_garbage(engine.metadata, engine.content)
        load_image(engine, stored.archive)
        assert verify(engine) == []
    collect_garbage(engine.metadata, engine.content)
    assert list(engine.content.partials()) == []

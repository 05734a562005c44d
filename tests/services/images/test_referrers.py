"""What an archive holds beside an image that refers to it is kept with it: an attestation of a platform that was saved alone, a
signature.
"""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.verify import verify_store
from stowage.services.images.delete import delete_image
from stowage.services.images.inspect import inspect_image
from stowage.services.images.push import _plan_target
from stowage.services.metadata.summary import read_manifests
from stowage.services.oci.digest import Digest
from tests.builders import Json, Layout, load_image, make_layer, simple_layout
from tests.services.images.archives import AMD64, blobs, document, multi, names, put_layout, save

EMPTY = "application/vnd.oci.empty.v1+json"
SUBJECT = "io.containerd.manifest.subject"


def refer(layout: Layout, subject: Json, content: bytes = b"signed") -> Json:
    """List a manifest of this content as one that refers to another; returns its descriptor."""
    manifest = layout.manifest(layout.add(b"{}", EMPTY), [layout.add(content, "application/vnd.example.signature")])
    layout.manifests.append({**manifest, "annotations": {SUBJECT: subject["digest"]}})
    return manifest


def attested() -> Layout:
    layout = simple_layout()
    refer(layout, layout.manifests[0])
    return layout


def entries(archive: bytes) -> list[str]:
    return [entry["digest"] for entry in document(archive, "index.json")["manifests"]]


def test_it_lives_and_goes_with_its_image(engine: Engine) -> None:
    layout = attested()
    assert load_image(engine, layout.to_tar()) == ["Loaded image: simple:latest\n"]
    collect_garbage(engine.metadata, engine.content)
    assert blobs(engine) == set(layout.blobs)
    assert [finding for finding in verify_store(engine.metadata, engine.content) if finding.kind == "damage"] == []
    delete_image(engine, "simple")
    assert (names(engine), blobs(engine)) == ({}, set())


def test_it_is_saved_again_without_being_asked_for(engine: Engine) -> None:
    layout = attested()
    load_image(engine, layout.to_tar())
    archive = save(engine, "simple")
    assert entries(archive) == [each["digest"] for each in layout.manifests]
    delete_image(engine, "simple")
    load_image(engine, archive)
    assert save(engine, "simple") == archive


def test_a_platform_keeps_its_attestation_from_archive_to_archive(engine: Engine) -> None:
    put_layout(engine, "docker.io/library/multi:1", multi)
    first = save(engine, "multi:1", platforms=[AMD64])
    delete_image(engine, "multi:1")
    load_image(engine, first, platforms=[AMD64])
    assert len(entries(first)) == 2
    assert entries(save(engine, "multi:1")) == entries(save(engine, "multi:1", platforms=[AMD64])) == entries(first)


def test_it_is_told_of_an_image_that_is_here_already(engine: Engine) -> None:
    load_image(engine, simple_layout().to_tar())
    load_image(engine, attested().to_tar())
    load_image(engine, attested().to_tar())
    assert len(entries(save(engine, "simple"))) == 2


def test_it_is_no_part_of_what_is_listed_or_pushed(engine: Engine) -> None:
    layout = attested()
    load_image(engine, layout.to_tar())
    image, signature = layout.manifests
    assert [str(each.descriptor.digest) for each in inspect_image(engine, "simple", manifests=True).manifests] == [image["digest"]]
    with engine.metadata.read() as tx:
        target = tx.images.by_target(Digest.parse(image["digest"]))[0].target
        plan = _plan_target(tx, target, read_manifests(tx, target.digest))
    assert Digest.parse(signature["digest"]) not in plan.digests


def test_one_that_is_not_in_the_archive_is_passed_over(engine: Engine) -> None:
    layout = attested()
    del layout.blobs[layout.manifests[1]["digest"]]
    load_image(engine, layout.to_tar())
    assert len(entries(save(engine, "simple"))) == 1


def test_one_of_something_else_is_passed_over(engine: Engine) -> None:
    layout = simple_layout()
    kept = set(layout.blobs)
    refer(layout, {"digest": "sha256:" + "ab" * 32})
    refer(layout, {"digest": "nothing"}, b"of nothing")
    load_image(engine, layout.to_tar())
    assert blobs(engine) == kept


def test_what_refers_to_an_artifact_or_is_an_image_itself_is_passed_over_so_that_no_chain_comes_about(engine: Engine) -> None:
    layout = attested()
    image, signature = layout.manifests
    kept = set(layout.blobs)
    refer(layout, signature, b"of a signature")
    other = layout.image([make_layer("other")])
    layout.manifests.append({**other, "annotations": {SUBJECT: image["digest"]}})
    load_image(engine, layout.to_tar())
    assert blobs(engine) == kept


def test_very_many_of_one_image_are_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.metadata.reach.MAX_DESCRIPTORS", 8)  # of the image 2, and 3 of each that refers to it
    layout = simple_layout()
    for number in range(3):
        refer(layout, layout.manifests[0], str(number).encode())
    with pytest.raises(InvalidContent, match="^image sha256:.* has 11 descriptors: "):
        load_image(engine, layout.to_tar())
    del layout.manifests[-1]
    load_image(engine, layout.to_tar())
    assert len(entries(save(engine, "simple"))) == 3

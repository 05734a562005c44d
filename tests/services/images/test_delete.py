"""Names that go, images that go, and what is freed."""

from __future__ import annotations

import pytest

from services.content.filesystem import FilesystemStore
from services.engine import Engine
from services.errors import Conflict, ImageNotFound, InvalidParameter, Unsupported
from services.gc.leases import hold
from services.images.delete import Removal, delete_image
from services.images.tag import tag_image
from services.oci.digest import Digest
from services.oci.platform import Platform
from services.oci.reference import Reference
from tests.builders import Layout, make_layer, put_image, simple_layout


def untagged(*names: str) -> list[Removal]:
    return [Removal(untagged=name) for name in names]


def deleted(digest: Digest) -> Removal:
    return Removal(deleted=str(digest))


def put_named(engine: Engine, *names: str) -> Digest:
    """One image with these names."""
    digest = put_image(engine, names[0])
    for name in names[1:]:
        tag_image(engine, names[0], Reference.parse(name))
    return digest


def names(engine: Engine) -> list[str]:
    return [record.name for record in engine.metadata.catalog().images]


@pytest.mark.parametrize("name", ["app:1", "docker.io/library/app:1", "app@{id}", "{id}", "{short}", "anything:1@{id}"])
def test_the_only_name_takes_the_image_with_it(engine: Engine, content: FilesystemStore, name: str) -> None:
    digest = put_named(engine, "app:1")
    spelled = name.format(id=digest, short=digest.short)
    if name.startswith("anything"):
        with pytest.raises(ImageNotFound, match=f"^No such image: {spelled}$"):
            delete_image(engine, spelled)
        return
    assert delete_image(engine, spelled) == [*untagged("app:1"), deleted(digest)]
    assert (names(engine), list(content.blobs())) == ([], [])


@pytest.mark.parametrize(
    ("stored", "name", "gone"),
    [
        pytest.param(("app:1", "app:2"), "app:1", ["app:1"], id="one of two tags"),
        pytest.param(("app:1", "other:1"), "app:1", ["app:1"], id="one of two repositories"),
        pytest.param(("app:1", "other:1"), "other@{id}", ["other:1"], id="one repository by digest"),
        pytest.param(("app:1", "app:2", "other:1"), "app@{id}", ["app:1", "app:2"], id="every tag of a repository by digest"),
    ],
)
def test_a_name_among_others_is_only_untagged(engine: Engine, content: FilesystemStore, stored: tuple[str, ...], name: str, gone: list[str]) -> None:
    digest = put_named(engine, *stored)
    blobs = sorted(content.blobs())
    assert delete_image(engine, name.format(id=digest)) == untagged(*gone)
    assert names(engine) == [f"docker.io/library/{left}" for left in stored if left not in gone]
    assert sorted(content.blobs()) == blobs


def test_a_repository_that_has_every_name_takes_the_image_with_it(engine: Engine) -> None:
    digest = put_named(engine, "app:1", "app:2")
    assert delete_image(engine, f"app@{digest}") == [*untagged("app:1", "app:2"), deleted(digest)]


@pytest.mark.parametrize("stored", [("app:1", "app:2"), ("app:1", "other:1")])
def test_an_id_with_several_names_must_be_forced(engine: Engine, stored: tuple[str, str]) -> None:
    digest = put_named(engine, *stored)
    words = rf"^conflict: unable to delete {digest.short} \(must be forced\) - image is referenced in multiple repositories$"
    for spelled in (str(digest), digest.hex, digest.short):
        with pytest.raises(Conflict, match=words):
            delete_image(engine, spelled)
    assert delete_image(engine, digest.short, force=True) == [*untagged(*stored), deleted(digest)]
    assert names(engine) == []


def test_a_name_by_digest_goes_with_the_last_tag_of_its_repository(engine: Engine) -> None:
    digest = put_named(engine, "app:1", "app:2")
    by_digest = f"app@{digest}"
    put_image(engine, by_digest)
    assert delete_image(engine, "app:1") == untagged("app:1")
    assert delete_image(engine, "app:2") == [*untagged("app:2", by_digest), deleted(digest)]


def test_a_dangling_image_has_no_name_to_tell(engine: Engine) -> None:
    digest = put_image(engine, None)
    assert delete_image(engine, digest.short) == [deleted(digest)]


def test_what_another_image_needs_stays(engine: Engine, content: FilesystemStore) -> None:
    layout = Layout()
    layers = [make_layer("base"), make_layer("own")]
    kept = put_image(engine, "kept", layout, layout.image(layers[:1]))
    held = {digest for digest, _ in content.blobs()}
    put_image(engine, "gone", layout, layout.image(layers))
    delete_image(engine, "gone")
    assert kept in held
    assert {digest for digest, _ in content.blobs()} == held


def test_what_a_transfer_holds_stays_until_it_ends(engine: Engine, content: FilesystemStore) -> None:
    digest = put_image(engine, "app")
    with hold(engine.metadata, engine.content, "save") as lease:
        lease.add([digest])
        assert delete_image(engine, "app")[-1] == deleted(digest)
        assert len(list(content.blobs())) == 3
    assert list(content.blobs()) == []


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_a_blank_name_is_refused(engine: Engine, blank: str) -> None:
    with pytest.raises(InvalidParameter, match="^image name cannot be blank$"):
        delete_image(engine, blank)


@pytest.mark.parametrize("name", ["nope", "app:2"])
def test_a_missing_image_stays_missing_when_forced(engine: Engine, name: str) -> None:
    put_image(engine, "app:1", simple_layout())
    with pytest.raises(ImageNotFound):
        delete_image(engine, name, force=True)


def test_single_platforms_are_never_taken_for_the_image(engine: Engine) -> None:
    put_image(engine, "app:1")
    platforms = [Platform("linux", "amd64")]
    with pytest.raises(InvalidParameter, match="^Content will be removed from all images referencing this variant"):
        delete_image(engine, "app:1", platforms=platforms)
    with pytest.raises(Unsupported):
        delete_image(engine, "app:1", force=True, platforms=platforms)
    assert names(engine) == ["docker.io/library/app:1"]

"""Names that go, images that go, and what is freed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Conflict, ImageNotFound, InvalidParameter, NotFound
from stowage.services.filters import Filters
from stowage.services.gc.leases import hold
from stowage.services.gc.verify import Finding, verify_store
from stowage.services.images import delete
from stowage.services.images.delete import Deletion, Removal, delete_image, delete_planned, plan_deletion
from stowage.services.images.list import list_images
from stowage.services.images.tag import tag_image
from stowage.services.intake.ingest import store_bytes
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from tests.builders import Layout, load_image, make_layer, on_platform, put_image, simple_layout
from tests.listings import all_records

STORAGES = ["folder", "s3"]


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
    return [record.name for record in all_records(engine.metadata)]


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
def test_a_name_among_others_is_only_untagged(
    engine: Engine, content: FilesystemStore, stored: tuple[str, ...], name: str, gone: list[str]
) -> None:
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


def test_a_plan_is_what_is_done_or_nothing_is(engine: Engine, content: FilesystemStore) -> None:
    digest = put_named(engine, "app:1", "app:2", "other:1")
    one, some, whole = (plan_deletion(engine, name, force=True) for name in ("app:1", f"app@{digest}", str(digest)))
    assert [plan.count for plan in (one, some, whole)] == [1, 2, 3]
    assert [(plan.names, plan.is_whole) for plan in (one, some, whole)] == [
        (("app:1",), False),
        (("app:1", "app:2"), False),
        (("app:1", "app:2", "other:1"), True),
    ]
    assert delete_planned(engine, "app:1", [some.key, one.key]) == Deletion(untagged("app:1"))
    for name, plan in ((f"app@{digest}", some), (str(digest), whole)):
        with pytest.raises(Conflict, match=f"the names of image {digest.short} have changed"):
            delete_planned(engine, name, [plan.key], force=True)
    assert names(engine) == ["docker.io/library/app:2", "docker.io/library/other:1"]
    stored = sum(size for _, size in content.blobs())
    left = plan_deletion(engine, digest.short, force=True)
    done = delete_planned(engine, digest.short, [left.key], force=True)
    assert (done.removals, done.is_gone, done.freed) == ([*untagged("app:2", "other:1"), deleted(digest)], True, stored)
    with pytest.raises(ImageNotFound):
        plan_deletion(engine, str(digest))


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


AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def put_multi(engine: Engine, name: str = "multi:1") -> tuple[Layout, list[Digest]]:
    """An attested image for two platforms that share a layer; returns what its index lists: two manifests, their two attestations."""
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    put_image(engine, name, layout, index)
    return layout, [Digest.parse(each["digest"]) for each in json.loads(layout.blobs[index["digest"]])["manifests"]]


def children(layout: Layout, manifest: Digest) -> list[str]:
    document = json.loads(layout.blobs[str(manifest)])
    return [part["digest"] for part in [document["config"], *document["layers"]]]


def tagged_tar(layout: Layout) -> bytes:
    index = next(digest for digest, blob in layout.blobs.items() if b'"manifests"' in blob)
    layout.tag({"mediaType": OCI_INDEX, "digest": index, "size": len(layout.blobs[index])}, "docker.io/library/multi:1")
    return layout.to_tar()


def stored(content: FilesystemStore) -> set[str]:
    return {str(digest) for digest, _ in content.blobs()}


def own_blobs(layout: Layout, manifest: Digest) -> set[str]:
    """A manifest's digest, and those of its config and of its last layer: what it does not share."""
    document = json.loads(layout.blobs[str(manifest)])
    return {str(manifest), document["config"]["digest"], document["layers"][-1]["digest"]}


def damage(engine: Engine) -> list[Finding]:
    return list(verify_store(engine.metadata, engine.content))


def test_a_platform_goes_with_what_only_it_needed(engine: Engine, content: FilesystemStore) -> None:
    layout, (amd64, arm64, *_) = put_multi(engine)
    assert delete_image(engine, "multi:1", force=True, platforms=[ARM64]) == [deleted(arm64)]
    assert stored(content) == layout.blobs.keys() - own_blobs(layout, arm64)
    assert (names(engine), damage(engine)) == (["docker.io/library/multi:1"], [])
    [listed] = list_images(engine, filters=Filters(), manifests=True)
    assert listed.size == sum(size for _, size in content.blobs())
    assert [(each.descriptor.digest, each.available) for each in listed.manifests][:2] == [(amd64, True), (arm64, False)]


def test_the_last_platforms_go_and_the_name_stays(engine: Engine, content: FilesystemStore) -> None:
    layout, (amd64, arm64, *attestations) = put_multi(engine)
    assert delete_image(engine, "multi:1", force=True, platforms=[AMD64, ARM64]) == [deleted(amd64), deleted(arm64)]
    left = {str(digest) for each in attestations for digest in [each, *map(Digest.parse, children(layout, each))]}
    assert stored(content) - left == {str(all_records(engine.metadata)[0].target.digest)}
    assert (names(engine), damage(engine)) == (["docker.io/library/multi:1"], [])
    load_image(engine, tagged_tar(layout))
    assert stored(content) == layout.blobs.keys()


@pytest.mark.parametrize(
    ("platforms", "shown"),
    [
        ([Platform("linux", "s390x")], "linux/s390x"),
        ([ARM64, Platform("linux", "arm64", "v8")], "linux/arm64/v8"),
        ([ARM64, Platform("linux", "arm", "v7", "5")], "linux/arm/v7"),
    ],
    ids=["not listed", "twice", "the second not listed"],
)
def test_a_platform_that_is_not_here_removes_nothing(
    engine: Engine, content: FilesystemStore, platforms: list[Platform], shown: str
) -> None:
    layout, _ = put_multi(engine)
    target = all_records(engine.metadata)[0].target.digest
    words = (
        f"failed to delete platform {shown} for image {target}: image with reference multi:1 was found but does not provide any platform"
    )
    with pytest.raises(NotFound, match=f"^{words}$"):
        delete_image(engine, "multi:1", force=True, platforms=platforms)
    assert stored(content) == layout.blobs.keys()
    assert next(list_images(engine, filters=Filters())).size == sum(map(len, layout.blobs.values()))


@pytest.mark.parametrize("name", ["multi:1", "{id}", "{short}", "multi@{id}"])
def test_every_spelling_of_the_image_finds_its_platforms(engine: Engine, name: str) -> None:
    _, (_, arm64, *_) = put_multi(engine)
    tag_image(engine, "multi:1", Reference.parse("other:1"))
    target = all_records(engine.metadata)[0].target.digest
    assert delete_image(engine, name.format(id=target, short=target.short), force=True, platforms=[ARM64]) == [deleted(arm64)]
    assert len(names(engine)) == 2


def refuse_arm64(engine: Engine, reason: str) -> None:
    with pytest.raises(
        Conflict,
        match=rf"^failed to delete platform linux/arm64 for image sha256:\w+: conflict: "
        rf"unable to delete \w+ \(cannot be forced\) - {reason}$",
    ):
        delete_image(engine, "multi:1", force=True, platforms=[ARM64])


def test_a_platform_that_is_another_images_target_stays(engine: Engine, content: FilesystemStore) -> None:
    layout, (_, arm64, *_) = put_multi(engine)
    descriptor = {"mediaType": OCI_MANIFEST, "digest": str(arm64), "size": len(layout.blobs[str(arm64)])}
    put_image(engine, "arm:1", layout, descriptor)
    refuse_arm64(engine, "another image needs it")
    assert stored(content) == layout.blobs.keys()
    delete_image(engine, "arm:1")
    assert delete_image(engine, "multi:1", force=True, platforms=[ARM64]) == [deleted(arm64)]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_platform_that_another_image_lists_stays(engine: Engine, content: FilesystemStore, depth: int) -> None:
    layout, (_, arm64, *_) = put_multi(engine)
    upper = {"mediaType": OCI_MANIFEST, "digest": str(arm64), "size": len(layout.blobs[str(arm64)])}
    for _ in range(depth):
        upper = layout.index([upper])
    put_image(engine, "upper:1", layout, upper)
    refuse_arm64(engine, "another image needs it")
    assert stored(content) == layout.blobs.keys()


def test_a_platform_that_is_content_of_another_manifest_stays(engine: Engine, content: FilesystemStore) -> None:
    layout = Layout()
    arm64 = on_platform(layout.image([make_layer("arm64")], platform="linux/arm64"), "linux/arm64")
    keeper = layout.manifest(
        layout.add_json({}, "application/vnd.example.config"), [{**arm64, "mediaType": "application/vnd.example.copy"}]
    )
    put_image(engine, "multi:1", layout, layout.index([arm64, keeper]))
    refuse_arm64(engine, "another manifest needs it")
    assert stored(content) == layout.blobs.keys()


def test_an_image_of_one_platform_is_not_taken_apart(engine: Engine, content: FilesystemStore) -> None:
    layout = simple_layout(platform="linux/arm64")
    put_image(engine, "multi:1", layout)
    refuse_arm64(engine, "it is the image itself")
    assert stored(content) == layout.blobs.keys()


@pytest.mark.parametrize("held", ["index", "manifest"])
def test_what_a_running_transfer_holds_stays(engine: Engine, content: FilesystemStore, held: str) -> None:
    layout, (_, arm64, *_) = put_multi(engine)
    target = all_records(engine.metadata)[0].target.digest
    with hold(engine.metadata, engine.content, "save") as lease:
        lease.add([target if held == "index" else arm64])
        refuse_arm64(engine, "a running transfer needs it")
        assert stored(content) == layout.blobs.keys()
        lease.abandon()
        assert delete_image(engine, "multi:1", force=True, platforms=[ARM64]) == [deleted(arm64)]


def test_a_layer_that_a_running_transfer_holds_stays_until_it_ends(engine: Engine, content: FilesystemStore) -> None:
    layout, (_, arm64, *_) = put_multi(engine)
    layer = Digest.parse(children(layout, arm64)[-1])
    with hold(engine.metadata, engine.content, "pull") as lease:
        lease.add([layer])
        delete_image(engine, "multi:1", force=True, platforms=[ARM64])
        assert str(layer) in stored(content)
    assert str(layer) not in stored(content)


def test_a_platform_that_is_being_written_stays(engine: Engine, content: FilesystemStore) -> None:
    layout, (_, arm64, *_) = put_multi(engine)
    with content.locked(arm64) as locked:
        assert locked
        with pytest.raises(Conflict, match="it is being written$"):
            delete_image(engine, "multi:1", force=True, platforms=[ARM64])
    assert stored(content) == layout.blobs.keys()


def test_a_layer_of_another_image_stays(engine: Engine, content: FilesystemStore) -> None:
    put_multi(engine)
    other = Layout()
    put_image(engine, "other:1", other, other.image([make_layer("linux-arm64-v8")], platform="linux/arm64"))
    delete_image(engine, "multi:1", force=True, platforms=[ARM64])
    assert stored(content) >= other.blobs.keys()
    assert damage(engine) == []


def test_single_platforms_are_never_taken_for_the_image(engine: Engine) -> None:
    put_image(engine, "app:1")
    with pytest.raises(InvalidParameter, match="^Content will be removed from all images referencing this variant"):
        delete_image(engine, "app:1", platforms=[AMD64])
    with pytest.raises(ImageNotFound):
        delete_image(engine, "app:2", force=True, platforms=[AMD64])
    assert names(engine) == ["docker.io/library/app:1"]


def test_a_delete_also_takes_what_a_transfer_left_whose_lease_has_expired(engine: Engine, content: FilesystemStore) -> None:
    put_image(engine, "app:1")
    with suppress(ConnectionError), hold(engine.metadata, content, "pull", keep_on_failure=True) as lease:
        left = store_bytes(engine, lease, b"left")
        raise ConnectionError
    with engine.metadata.write() as tx:
        tx.leases.renew(lease._id, alive=0, expires=0)
    assert content.size(left) == 4
    delete_image(engine, "app:1")
    assert list(content.blobs()) == []


def test_a_platform_that_is_removed_after_it_was_chosen_is_not_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    layout.tag(layout.multi_platform(("linux/amd64", "linux/arm64/v8")), "docker.io/library/app:1")
    load_image(engine, layout.to_tar())
    wanted, choose = [Platform("linux", "amd64")], delete._choose

    def choose_first(*args: Any) -> Digest:
        chosen = choose(*args)
        monkeypatch.setattr(delete, "_choose", choose)
        assert delete_image(engine, "app:1", force=True, platforms=wanted) == [deleted(chosen)]
        return chosen

    monkeypatch.setattr(delete, "_choose", choose_first)
    with pytest.raises(NotFound, match="^failed to delete platform linux/amd64 for image "):
        delete_image(engine, "app:1", force=True, platforms=wanted)

"""The images of moby's own tests: what loads there loads here, and is listed, inspected, saved and deleted as there.

Source: moby integration/image (load_test.go, list_test.go, inspect_test.go, remove_test.go, prune_test.go), daemon/containerd
(image_load_test.go, image_list_test.go, image_save_test.go), integration-cli (docker_cli_save_load_test.go, docker_cli_inspect_test.go).
"""

from __future__ import annotations

import json

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidParameter, NotFound
from stowage.services.filters import Filters
from stowage.services.gc.verify import verify_store
from stowage.services.images.delete import Removal, delete_image
from stowage.services.images.inspect import inspect_image
from stowage.services.images.list import ListedImage, list_images
from stowage.services.images.prune import prune_images
from stowage.services.images.pull import pull_image
from stowage.services.metadata.summary import ManifestKind
from stowage.services.oci import mediatypes
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from tests.builders import Json, Layout, blob_path, load_image, on_platform
from tests.fake_registry import FakeRegistry, Fault
from tests.services.images.archives import AMD64, ARM64, blobs, document, members, names, save
from tests.special_images import (
    EMPTY_FS_ID,
    config_target,
    dangling,
    empty_fs,
    empty_index,
    image,
    labeled,
    multi_layer,
    multi_platform,
    random_platform,
    text_plain,
)

DANGLING_ID = "sha256:16d365089e5c10e1673ee82ab5bba38ade9b763296ad918bd24b42a1156c5456"
TWO_PLATFORMS = ("linux/amd64", "linux/arm64")
NEITHER = "descriptor is neither a manifest or index"

EVERY_IMAGE = [
    pytest.param(empty_fs(), "emptyfs:latest", id="emptyfs"),
    pytest.param(multi_layer(), "multilayer:latest", id="multilayer"),
    pytest.param(labeled("labeled:latest", {"on_prune": "keep"}), "labeled:latest", id="labeled"),
    pytest.param(random_platform("linux/amd64", 7), "random:latest", id="random"),
    pytest.param(random_platform("darwin/arm64", 0), "random:latest", id="random without layers"),
    pytest.param(multi_platform("twoplatform:latest", TWO_PLATFORMS)[0], "twoplatform:latest", id="twoplatform"),
    pytest.param(multi_platform("partial:latest", ["linux/amd64"], ["linux/arm64"])[0], "partial:latest", id="partial"),
    pytest.param(multi_platform("missing:latest", [], TWO_PLATFORMS)[0], "missing:latest", id="partial without any manifest"),
    pytest.param(empty_index(), "emptyindex:latest", id="emptyindex"),
    pytest.param(config_target(), "config:latest", id="configtarget"),
    pytest.param(text_plain(), "tianon/test:text-plain", id="textplain"),
]


def listed(engine: Engine) -> ListedImage:
    (image,) = list_images(engine, filters=Filters(), manifests=True, shared_size=True)
    return image


@pytest.mark.parametrize(("archive", "name"), EVERY_IMAGE)
def test_it_is_loaded_listed_and_deleted(engine: Engine, archive: bytes, name: str) -> None:
    assert load_image(engine, archive)[0] == f"Loaded image: {name}\n"
    image = listed(engine)
    assert image.repo_tags == (name,)
    inspected = inspect_image(engine, name, manifests=True)
    assert (inspected.repo_tags, len(inspected.manifests)) == ((name,), len(image.manifests))
    assert [finding for finding in verify_store(engine.metadata, engine.content) if finding.kind == "damage"] == []
    assert delete_image(engine, name) == [Removal(untagged=name), Removal(deleted=str(image.id))]
    assert (names(engine), blobs(engine)) == ({}, set())


@pytest.mark.parametrize(("archive", "name"), EVERY_IMAGE)
def test_it_is_pruned_when_names_are(engine: Engine, archive: bytes, name: str) -> None:
    load_image(engine, archive)
    target = listed(engine).id
    pruned = prune_images(engine, filters=Filters({"dangling": {"false": True}}))
    assert [removal.untagged for removal in pruned.removals or () if removal.untagged] == [name]
    assert str(target) in {removal.deleted for removal in pruned.removals or ()}
    assert (names(engine), blobs(engine)) == ({}, set())


@pytest.mark.parametrize(
    ("archive", "name"), [each for each in EVERY_IMAGE if each.id not in ("configtarget", "partial without any manifest")]
)
def test_it_is_saved_and_loaded_again(engine: Engine, archive: bytes, name: str) -> None:
    load_image(engine, archive)
    stored, saved = blobs(engine), save(engine, name)
    (entry,) = document(saved, "index.json")["manifests"]
    assert entry["digest"] == str(listed(engine).id)
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == name.rpartition(":")[2]
    delete_image(engine, name)
    assert load_image(engine, saved) == [f"Loaded image: {name}\n"]
    assert blobs(engine) == stored


def test_the_empty_file_system_has_the_id_that_moby_expects(engine: Engine) -> None:
    load_image(engine, empty_fs())
    assert str(listed(engine).id) == EMPTY_FS_ID
    assert blob_path(EMPTY_FS_ID) in members(save(engine, EMPTY_FS_ID[7:19]))


def test_the_nameless_image_has_an_id_and_no_names(engine: Engine) -> None:
    assert load_image(engine, dangling()) == [f"Loaded image ID: {DANGLING_ID}\n"]
    inspected = inspect_image(engine, DANGLING_ID)
    assert (inspected.repo_tags, inspected.repo_digests) == ((), ())
    assert listed(engine).labels == '{"org.mobyproject.test.specialimage":"1"}'
    assert (prune_images(engine, filters=Filters()).removals or [])[-1] == Removal(deleted=DANGLING_ID)


def test_an_image_that_loses_its_name_to_another_stays(engine: Engine) -> None:
    load_image(engine, multi_layer("named:latest", {"bar": b"1"}))
    old = str(listed(engine).id)
    load_image(engine, multi_layer("named:latest", {"bar": b"2"}))
    tags = {str(image.id): image.repo_tags for image in list_images(engine, filters=Filters())}
    assert tags.pop(old) == ()
    assert list(tags.values()) == [("named:latest",)]


def test_several_platforms_are_listed_in_the_order_of_the_index(engine: Engine) -> None:
    platforms = ["windows/amd64", "linux/arm/v7", "darwin/arm64"]
    load_image(engine, multi_platform("multiplatform:latest", platforms)[0])
    manifests = listed(engine).manifests
    assert [(each.kind, each.available, str(each.platform)) for each in manifests] == [
        (ManifestKind.IMAGE, True, each) for each in platforms
    ]


def test_platforms_that_are_not_here_are_listed_as_such(engine: Engine) -> None:
    load_image(engine, multi_platform("missing:latest", [], TWO_PLATFORMS)[0])
    assert [(each.available, str(each.platform)) for each in listed(engine).manifests] == [(False, each) for each in TWO_PLATFORMS]


def test_what_is_no_image_of_a_container_is_of_unknown_kind(engine: Engine) -> None:
    load_image(engine, text_plain())
    image = listed(engine)
    assert [each.kind for each in image.manifests] == [ManifestKind.UNKNOWN]
    assert (image.repo_digests, image.labels) == ((str(image.id),), None)


def test_a_config_as_target_has_no_manifests_and_no_platform(engine: Engine) -> None:
    assert load_image(engine, config_target()) == [
        "Loaded image: config:latest\n",
        f"Error unpacking image config:latest: error walking manifest for docker.io/library/config:latest: {NEITHER}\n",
    ]
    image = listed(engine)
    assert (image.manifests, image.repo_digests) == ((), (str(image.id),))
    assert inspect_image(engine, "config").descriptor.media_type == mediatypes.OCI_CONFIG


def test_a_config_as_target_cannot_be_saved(engine: Engine) -> None:
    load_image(engine, config_target())
    with pytest.raises(InvalidParameter, match="^only manifests may be exported: invalid argument$"):
        save(engine, "config")


def test_nothing_can_be_saved_of_an_index_without_its_manifests(engine: Engine) -> None:
    load_image(engine, multi_platform("missing:latest", [], TWO_PLATFORMS)[0])
    with pytest.raises(NotFound):
        save(engine, "missing")


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        pytest.param(empty_index(), "image emptyindex:latest doesn't provide the requested platform ([linux/amd64])", id="emptyindex"),
        pytest.param(random_platform("linux/arm64", 3), "image random:latest doesn't provide the requested "
                                                        "platform ([linux/amd64])", id="random"),
        pytest.param(config_target(), "image config:latest doesn't provide the requested platform ([linux/amd64])", id="configtarget"),
        pytest.param(
            multi_platform("missing:latest", ["linux/arm64"], ["linux/amd64"])[0],
            "requested platform(s) ([linux/amd64]) found, but some content is missing: content digest sha256:", id="partial",
        ),
    ],
)  # fmt: skip
def test_a_platform_that_it_lacks_is_not_loaded(engine: Engine, archive: bytes, words: str) -> None:
    with pytest.raises(NotFound) as refused:
        load_image(engine, archive, platforms=[AMD64])
    assert str(refused.value).startswith(words)
    assert (names(engine), blobs(engine)) == ({}, set())


def saved_platforms(engine: Engine, *platforms: Platform) -> list[str]:
    """Which of the manifests of `partial` an archive of these platforms has."""
    archive = save(engine, "partial", platforms=platforms)
    return [entry["digest"] for entry in document(archive, "index.json")["manifests"]]


def test_platforms_of_a_partial_index_are_saved_while_the_best_is_here(engine: Engine) -> None:
    archive, (amd64, *_) = multi_platform("partial:latest", ["linux/amd64", "linux/riscv64"], ["linux/arm64"])
    load_image(engine, archive)
    target = str(listed(engine).id)
    riscv = Platform(os="linux", architecture="riscv64")
    assert saved_platforms(engine) == [target]
    assert saved_platforms(engine, AMD64) == [amd64["digest"]]
    assert saved_platforms(engine, AMD64, riscv) == [target]
    assert saved_platforms(engine, ARM64, riscv) == [target]
    with pytest.raises(NotFound, match=r"^no suitable export target found: .* does not provide the specified platform \(linux/arm64/v8\)$"):
        saved_platforms(engine, ARM64)


def test_a_platform_is_removed_from_an_image_that_keeps_the_others(engine: Engine) -> None:
    platforms = ["linux/amd64", "linux/test/1", "linux/test/2", "other/some"]
    archive, manifests = multi_platform("several:latest", platforms)
    load_image(engine, archive)
    target = listed(engine).id
    for platform, gone in ((AMD64, manifests[0]), (Platform(os="other", architecture="some"), manifests[3])):
        assert delete_image(engine, "several", force=True, platforms=[platform]) == [Removal(deleted=gone["digest"])]
    assert delete_image(engine, "several") == [Removal(untagged="several:latest"), Removal(deleted=str(target))]


def test_labels_keep_an_image_from_a_prune(engine: Engine) -> None:
    load_image(engine, labeled("withlabel:latest", {"on_prune": "keep"}))
    load_image(engine, labeled("nolabel:latest", None))
    prune_images(engine, filters=Filters({"dangling": {"false": True}, "label!": {"on_prune=keep": True}}))
    assert list(names(engine)) == ["docker.io/library/withlabel:latest"]


@pytest.mark.parametrize("version", [0, 1, 3])
@pytest.mark.parametrize("fault", [None, Fault.GENERAL_TYPE])
def test_it_is_pulled_whatever_its_schema_version(engine: Engine, version: int, fault: Fault | None) -> None:
    layout = Layout()
    descriptor = layout.index([on_platform(image(layout, {"a": b"b"}), "linux/amd64")], schemaVersion=version)
    with FakeRegistry().serve() as registry:
        registry.faults = {"1": fault} if fault else {}
        reference = Reference.parse(registry.publish(layout, descriptor) + ":1")
        assert list(pull_image(engine, reference))[-1].status == f"Status: Downloaded newer image for {reference}"
    assert str(listed(engine).id) == descriptor["digest"]


def manifest_of(engine: Engine, name: str) -> Json:
    found: Json = json.loads(engine.content.read(inspect_image(engine, name).descriptor.digest))
    return found


def test_a_manifest_is_kept_as_it_came(engine: Engine) -> None:
    load_image(engine, multi_layer())
    assert manifest_of(engine, "multilayer")["schemaVersion"] == 0

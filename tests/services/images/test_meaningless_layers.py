"""Layers that are nothing: Docker loads images with them and, where it would unpack one, tells that it could not.

Layers that are something are what their config says, or the image is refused: that is the case for real images, whoever made them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.images.history import read_history
from stowage.services.oci import mediatypes
from tests.builders import (
    ArchivedImage,
    Json,
    Layout,
    compress,
    digest_of,
    docker_archive,
    load_image,
    make_config,
    make_layer,
    on_platform,
)
from tests.services.images.archives import ARM64, blobs, names, save

JUNK = b"this is no tar"
MADE_UP = digest_of(b"made up")
LOADED = "Loaded image: odd:latest\n"
UNREADABLE = f"failed to extract layer {MADE_UP}: not a readable {mediatypes.OCI_LAYER} stream"


def image(
    layout: Layout,
    raw: bytes = JUNK,
    *,
    media_type: str = mediatypes.OCI_LAYER,
    diff_ids: tuple[str, ...] = (MADE_UP,),
    platform: str = "linux/amd64",
) -> Json:
    """An image of one layer of these bytes, and a config with these diff_ids."""
    config = layout.add_json(make_config(diff_ids, platform=platform), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [layout.add(raw, media_type)])


def archive(layout: Layout, descriptor: Json) -> bytes:
    layout.tag(descriptor, "docker.io/library/odd:latest")
    return layout.to_tar()


@pytest.mark.parametrize("raw", [pytest.param(JUNK, id="short"), pytest.param(JUNK * 100, id="long"), pytest.param(b"", id="empty")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_one_for_this_platform_is_loaded_and_told(engine: Engine, raw: bytes, wrapped: bool) -> None:
    layout = Layout()
    descriptor = image(layout, raw)
    descriptor = layout.index([on_platform(descriptor, "linux/amd64")]) if wrapped else descriptor
    assert load_image(engine, archive(layout, descriptor)) == [LOADED, f"Error unpacking image odd:latest: {UNREADABLE}\n"]
    assert blobs(engine) == set(layout.blobs)


def test_one_for_another_platform_is_loaded_as_it_is_never_unpacked(engine: Engine) -> None:
    layout = Layout()
    odd = archive(layout, image(layout, platform="linux/arm64/v8"))
    assert load_image(engine, odd) == [LOADED]
    assert load_image(engine, odd, platforms=[ARM64]) == [LOADED, f"Error unpacking image odd:latest: {UNREADABLE}\n"]


def test_what_is_called_gzip_and_is_none_is_meaningless_too(engine: Engine) -> None:
    layout = Layout()
    odd = archive(layout, image(layout, media_type=mediatypes.OCI_LAYER_GZIP, platform="linux/arm64"))
    assert load_image(engine, odd) == [LOADED]


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        pytest.param(b"", mediatypes.OCI_LAYER, id="no bytes"),
        pytest.param(bytes(1024), mediatypes.OCI_LAYER, id="a tar without members"),
    ],
)
def test_an_empty_layer_with_its_own_diff_id_is_like_any_other(engine: Engine, raw: bytes, media_type: str) -> None:
    layout = Layout()
    assert load_image(engine, archive(layout, image(layout, raw, media_type=media_type, diff_ids=(digest_of(raw),)))) == [LOADED]


@pytest.mark.parametrize("diff_ids", [(), (MADE_UP, MADE_UP)])
def test_the_number_of_layers_says_nothing_where_they_are_nothing(engine: Engine, diff_ids: tuple[str, ...]) -> None:
    layout = Layout()
    lines = load_image(engine, archive(layout, image(layout, diff_ids=diff_ids)))
    assert lines == [LOADED, "Error unpacking image odd:latest: mismatched image rootfs and manifest layers\n"]


def test_an_image_without_the_layers_of_its_config_is_loaded_and_told(engine: Engine) -> None:
    layout = Layout()
    config = layout.add_json(make_config([MADE_UP]), mediatypes.OCI_CONFIG)
    lines = load_image(engine, archive(layout, layout.manifest(config, [])))
    assert lines == [LOADED, "Error unpacking image odd:latest: mismatched image rootfs and manifest layers\n"]


def test_it_can_be_saved_and_its_history_read(engine: Engine) -> None:
    layout = Layout()
    load_image(engine, archive(layout, image(layout)))
    assert [step.size for step in read_history(engine, "odd") or ()] == [0]
    assert load_image(engine, save(engine, "odd"))[0] == LOADED


def gzip_cut_short(layout: Layout) -> Json:
    raw = compress(make_layer(), "gzip")[:-9]
    return image(layout, raw, media_type=mediatypes.OCI_LAYER_GZIP, diff_ids=(digest_of(make_layer()),), platform="linux/arm64")


def zstd_of_another_layer(layout: Layout) -> Json:
    return image(layout, compress(make_layer(), "zstd"), media_type=mediatypes.OCI_LAYER_ZSTD, platform="linux/arm64")


def another_tar(layout: Layout) -> Json:
    return image(layout, make_layer(), platform="linux/arm64")


def another_empty_tar(layout: Layout) -> Json:
    return image(layout, bytes(1024))


def too_few_diff_ids(layout: Layout) -> Json:
    return image(layout, make_layer(), diff_ids=())


def one_of_two_is_real(layout: Layout) -> Json:
    config = layout.add_json(make_config([MADE_UP]), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [layout.add(JUNK, mediatypes.OCI_LAYER), layout.add(make_layer(), mediatypes.OCI_LAYER)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(gzip_cut_short, "is not a readable", id="gzip cut short"),
        pytest.param(zstd_of_another_layer, "wrong diff id calculated on extraction", id="zstd of another layer"),
        pytest.param(another_tar, "wrong diff id calculated on extraction", id="another tar"),
        pytest.param(another_empty_tar, "wrong diff id calculated on extraction", id="another empty tar"),
        pytest.param(too_few_diff_ids, "mismatched image rootfs and manifest layers", id="too few diff_ids"),
        pytest.param(one_of_two_is_real, "mismatched image rootfs and manifest layers", id="one of two is real"),
    ],
)
def test_a_layer_that_is_something_must_be_what_the_config_says(engine: Engine, make: Callable[[Layout], Json], words: str) -> None:
    layout = Layout()
    with pytest.raises(InvalidContent, match=words):
        load_image(engine, archive(layout, make(layout)))
    assert (names(engine), blobs(engine)) == ({}, set())


def test_a_docker_archive_vouches_for_a_layer_by_its_diff_id_alone(engine: Engine) -> None:
    assert load_image(engine, docker_archive(ArchivedImage((JUNK,), ("odd:latest",))))[0] == LOADED


@pytest.mark.parametrize("raw", [JUNK, b""])
def test_a_layer_of_a_docker_archive_that_is_damaged_beyond_reading_is_refused(engine: Engine, raw: bytes) -> None:
    with pytest.raises(InvalidContent, match="is not readable: wrong diff id"):
        load_image(engine, docker_archive(ArchivedImage((raw,), ("odd:latest",), diff_ids=(MADE_UP,))))
    assert (names(engine), blobs(engine)) == ({}, set())


@pytest.mark.parametrize("raw", [pytest.param(b"{}", id="JSON"), pytest.param(make_layer("x"), id="another tar")])
def test_layers_of_what_an_index_lists_as_no_image_are_not_looked_at(engine: Engine, raw: bytes) -> None:
    layout = Layout()
    subject = on_platform(layout.image([make_layer()]), "linux/amd64")
    reference = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject["digest"]}
    attestation = {**image(layout, raw, platform="unknown/unknown"), "annotations": reference}
    disowned = on_platform(image(layout, raw, diff_ids=(MADE_UP, MADE_UP)), "unknown/unknown")
    assert load_image(engine, archive(layout, layout.index([subject, attestation, disowned]))) == [LOADED]


def test_a_manifest_that_is_listed_as_an_image_too_is_looked_at(engine: Engine) -> None:
    layout = Layout()
    odd = another_tar(layout)
    with pytest.raises(InvalidContent, match="wrong diff id"):
        load_image(engine, archive(layout, layout.index([on_platform(odd, "unknown/unknown"), on_platform(odd, "linux/arm64")])))


@pytest.mark.parametrize("media_type", ["", "application/vnd.example.thing", mediatypes.OCI_CONFIG, mediatypes.DOCKER_MANIFEST_V1])
def test_a_manifest_under_another_type_is_refused_as_its_content_would_be_lost(engine: Engine, media_type: str) -> None:
    layout = Layout()
    descriptor = {**layout.image([make_layer()]), "mediaType": media_type}
    with pytest.raises(InvalidContent, match="only manifests and indexes are images"):
        load_image(engine, archive(layout, descriptor))


def test_a_name_for_a_blob_of_any_type_is_taken(engine: Engine) -> None:
    layout = Layout()
    descriptor = layout.add(b"anything", "application/vnd.example.thing")
    assert load_image(engine, archive(layout, descriptor))[0] == LOADED
    assert blobs(engine) == set(layout.blobs)

"""Which media types count as what."""

from __future__ import annotations

import pytest

from stowage.services.oci import mediatypes


@pytest.mark.parametrize(
    ("media_type", "is_layer", "is_foreign", "is_tar"),
    [
        ("application/vnd.oci.image.layer.v1.tar", True, False, True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", True, False, True),
        ("application/vnd.oci.image.layer.v1.tar+zstd", True, False, True),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", True, False, False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True, True, True),
        ("application/vnd.oci.image.layer.v9.future", True, False, False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", True, False, True),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted", True, False, False),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", True, False, True),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True, True, True),
        ("application/vnd.erofs.layer.v1", True, False, False),
        ("application/vnd.in-toto+json", False, False, False),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", False, False, False),
        ("application/vnd.oci.empty.v1+json", False, False, False),
        ("", False, False, False),
    ],
)
def test_layers(media_type: str, is_layer: bool, is_foreign: bool, is_tar: bool) -> None:
    assert mediatypes.is_layer(media_type) is is_layer
    assert mediatypes.is_foreign_layer(media_type) is is_foreign
    assert mediatypes.is_tar_layer(media_type) is is_tar


def test_a_document_is_an_index_or_a_manifest_or_neither() -> None:
    assert all(mediatypes.is_index(name) and not mediatypes.is_manifest(name) for name in mediatypes.INDEXES)
    assert all(mediatypes.is_manifest(name) and not mediatypes.is_index(name) for name in mediatypes.MANIFESTS)
    assert not any(mediatypes.is_manifest(name) or mediatypes.is_index(name) for name in mediatypes.SCHEMA1)


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/vnd.oci.image.config.v1+json", True),
        ("application/vnd.docker.container.image.v1+json", True),
        ("application/vnd.cncf.helm.config.v1+json", False),
        ("application/vnd.oci.empty.v1+json", False),
    ],
)
def test_image_configs(media_type: str, expected: bool) -> None:
    assert mediatypes.is_config(media_type) is expected

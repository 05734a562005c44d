"""manifest.json in, the derived manifest and manifest.json out."""

from __future__ import annotations

import json

import pytest

from services.archive.docker_archive import (
    ArchivedImage,
    derive_manifest,
    layer_media_type,
    manifest_file,
    parse_manifest_file,
    resolve_links,
)
from services.errors import InvalidContent
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.mediatypes import DOCKER_CONFIG

CONFIG, LAYER = Digest.of(b"config"), Digest.of(b"layer")


def test_reads_entries_in_order() -> None:
    raw = b'[{"Config":"c.json","RepoTags":["a:1","b:2"],"Layers":["x/layer.tar"]},{"Config":"d.json","RepoTags":null,"Layers":null}]'
    assert parse_manifest_file(raw) == [ArchivedImage("c.json", ("a:1", "b:2"), ("x/layer.tar",)), ArchivedImage("d.json", (), ())]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"{not json", "untar manifest \"manifest.json\": invalid character 'n' looking for beginning of object key string", id="not JSON"),
        pytest.param(b"{}", 'untar manifest "manifest.json": json: cannot unmarshal object', id="an object"),
        pytest.param(b"[1]", 'untar manifest "manifest.json": json: cannot unmarshal number', id="a number"),
        pytest.param(b'[{"Layers":[1]}]', 'untar manifest "manifest.json": json: cannot unmarshal number', id="a layer that is a number"),
        pytest.param(b"null", "unrecognized image format", id="null"),
    ],
)
def test_refuses_with_containerds_words(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidContent) as refused:
        parse_manifest_file(raw)
    assert str(refused.value).startswith(words)


def test_derived_manifest_is_containerds_to_the_byte() -> None:
    config = Descriptor(DOCKER_CONFIG, CONFIG, 6)
    layers = [Descriptor(layer_media_type(compressed=False), LAYER, 5), Descriptor(layer_media_type(compressed=True), LAYER, 5)]
    assert derive_manifest(config, layers) == (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        f'"config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{CONFIG}","size":6}},'
        f'"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","digest":"{LAYER}","size":5}},'
        f'{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"{LAYER}","size":5}}]}}'
    ).encode()


def test_derived_manifest_without_layers_has_an_empty_list() -> None:
    assert json.loads(derive_manifest(Descriptor(DOCKER_CONFIG, CONFIG, 6), []))["layers"] == []


def test_manifest_file_has_nulls_for_what_is_empty() -> None:
    written = manifest_file([(CONFIG, ["a:1"], [LAYER]), (CONFIG, [], [])])
    config, layer = f"blobs/sha256/{CONFIG.hex}", f"blobs/sha256/{LAYER.hex}"
    assert json.loads(written) == [
        {"Config": config, "RepoTags": ["a:1"], "Layers": [layer]},
        {"Config": config, "RepoTags": None, "Layers": None},
    ]


def test_links_stand_for_members() -> None:
    assert resolve_links({"a/layer.tar": 1}, {"b/layer.tar": "a/layer.tar"}) == {"b/layer.tar": "a/layer.tar"}


def test_link_to_nothing_is_refused() -> None:
    with pytest.raises(InvalidContent, match='no target for symlink layer from "b" to "c"'):
        resolve_links({"a": 1}, {"b": "c"})

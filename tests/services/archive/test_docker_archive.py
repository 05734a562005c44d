"""manifest.json in, the derived manifest and manifest.json out."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from stowage.services.archive.docker_archive import (
    ArchivedImage,
    derive_manifest,
    layer_media_type,
    manifest_file,
    parse_manifest_file,
    resolve_links,
)
from stowage.services.errors import InvalidContent
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP
from tests.builders import compress

CONFIG, LAYER = Digest.of(b"config"), Digest.of(b"layer")
STRUCT = "struct { Config string; RepoTags []string; Layers []string }"
FIELD = "Go struct field ."


def test_reads_entries_in_order() -> None:
    raw = b'[{"Config":"c.json","RepoTags":["a:1","b:2"],"Layers":["x/layer.tar"]},{"Config":"d.json","RepoTags":null,"Layers":null}]'
    assert parse_manifest_file(raw) == [ArchivedImage("c.json", ("a:1", "b:2"), ("x/layer.tar",)), ArchivedImage("d.json", (), ())]


def test_an_entry_that_is_null_is_an_empty_one() -> None:
    assert parse_manifest_file(b"[null]") == [ArchivedImage("", (), ())]


def test_reads_one_document_and_passes_over_what_follows() -> None:
    assert parse_manifest_file(b'[{"Config":"c.json"}]\n\0 and more') == [ArchivedImage("c.json", (), ())]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"{not json", "invalid character 'n' looking for beginning of object key string", id="not JSON"),
        pytest.param(b"", "EOF", id="empty"),
        pytest.param(b'[{"Config":', "unexpected EOF", id="cut"),
        pytest.param(b"{}", f"json: cannot unmarshal object into Go value of type []{STRUCT}", id="an object"),
        pytest.param(b"5", f"json: cannot unmarshal number into Go value of type []{STRUCT}", id="a number"),
        pytest.param(b'["x"]', f"json: cannot unmarshal string into Go value of type {STRUCT}", id="an entry that is a string"),
        pytest.param(b'[{"Config":1}]', f"json: cannot unmarshal number into {FIELD}Config of type string", id="a config that is a number"),
        pytest.param(
            b'[{"RepoTags":"a"}]', f"json: cannot unmarshal string into {FIELD}RepoTags of type []string", id="names that are one"
        ),
        pytest.param(
            b'[{"Layers":[1]}]', f"json: cannot unmarshal number into {FIELD}Layers of type string", id="a layer that is a number"
        ),
    ],
)
def test_refuses_with_containerds_words(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidContent) as refused:
        parse_manifest_file(raw)
    assert str(refused.value) == f'untar manifest "manifest.json": {words}'


def test_null_is_no_archive() -> None:
    with pytest.raises(InvalidContent, match="^unrecognized image format$"):
        parse_manifest_file(b"null")


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        pytest.param(b"", DOCKER_LAYER, id="empty"),
        pytest.param(b"files/one", DOCKER_LAYER, id="plain"),
        pytest.param(compress(b"x", "gzip"), DOCKER_LAYER_GZIP, id="gzip"),
        pytest.param(compress(b"x", "zstd"), DOCKER_LAYER_GZIP, id="zstd"),
        pytest.param(b"\x51\x2a\x4d\x18\4\0\0\0", DOCKER_LAYER_GZIP, id="skippable zstd frame"),
        pytest.param(compress(b"x", "bzip2"), DOCKER_LAYER, id="bzip2"),
        pytest.param(compress(b"x", "xz"), DOCKER_LAYER, id="xz"),
    ],
)
def test_layers_are_called_as_containerd_calls_them(head: bytes, media_type: str) -> None:
    assert layer_media_type(head[:10]) == media_type


def test_derived_manifest_is_containerds_to_the_byte() -> None:
    config = Descriptor(DOCKER_CONFIG, CONFIG, 6)
    layers = [Descriptor(DOCKER_LAYER, LAYER, 5), Descriptor(DOCKER_LAYER_GZIP, LAYER, 5)]
    assert (
        derive_manifest(config, layers)
        == (
            '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
            f'"config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{CONFIG}","size":6}},'
            f'"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","digest":"{LAYER}","size":5}},'
            f'{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"{LAYER}","size":5}}]}}'
        ).encode()
    )


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


def test_links_may_lead_to_links() -> None:
    assert resolve_links({"a": 1}, {"d": "c", "c": "b", "b": "a"}) == {"d": "a", "c": "a", "b": "a"}


@pytest.mark.parametrize(
    ("links", "words"),
    [
        pytest.param({"b": "c"}, 'from "b" to "c"', id="nothing"),
        pytest.param({"b": "b"}, 'from "b" to "b"', id="itself"),
        pytest.param({"b": "c", "c": "b"}, 'from "b" to "c"', id="each other"),
        pytest.param({f"{n}": f"{n - 1}" for n in range(10_000, 0, -1)} | {"0": "a"}, 'from "10000" to "9999"', id="too many links"),
    ],
)
def test_links_that_lead_to_no_member_are_refused(links: Mapping[str, str], words: str) -> None:
    with pytest.raises(InvalidContent, match=f"^no target for symlink layer {words}$"):
        resolve_links({"a": 1}, links)

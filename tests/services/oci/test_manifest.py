"""Manifests and indexes: what is read, that nothing ambiguous is, and which manifests of an index are for a platform."""

from __future__ import annotations

import json

import pytest

from stowage.services.errors import InvalidContent, InvalidDigest, InvalidParameter
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, choose_manifests, schema1_removed, wanted_manifests
from stowage.services.oci.mediatypes import DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from stowage.services.oci.platform import Platform, PlatformMatcher

DIGEST = "sha256:" + "ab" * 32
CONFIG = {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 2}
LAYER = {"mediaType": OCI_LAYER_GZIP, "digest": DIGEST, "size": 7}
CHILD = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 9}
MANIFEST: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
INDEX: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [CHILD]}


def written(document: dict[str, object], **changes: object) -> bytes:
    """The document with members changed; `...` leaves one out."""
    return json.dumps({key: value for key, value in {**document, **changes}.items() if value is not ...}).encode()


def test_a_manifest_has_one_config_and_layers_in_order() -> None:
    manifest = Manifest.parse(written(MANIFEST), OCI_MANIFEST)
    assert manifest == Manifest(
        OCI_MANIFEST, Descriptor(OCI_CONFIG, Digest.parse(DIGEST), 2), (Descriptor(OCI_LAYER_GZIP, Digest.parse(DIGEST), 7),)
    )


def test_an_index_has_manifests_in_order() -> None:
    index = Index.parse(written(INDEX, manifests=[CHILD, {**CHILD, "size": 10}]), OCI_INDEX)
    assert [child.size for child in index.manifests] == [9, 10]


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_need_not_state_its_media_type(media_type: str) -> None:
    assert Manifest.parse(written(MANIFEST, mediaType=...), media_type).media_type == media_type


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_an_index_need_not_state_its_media_type(media_type: str) -> None:
    assert Index.parse(written(INDEX, mediaType=...), media_type).media_type == media_type


def test_null_lists_are_empty_as_go_writes_them() -> None:
    assert Manifest.parse(written(MANIFEST, layers=None), OCI_MANIFEST).layers == ()
    assert Index.parse(written(INDEX, manifests=None), OCI_INDEX).manifests == ()


def test_a_config_without_a_media_type_is_taken_as_containerd_takes_it() -> None:
    manifest = Manifest.parse(written(MANIFEST, config={"digest": DIGEST, "size": 2}), OCI_MANIFEST)
    assert manifest.config.media_type == ""


@pytest.mark.parametrize("version", [0, 1, 3, None, ...])
def test_the_schema_version_says_nothing_as_containerd_does_not_look_at_it(version: object) -> None:
    assert Manifest.parse(written(MANIFEST, schemaVersion=version), OCI_MANIFEST).layers
    assert Index.parse(written(INDEX, schemaVersion=version), OCI_INDEX).manifests


AMBIGUOUS = [
    pytest.param(written(MANIFEST, manifests=[CHILD]), "media-type: expected manifest but found index", id="with manifests"),
    pytest.param(written(MANIFEST, manifests=None), "media-type: expected manifest but found index", id="with null manifests"),
    pytest.param(written(MANIFEST, Manifests=[]), "media-type: expected manifest but found index", id="with manifests in another case"),
    pytest.param(written(MANIFEST, mediaType=OCI_INDEX), "media-type: expected manifest but found index", id="that states an index"),
    pytest.param(written(MANIFEST, mediaType=DOCKER_MANIFEST), "but the document states", id="that states another type"),
    pytest.param(written(MANIFEST, mediaType="text/plain"), "but the document states", id="that states an unknown type"),
    pytest.param(written(MANIFEST, fsLayers=[]), "media-type: schema 1 not supported", id="with fsLayers"),
    pytest.param(written(MANIFEST, schemaVersion="2"), "cannot unmarshal string", id="of schema in text"),
    pytest.param(written(MANIFEST, config=...), "manifest has no config", id="without config"),
    pytest.param(written(MANIFEST, config=[]), "cannot unmarshal array", id="with a list as config"),
    pytest.param(written(MANIFEST, layers={}), "cannot unmarshal object", id="with an object as layers"),
    pytest.param(written(MANIFEST, layers=[None]), "cannot unmarshal null", id="with a null layer"),
    pytest.param(written(MANIFEST, Config=CONFIG), 'key "config" occurs twice', id="with two configs"),
    pytest.param(written(MANIFEST)[:-1] + b',"layers":[]}', 'key "layers" occurs twice', id="with two lists of layers"),
    pytest.param(written(MANIFEST, layers=[{**LAYER, "Digest": DIGEST}]), 'key "digest" occurs twice', id="with a layer of two digests"),
    pytest.param(b"[]", "cannot unmarshal array", id="that is a list"),
    pytest.param(b"null", "cannot unmarshal null", id="that is null"),
    pytest.param(b"", "unexpected end of JSON input", id="that is empty"),
    pytest.param(b"\x1f\x8b\x08", "invalid character", id="that is compressed"),
    pytest.param(b'{"a":' + b"[" * 100_000, "exceeded max depth", id="that is nested without end"),
    pytest.param(written(MANIFEST) + b" " * MAX_MANIFEST_BYTES, "is larger than 4194304 bytes", id="over the limit"),
]


@pytest.mark.parametrize(("raw", "sentence"), AMBIGUOUS)
def test_a_manifest_is_refused(raw: bytes, sentence: str) -> None:
    with pytest.raises(InvalidContent, match=sentence):
        Manifest.parse(raw, OCI_MANIFEST)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"config": CONFIG}, "media-type: expected index but found manifest", id="with config"),
        pytest.param({"layers": None}, "media-type: expected index but found manifest", id="with null layers"),
        pytest.param({"LAYERS": []}, "media-type: expected index but found manifest", id="with layers in another case"),
        pytest.param({"mediaType": DOCKER_MANIFEST}, "media-type: expected index but found manifest", id="that states a manifest"),
        pytest.param({"mediaType": DOCKER_INDEX}, "but the document states", id="that states another type"),
        pytest.param({"manifests": ...}, "index has no manifests", id="without manifests"),
        pytest.param({"manifests": "x"}, "cannot unmarshal string", id="with text as manifests"),
        pytest.param({"fsLayers": [], "signatures": []}, "media-type: schema 1 not supported", id="of schema 1"),
    ],
)
def test_an_index_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidContent, match=sentence):
        Index.parse(written(INDEX, **changes), OCI_INDEX)


def test_a_digest_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidDigest):
        Manifest.parse(written(MANIFEST, layers=[{**LAYER, "digest": "sha256:../../x"}]), OCI_MANIFEST)


@pytest.mark.parametrize("media_type", sorted(mediatypes.SCHEMA1))
def test_schema_1_is_refused_in_dockers_words(media_type: str) -> None:
    for parse in (Manifest.parse, Index.parse):
        with pytest.raises(InvalidContent, match=r"^Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been"):
            parse(b"{}", media_type)


def test_the_schema_1_error_names_the_image_where_it_is_known() -> None:
    assert str(schema1_removed("docker.io/library/old:1")) == (
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed."
        " Suggest the author of docker.io/library/old:1 to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2."
        " More information at https://docs.docker.com/go/deprecated-image-specs/"
    )


def test_a_manifest_is_not_read_under_a_type_of_the_other_kind() -> None:
    with pytest.raises(InvalidContent):
        Manifest.parse(written(MANIFEST, mediaType=...), OCI_INDEX)
    with pytest.raises(InvalidContent):
        Index.parse(written(INDEX, mediaType=...), OCI_MANIFEST)
    with pytest.raises(InvalidParameter):
        Manifest.parse(written(MANIFEST, mediaType=...), "application/json")


@pytest.mark.parametrize(
    ("layers", "is_pseudo"),
    [
        pytest.param([], False, id="no layers"),
        pytest.param([LAYER], False, id="file system"),
        pytest.param([{**LAYER, "mediaType": "application/vnd.in-toto+json"}], True, id="attestation"),
        pytest.param([{**LAYER, "mediaType": "application/vnd.in-toto+json"}, LAYER], False, id="mixed"),
    ],
)
def test_a_manifest_whose_layers_are_no_file_systems_is_no_image(layers: list[object], is_pseudo: bool) -> None:
    assert Manifest.parse(written(MANIFEST, layers=layers), OCI_MANIFEST).is_pseudo is is_pseudo


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32, ""])
def test_a_subject_outside_the_grammar_is_refused(digest: str) -> None:
    subject = {**CHILD, "digest": digest}
    with pytest.raises(InvalidDigest):
        Manifest.parse(written(MANIFEST, subject=subject), OCI_MANIFEST)
    with pytest.raises(InvalidDigest):
        Index.parse(written(INDEX, subject=subject), OCI_INDEX)
    assert Manifest.parse(written(MANIFEST, subject=None), OCI_MANIFEST)


def listed(name: str, platform: str = "", *, about: str = "", media_type: str = mediatypes.OCI_MANIFEST) -> Descriptor:
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(Digest.of(about.encode()))}
    found = Platform.parse(platform) if platform else None
    return Descriptor(media_type, Digest.of(name.encode()), 1, annotations=annotations if about else {}, platform=found)


AMD64, ARM64, ARM_V6, ARM_V7 = (
    listed("amd64", "linux/amd64"),
    listed("arm64", "linux/arm64"),
    listed("v6", "linux/arm/v6"),
    listed("v7", "linux/arm/v7"),
)
ANY = listed("any")
OF_AMD64 = listed("attestation", "unknown/unknown", about="amd64")
LATER_OF_AMD64 = listed("later attestation", "unknown/unknown", about="amd64")
INDEX_OF_AMD64 = listed("attestations", "unknown/unknown", about="amd64", media_type=mediatypes.OCI_INDEX)
NESTED = listed("nested", "linux/amd64", media_type=mediatypes.OCI_INDEX)
BLOB = listed("blob", media_type="application/octet-stream")


@pytest.mark.parametrize(
    ("children", "platform", "expected"),
    [
        pytest.param([ARM64, AMD64], "linux/amd64", [AMD64], id="the one for the platform"),
        pytest.param([ARM64], "linux/amd64", [], id="none"),
        pytest.param([ARM_V6, ARM_V7], "linux/arm/v7", [ARM_V7], id="the best variant"),
        pytest.param([ARM_V6, AMD64], "linux/arm/v7", [ARM_V6], id="a variant that runs there"),
        pytest.param([ANY, AMD64], "linux/amd64", [AMD64], id="one that says its platform comes first"),
        pytest.param([ARM64, ANY], "linux/amd64", [ANY], id="one without a platform fits any"),
        pytest.param([AMD64, listed("second", "linux/amd64")], "linux/amd64", [AMD64], id="the first of equals"),
        pytest.param([OF_AMD64, AMD64, ARM64], "linux/amd64", [AMD64, OF_AMD64], id="its attestation"),
        pytest.param([OF_AMD64, AMD64, ARM64], "linux/arm64", [ARM64], id="not another's attestation"),
        pytest.param([AMD64, OF_AMD64, LATER_OF_AMD64], "linux/amd64", [AMD64, LATER_OF_AMD64], id="the last attestation"),
        pytest.param([NESTED], "linux/amd64", [NESTED], id="a nested index"),
        pytest.param([BLOB], "linux/amd64", [], id="neither manifest nor index"),
        pytest.param([], "linux/amd64", [], id="an empty index"),
    ],
)
def test_the_best_manifest_and_its_attestation_are_chosen(children: list[Descriptor], platform: str, expected: list[Descriptor]) -> None:
    assert list(choose_manifests(children, PlatformMatcher.only(Platform.parse(platform)))) == expected


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        pytest.param([ARM64, ANY, AMD64, ARM_V7], [ANY, AMD64], id="all that fit"),
        pytest.param([OF_AMD64, AMD64, ARM64, LATER_OF_AMD64], [AMD64, LATER_OF_AMD64], id="the last attestation"),
        pytest.param([ARM64, OF_AMD64], [], id="no attestation alone"),
        pytest.param([ARM64, listed("of arm64", "unknown/unknown", about="arm64")], [], id="not another's attestation"),
        pytest.param([AMD64, INDEX_OF_AMD64], [AMD64], id="an index attests nothing"),
    ],
)
def test_all_manifests_for_the_platform_and_their_attestations_are_wanted(children: list[Descriptor], expected: list[Descriptor]) -> None:
    assert wanted_manifests(children, PlatformMatcher.only(Platform.parse("linux/amd64"))) == expected

"""oci-layout and index.json."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stowage.services.archive.oci_layout import (
    LAYOUT,
    MAX_ENTRY_TEXT,
    entry_name,
    index_file,
    is_image,
    named,
    parse_index_file,
    parse_layout_version,
    unnamed,
)
from stowage.services.errors import InvalidContent
from stowage.services.oci import gojson
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import OCI_MANIFEST

DIGEST = Digest.of(b"manifest")
ENTRY = Descriptor(OCI_MANIFEST, DIGEST, 8)


def test_layout_is_the_one_version() -> None:
    assert parse_layout_version(LAYOUT) == "1.0.0"


def test_layout_without_a_version_is_none() -> None:
    assert parse_layout_version(b"{}") == ""


def test_layout_is_one_document_whatever_follows() -> None:
    assert parse_layout_version(LAYOUT + b"\n\0 and more") == "1.0.0"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b'{"imageLayoutVersion":"2.0.0"}', "unsupported OCI version 2.0.0", id="another version"),
        pytest.param(b"[]", 'untar oci layout "oci-layout": json: cannot unmarshal array', id="an array"),
        pytest.param(b"{", 'untar oci layout "oci-layout": unexpected EOF', id="cut"),
        pytest.param(b"", 'untar oci layout "oci-layout": EOF', id="empty"),
    ],
)
def test_refuses_layouts(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidContent) as refused:
        parse_layout_version(raw)
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        pytest.param({}, "", id="none"),
        pytest.param({"org.opencontainers.image.ref.name": "latest"}, "latest", id="OCI's"),
        pytest.param(
            {"io.containerd.image.name": "docker.io/a/b:1", "org.opencontainers.image.ref.name": "1"},
            "docker.io/a/b:1",
            id="containerd's wins",
        ),
        pytest.param({"io.containerd.image.name": "", "org.opencontainers.image.ref.name": "1"}, "1", id="an empty one does not count"),
    ],
)
def test_name_of_an_entry(annotations: dict[str, str], name: str) -> None:
    assert entry_name(Descriptor(OCI_MANIFEST, DIGEST, 8, annotations)) == name


@pytest.mark.parametrize(
    ("name", "ref_name"),
    [
        pytest.param("docker.io/library/a:1", "1", id="tag"),
        pytest.param("localhost:5000/a:1", "1", id="port"),
        pytest.param("localhost:5000/a", "localhost:5000/a", id="port without a tag"),
        pytest.param(f"docker.io/library/a@{DIGEST}", f"docker.io/library/a@{DIGEST}", id="digest"),
    ],
)
def test_naming(name: str, ref_name: str) -> None:
    entry = named(ENTRY, name)
    assert dict(entry.annotations) == {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": ref_name}
    assert unnamed(entry) == ENTRY
    assert unnamed(entry).annotations == {}


def test_an_entry_is_an_image_unless_it_has_a_subject_and_no_name() -> None:
    referrer = Descriptor(OCI_MANIFEST, DIGEST, 8, {"io.containerd.manifest.subject": str(DIGEST)})
    assert not is_image(referrer)
    assert is_image(named(referrer, "docker.io/library/app:1"))
    assert is_image(ENTRY)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="no schemaVersion"),
        pytest.param({"schemaVersion": 1}, id="another schemaVersion"),
        pytest.param(
            {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json"}, id="another media type"
        ),
        pytest.param({"schemaVersion": 2, "annotations": {"a": "b"}, "subject": 1}, id="other keys"),
    ],
)
def test_index_file_may_say_anything_beside_its_entries(fields: dict[str, object]) -> None:
    assert parse_index_file(gojson.encode({**fields, "manifests": [ENTRY.to_json()]}), most=1) == (ENTRY,)


@pytest.mark.parametrize("raw", [b"{}", b"null", b'{"schemaVersion":2,"manifests":null}', b'{"schemaVersion":2,"manifests":[]}'])
def test_index_file_may_be_empty(raw: bytes) -> None:
    assert parse_index_file(raw, most=2) == ()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"[]", "json: cannot unmarshal array into Go value of type Index", id="an array"),
        pytest.param(
            b'{"manifests":{}}', "json: cannot unmarshal object into Go struct field Index.manifests of type []v1.Descriptor", id="no list"
        ),
        pytest.param(b'{"manifests":[],"Manifests":[]}', 'json: key "manifests" occurs twice in one object', id="two lists"),
        pytest.param(
            b'{"manifests":[{"annotations":{},"annotations":{}}]}',
            'json: key "annotations" occurs twice in one object',
            id="two sets of names",
        ),
        pytest.param(b'{"manifests":[]} x', "invalid character 'x' after top-level value", id="more behind it"),
    ],
)
def test_refuses_index_files(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidContent) as refused:
        parse_index_file(raw, most=2)
    assert str(refused.value) == words


def test_index_round_trip() -> None:
    entries = (named(ENTRY, "docker.io/library/a:1"), ENTRY)
    assert parse_index_file(index_file(entries), most=len(entries)) == entries
    assert json.loads(index_file([]))["manifests"] == []


def test_an_entry_with_too_much_text_is_refused() -> None:
    """Every name that the image is ever given has it."""
    most = MAX_ENTRY_TEXT - len(OCI_MANIFEST) - len("key")
    within = replace(ENTRY, annotations={"key": "v" * most}, urls=("u" * MAX_ENTRY_TEXT,), data="d" * MAX_ENTRY_TEXT)
    assert parse_index_file(index_file([within]), most=1) == (within,)
    for beyond in (replace(ENTRY, annotations={"key": "v" * (most + 1)}), replace(ENTRY, media_type="m" * (MAX_ENTRY_TEXT + 1))):
        with pytest.raises(
            InvalidContent, match=f"^index.json has more than {MAX_ENTRY_TEXT} characters of media type and annotations for {DIGEST}$"
        ):
            parse_index_file(index_file([beyond]), most=1)

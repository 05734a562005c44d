"""oci-layout and index.json."""

from __future__ import annotations

import json

import pytest

from services.archive.oci_layout import LAYOUT, entry_name, index_file, is_referrer, named, parse_index_file, parse_layout_version, unnamed
from services.errors import InvalidContent
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.mediatypes import OCI_MANIFEST

DIGEST = Digest.of(b"manifest")
ENTRY = Descriptor(OCI_MANIFEST, DIGEST, 8)


def test_layout_is_the_one_version() -> None:
    assert parse_layout_version(LAYOUT) == "1.0.0"


def test_layout_without_a_version_is_none() -> None:
    assert parse_layout_version(b"{}") == ""


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b'{"imageLayoutVersion":"2.0.0"}', "unsupported OCI version 2.0.0", id="another version"),
        pytest.param(b"[]", 'untar oci layout "oci-layout": json: cannot unmarshal array', id="an array"),
        pytest.param(b"{", 'untar oci layout "oci-layout": unexpected end of JSON input', id="cut"),
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
        pytest.param({"io.containerd.image.name": "docker.io/a/b:1", "org.opencontainers.image.ref.name": "1"}, "docker.io/a/b:1", id="containerd's wins"),
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


def test_referrers_are_told_by_their_subject() -> None:
    assert is_referrer(Descriptor(OCI_MANIFEST, DIGEST, 8, {"io.containerd.manifest.subject": str(DIGEST)}))
    assert not is_referrer(ENTRY)


def test_index_round_trip() -> None:
    entries = (named(ENTRY, "docker.io/library/a:1"), ENTRY)
    assert parse_index_file(index_file(entries)) == entries
    assert json.loads(index_file([]))["manifests"] == []

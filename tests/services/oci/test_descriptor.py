"""Descriptors: reading, writing, refusing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidContent, InvalidDigest
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import decode, encode
from stowage.services.oci.platform import Platform

DIGEST = "sha256:" + "ab" * 32
MINIMAL: dict[str, object] = {"mediaType": "text/plain", "digest": DIGEST, "size": 3}


def test_the_fields_are_written_in_gos_order_and_empty_ones_left_out() -> None:
    descriptor = Descriptor("text/plain", Digest.parse(DIGEST), 3)
    assert encode(descriptor.to_json()).decode() == f'{{"mediaType":"text/plain","digest":"{DIGEST}","size":3}}'
    full = Descriptor(
        "a/b", Digest.parse(DIGEST), 0, {"b": "2", "a": "1"}, ("https://example.com/x",), Platform("linux", "arm", "v7"), "x/y", "e30="
    )
    assert list(full.to_json()) == ["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"]
    assert encode(full.to_json()["annotations"]) == b'{"a":"1","b":"2"}'


def test_unknown_members_are_dropped_and_null_ones_absent() -> None:
    read = Descriptor.from_json({**MINIMAL, "platform": None, "annotations": None, "urls": None, "newer": [1]})
    assert read == Descriptor("text/plain", Digest.parse(DIGEST), 3)


def test_a_media_type_may_be_absent() -> None:
    assert Descriptor.from_json({"digest": DIGEST, "size": 1}).media_type == ""


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param({"digest": "sha256:zz"}, InvalidDigest, id="bad digest"),
        pytest.param({"digest": "../../etc/passwd"}, InvalidDigest, id="path as digest"),
        pytest.param({"digest": None}, InvalidDigest, id="no digest"),
        pytest.param({"digest": 1}, InvalidContent, id="number as digest"),
        pytest.param({"size": None}, InvalidContent, id="no size"),
        pytest.param({"size": -1}, InvalidContent, id="negative size"),
        pytest.param({"size": 1.5}, InvalidContent, id="broken size"),
        pytest.param({"size": "3"}, InvalidContent, id="text as size"),
        pytest.param({"size": 1 << 63}, InvalidContent, id="size beyond 64 bits"),
        pytest.param({"mediaType": []}, InvalidContent, id="list as media type"),
        pytest.param({"annotations": {"a": 1}}, InvalidContent, id="number as annotation"),
        pytest.param({"urls": "x"}, InvalidContent, id="text as urls"),
        pytest.param({"platform": "linux"}, InvalidContent, id="text as platform"),
        pytest.param({"data": "not base64!"}, InvalidContent, id="data"),
    ],
)
def test_a_malformed_descriptor_is_refused(changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Descriptor.from_json({**MINIMAL, **changes})


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidContent):
        Descriptor.from_json(value)


descriptors = st.builds(
    Descriptor,
    st.text(max_size=10),
    st.binary(max_size=4).map(Digest.of),
    st.integers(0, (1 << 63) - 1),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.lists(st.text(max_size=5), max_size=2).map(tuple),
    st.none() | st.builds(Platform, st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)),
    st.text(max_size=5),
    st.sampled_from(["", "e30="]),
)


@given(descriptors)
def test_every_descriptor_survives_being_written_and_read(descriptor: Descriptor) -> None:
    assert Descriptor.from_json(decode(encode(descriptor.to_json()))) == descriptor

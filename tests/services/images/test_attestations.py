"""The statements about an image, by platform and type."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import pytest

from stowage.services.archive.bounds import Costs
from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, ImageNotFound, Internal, NotFound, Unsupported
from stowage.services.images import attestations
from stowage.services.images.attestations import read_attestations
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from tests.builders import IN_TOTO, PREDICATE_PROVENANCE, PREDICATE_SBOM, Json, Layout, on_platform, partial_layout, put_image
from tests.engines import memory_budget


def multi(engine: Engine) -> list[Json]:
    """The image multi:latest; returns what its index lists: amd64, arm64, arm, and an attestation of each of the first two."""
    layout = Layout()
    images = [on_platform(layout.image(platform=platform), platform) for platform in ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")]
    listed = [*images, layout.attestation(images[0]), layout.attestation(images[1])]
    put_image(engine, "multi", layout, layout.index(listed))
    return listed


def attest(engine: Engine, *statements: bytes, predicate: str = PREDICATE_SBOM) -> None:
    """The image attested:latest for linux/amd64 with these statements."""
    layout = Layout()
    image = on_platform(layout.image(), "linux/amd64")
    annotations = {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"}
    layers = [layout.add(each, IN_TOTO, annotations={"in-toto.io/predicate-type": predicate} if predicate else {}) for each in statements]
    manifest = layout.manifest(layout.add_json({}, mediatypes.OCI_CONFIG), layers)
    put_image(engine, "attested", layout, layout.index([image, {**manifest, "annotations": annotations}]))


@pytest.mark.parametrize(
    ("platform", "position"),
    [
        (None, 0),
        (Platform("linux", "amd64"), 0),
        (Platform("linux", "arm64"), 1),
        (Platform("linux", "arm64", "v8"), 1),
        (Platform("linux", "arm", "v7"), None),
    ],
    ids=str,
)
def test_each_platform_has_its_own(engine: Engine, platform: Platform | None, position: int | None) -> None:
    listed = multi(engine)
    found = read_attestations(engine, "multi", platform=platform, costs=Costs(engine.memory))
    about = [json.loads(each.statement or b"")["predicate"]["of"] for each in found]
    assert about == ([] if position is None else [listed[position]["digest"]] * 2)


@pytest.mark.parametrize(
    ("types", "found"),
    [
        ((), [PREDICATE_PROVENANCE, PREDICATE_SBOM]),
        ((PREDICATE_SBOM,), [PREDICATE_SBOM]),
        ((PREDICATE_SBOM, "nope", PREDICATE_PROVENANCE), [PREDICATE_PROVENANCE, PREDICATE_SBOM]),
        (("nope",), []),
    ],
)
def test_types_select_in_the_order_of_the_manifest(engine: Engine, types: tuple[str, ...], found: list[str]) -> None:
    multi(engine)
    assert [each.predicate_type for each in read_attestations(engine, "multi", types=types)] == found


def test_what_is_no_oci_index_has_none(engine: Engine) -> None:
    put_image(engine, "simple")
    layout = Layout()
    put_image(
        engine, "docker", layout, layout.index([on_platform(layout.image(docker=True), "linux/amd64")], media_type=mediatypes.DOCKER_INDEX)
    )
    assert read_attestations(engine, "simple", platform=Platform("plan9", "mips")) == []
    assert read_attestations(engine, "docker", platform=Platform("plan9", "mips")) == []


def test_a_platform_that_is_not_listed_is_told_in_gos_words(engine: Engine) -> None:
    multi(engine)
    with pytest.raises(NotFound) as caught:
        read_attestations(engine, "multi", platform=Platform("linux", "s390x", "z1", "5", ("a", "b")))
    words = (
        "&{Architecture:s390x OS:linux OSVersion:5 OSFeatures:[a b] Variant:z1}: no manifest for platform linux(5+a+b)/s390x/z1: not found"
    )
    assert str(caught.value) == f"resolving image manifest for platform {words}"


def test_an_attestation_that_was_not_pulled_is_missing(engine: Engine) -> None:
    put_image(engine, "partial", partial_layout())
    with pytest.raises(NotFound, match="^reading blob sha256:.*: not found$"):
        read_attestations(engine, "partial", platform=Platform("linux", "arm64"))


def test_a_missing_image_is_missing(engine: Engine) -> None:
    with pytest.raises(ImageNotFound):
        read_attestations(engine, "nope")


def test_a_layer_without_a_predicate_type_is_no_statement(engine: Engine) -> None:
    attest(engine, b"{}", predicate="")
    assert read_attestations(engine, "attested", costs=Costs(engine.memory)) == []


def test_a_statement_is_read_only_when_asked_for(engine: Engine, content: FilesystemStore) -> None:
    raw = b'{ "_type": "x",\n "n": 1.0e2 }'
    attest(engine, raw)
    assert [each.statement for each in read_attestations(engine, "attested", costs=Costs(engine.memory))] == [raw]
    content.delete([Digest.of(raw)])
    assert [each.statement for each in read_attestations(engine, "attested")] == [None]
    with pytest.raises(NotFound, match=f"^attestation statement {Digest.of(raw)} is not available locally"):
        read_attestations(engine, "attested", costs=Costs(engine.memory))


def test_a_statement_that_is_no_json_never_reaches_the_answer(engine: Engine) -> None:
    attest(engine, b'{"a": 1}, "injected": {}')
    with pytest.raises(Internal, match="is not JSON"):
        read_attestations(engine, "attested", costs=Costs(engine.memory))


def test_statements_are_bounded_together(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attestations, "MAX_STATEMENT_BYTES", 8)
    attest(engine, b'{"a":1}', b'{"b":2}')
    assert len(read_attestations(engine, "attested")) == 2
    with pytest.raises(Unsupported):
        read_attestations(engine, "attested", costs=Costs(engine.memory))


def test_the_values_of_a_statement_are_counted_before_it_is_decoded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attestations, "MAX_STATEMENT_VALUES", 8)
    raw = b'{"a":[' + b"[]," * 8 + b"[]]}"
    attest(engine, raw)
    with pytest.raises(Unsupported, match=f"^attestation statement {Digest.of(raw)} is too large: a JSON document has more than 8 values$"):
        read_attestations(engine, "attested", costs=Costs(engine.memory))


MIB = 1 << 20
ASCII = b'"' + b"a" * (4 * MIB) + b'"'
WIDE = ASCII[:-1] + "\U0001f600".encode() + b'"'
ESCAPED = ASCII[:-1] + rb'\ud83d\ude00"'
SURROGATES = b'"' + rb"\ud83d" * (4 * MIB // 6) + b'"'


@pytest.mark.parametrize("raw", [ASCII, WIDE, ESCAPED], ids=["ascii", "wide", "escaped"])
def test_the_memory_of_statements_and_of_their_answer_stays_reserved(engine: Engine, raw: bytes) -> None:
    attest(engine, raw)
    memory = memory_budget(64 * MIB)
    with closing(Costs(memory)) as costs:
        assert [each.statement for each in read_attestations(replace(engine, memory=memory), "attested", costs=costs)] == [raw]
        assert 64 * MIB - memory.free >= 2 * len(raw) - MIB
    assert memory.free == 64 * MIB


@pytest.mark.parametrize(
    ("raw", "needed"), [(ASCII, 3), (WIDE, 9), (ESCAPED, 9), (SURROGATES, 42.4)], ids=["ascii", "wide", "escaped", "surrogates"]
)
def test_a_statement_is_checked_only_if_there_is_memory_for_its_text(engine: Engine, raw: bytes, needed: float) -> None:
    attest(engine, raw)
    assert _answers(engine, int(needed * 4 * MIB))
    assert not _answers(engine, int(needed * 4 * MIB) - 2 * MIB)


def test_only_the_largest_statement_counts_while_they_are_checked(engine: Engine) -> None:
    attest(engine, ASCII, ASCII[:-2] + b'"', ASCII[:-3] + b'"')
    assert _answers(engine, 6 * 4 * MIB)


def _answers(engine: Engine, size: int) -> bool:
    """Whether all statements are returned within so many bytes of memory."""
    memory = memory_budget(size)
    with closing(Costs(memory)) as costs:
        try:
            return bool(read_attestations(engine, "attested", costs=costs))
        except Forbidden:
            return False

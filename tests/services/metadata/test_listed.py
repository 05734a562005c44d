"""What a list needs of an index is the same whether it is found for all of them at once, or by walking through each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from stowage.services.metadata.labels import MANY_LABELS, label_hash, platform_labels
from stowage.services.metadata.listed import Parts
from stowage.services.metadata.records import Edge, ImageRecord, Kind, ManifestFacts, Role
from stowage.services.metadata.summary import any_platform, summarize
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform

PLATFORMS = [Platform("linux", "amd64"), Platform("linux", "arm64", "v8"), Platform("linux", "386"), Platform("unknown", "unknown"), None]
LABELS = [None, {"a": "b"}, {"a": "c"}, {"a": "b", "d": "e"}, {str(number): "" for number in range(300)}]
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(Digest.of(b"subject"))}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Descriptor, dict[Digest, ManifestFacts]]:
    """A target and the present manifests: indexes of each other, of images and artifacts, some of them absent."""
    manifests: dict[Digest, ManifestFacts] = {}
    numbers = count()

    def descriptor(media_type: str) -> Descriptor:
        annotations = draw(st.sampled_from([{}, {}, ATTESTATION]))
        return Descriptor(media_type, Digest.of(str(next(numbers)).encode()), 1, annotations, platform=draw(st.sampled_from(PLATFORMS)))

    def add(media_type: str, kind: Kind, children: list[Descriptor]) -> Descriptor:
        added = descriptor(media_type)
        if draw(st.integers(0, 3)):
            edges = tuple(Edge(Role.MANIFEST, child) for child in children)
            platform, labels = draw(st.sampled_from(PLATFORMS)), draw(st.sampled_from(LABELS))
            manifests[added.digest] = ManifestFacts(added.digest, media_type, kind, platform, None, labels, edges, content_size=1)
        return added

    listed = [add(mediatypes.OCI_MANIFEST, draw(st.sampled_from([Kind.IMAGE, Kind.ARTIFACT])), []) for _ in range(draw(st.integers(1, 5)))]
    for _ in range(draw(st.integers(0, 4))):
        listed.append(add(mediatypes.OCI_INDEX, Kind.INDEX, draw(st.lists(st.sampled_from(listed), max_size=5))))
    target = draw(st.sampled_from(listed))
    if target.digest not in manifests:
        manifests[target.digest] = ManifestFacts(target.digest, target.media_type, Kind.INDEX, content_size=1)
    return target, manifests


@given(graphs(), st.sampled_from(PLATFORMS[:3]))
def test_walking_through_an_index_finds_the_same(graph: tuple[Descriptor, dict[Digest, ManifestFacts]], preferred: Platform) -> None:
    target, manifests = graph
    matcher = any_platform(preferred)
    part = Parts(manifests, matcher).of(target)
    walked = summarize(ImageRecord("name", target, 1, 1), manifests)
    best, present = walked.best(matcher), walked.best_present(matcher)
    assert (part.best and part.best.descriptor) == (best and best.descriptor)
    assert (part.best_present and part.best_present.descriptor) == (present and present.descriptor)
    assert (part.labels.columns() if part.labels else {}) == hashes(list(platform_labels(target, manifests)))


def hashes(platforms: list[Mapping[str, str]]) -> dict[int, bool]:
    each = [{hashed for key, value in labels.items() for hashed in (label_hash(key), label_hash(key, value))} for labels in platforms]
    found = {hashed: all(hashed in labels for labels in each) for hashed in set().union(*each)}
    return found if len(found) <= 512 else {MANY_LABELS: False}

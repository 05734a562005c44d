"""Thousands of manifests under several indexes: counted once, recorded in short transactions, and left when nobody waits any more."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Iterable
from contextlib import closing
from functools import partial

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, RegistryFailure
from stowage.services.images import load
from stowage.services.images import push as push_module
from stowage.services.images.load import _children as children
from stowage.services.images.load import load_image as stream_load
from stowage.services.images.save import save_images
from stowage.services.metadata import reach
from stowage.services.metadata.graph import Graph
from stowage.services.metadata.records import Kind, ManifestDocument, Selection
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.progress import Progress
from stowage.services.registry.operations import Operation
from stowage.services.store import reading
from stowage.services.store.graph import ReadManifest
from tests.builders import Json, Layout, load_image, make_layer, on_platform, put_image
from tests.fake_registry import FakeRegistry
from tests.listings import all_manifests
from tests.services.images.archives import blobs, names
from tests.services.images.pushes import push, served

EMPTY = "application/vnd.oci.empty.v1+json"
MANIFESTS, INDEXES = 40, 3
NOT_READING = tracemalloc.Filter(False, reading.__file__)
"""Without the content of a blob that is being sent."""


def several_indexes() -> Layout:
    """Indexes that list the same tiny manifests."""
    layout = Layout()
    config = layout.add(b"{}", EMPTY)
    listed = [layout.manifest(config, [], annotations={"i": str(number)}) for number in range(MANIFESTS)]
    for number in range(INDEXES):
        layout.tag(layout.index(listed, annotations={"t": str(number)}), f"docker.io/library/index:{number}")
    return layout


def signed_index() -> Layout:
    """An index of images each of which something refers to."""
    layout = Layout()
    listed: list[Json] = [layout.image([], labels={"i": str(number)}) for number in range(MANIFESTS)]
    layout.tag(layout.index(listed), "docker.io/library/signed:1")
    for number, subject in enumerate(listed):
        manifest = layout.manifest(layout.add(b"{}", EMPTY), [], annotations={"s": str(number)})
        layout.manifests.append({**manifest, "annotations": {"io.containerd.manifest.subject": subject["digest"]}})
    return layout


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many manifests, and links out of them, were given to be recorded at once."""
    sizes: list[int] = []
    add = Graph.add_manifests

    def counting(graph: Graph, manifests: Iterable[tuple[ManifestDocument, bytes | None]]) -> None:
        given = list(manifests)
        sizes.append(sum(1 + len(document.edges) for document, _ in given))
        add(graph, given)

    monkeypatch.setattr(Graph, "add_manifests", counting)
    return sizes


def test_what_refers_to_the_images_of_an_index_is_recorded_with_it(engine: Engine) -> None:
    for _ in range(2):
        load_image(engine, signed_index().to_tar())
        assert engine.metadata.problems() == []


def test_few_manifests_are_recorded_in_one_transaction(engine: Engine, recorded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.store.batches.BATCH", 7)
    load_image(engine, several_indexes().to_tar())
    assert len(recorded) >= MANIFESTS / 7
    assert max(recorded) <= 7 * (1 + 1 + MANIFESTS)


def test_few_links_are_recorded_in_one_transaction(engine: Engine, recorded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.store.batches.MAX_DESCRIPTORS", MANIFESTS)
    load_image(engine, several_indexes().to_tar())
    assert recorded[-INDEXES:] == [1 + MANIFESTS] * INDEXES


def test_a_load_that_is_closed_records_no_further_manifest(engine: Engine, recorded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.store.batches.BATCH", 2)
    stream = stream_load(engine, io.BytesIO(several_indexes().to_tar()))
    while len(recorded) < 3:
        assert next(stream) == Progress()
        assert names(engine) == {}
    stream.close()
    assert (len(recorded), names(engine), blobs(engine)) == (3, {}, set())
    assert all_manifests(engine.metadata) == {}


def test_the_names_come_when_all_is_recorded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.store.batches.BATCH", 2)
    for _ in stream_load(engine, io.BytesIO(several_indexes().to_tar())):
        if names(engine):
            assert len(all_manifests(engine.metadata)) == MANIFESTS + INDEXES
    assert len(names(engine)) == INDEXES


@pytest.mark.parametrize("platforms", [(), (Platform("linux", "amd64"),)], ids=["whole", "one platform"])
def test_an_index_of_many_names_is_gone_through_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, platforms: tuple[Platform, ...]
) -> None:
    calls: list[ReadManifest] = []

    def counting(manifest: ReadManifest) -> list[Descriptor]:
        calls.append(manifest)
        return children(manifest)

    monkeypatch.setattr(load, "_children", counting)
    layout = Layout()
    index = layout.index([on_platform(layout.image([make_layer("one")]), "linux/amd64")])
    for number in range(40):
        layout.tag(index, f"docker.io/library/index:{number}")
    lines = load_image(engine, layout.to_tar(), platforms=platforms)
    assert lines == [f"Loaded image: index:{number}\n" for number in range(40)]
    assert len(calls) <= 10


NESTED = "nested too deeply together with others in the store"


@pytest.mark.parametrize("first", ["lowest", "highest"])
def test_indexes_that_several_loads_nest_too_deeply_are_refused(engine: Engine, first: str) -> None:
    """An archive alone may nest only a few. One that is refused is missing, so the next ones begin anew."""
    layout = Layout()
    indexes = [layout.index([on_platform(layout.image([make_layer()]), "linux/amd64")])]
    for _ in range(11):
        indexes.append(layout.index([indexes[-1]]))
    refused = []
    for number, index in enumerate(indexes if first == "lowest" else reversed(indexes)):
        archive = Layout(blobs={index["digest"]: layout.blobs[index["digest"]]})
        archive.tag(index, f"docker.io/library/nested{number}:1")
        if not any("Loaded image" in line for line in loaded_or_refused(engine, archive)):
            refused.append(number)
    assert refused == [9]


def test_a_chain_of_artifacts_that_have_each_other_as_layers_is_refused(engine: Engine) -> None:
    """It would be followed anew from each of them."""
    layout = Layout()
    chain = [layout.add(b"bottom", "a/b")]
    for _ in range(20):
        chain.append(layout.manifest(layout.add(b"{}", "a/config"), [chain[-1] | {"mediaType": "a/b"}]))
    layout.tag(layout.index(chain[:0:-1]), "docker.io/library/chain:1")
    with pytest.raises(InvalidContent, match=NESTED):
        load_image(engine, layout.to_tar())
    assert (names(engine), blobs(engine)) == ({}, set())


def loaded_or_refused(engine: Engine, archive: Layout) -> list[str]:
    try:
        return load_image(engine, archive.to_tar())
    except InvalidContent as exc:
        return [NESTED] if NESTED in str(exc) else pytest.fail(str(exc))


def wide_images() -> bytes:
    """Three images whose indexes list two others, which have twenty entries."""
    layout = Layout()
    image = on_platform(layout.image([make_layer()]), "linux/amd64")
    inner = [layout.index([image] * 10, annotations={"i": str(number)}) for number in range(2)]
    for number in range(3):
        layout.tag(layout.index(inner, annotations={"o": str(number)}), f"docker.io/library/wide:{number}")
    return layout.to_tar()


def test_images_with_too_many_descriptors_are_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    each = 2 + 2 * 10 + 2  # what the outer index lists, what the inner ones list, and a config with a layer
    monkeypatch.setattr(reach, "MAX_DESCRIPTORS", each - 1)
    with pytest.raises(InvalidContent, match=f"^image sha256:.* has {each} descriptors: .* at most {each - 1} are stored$"):
        load_image(engine, wide_images())
    monkeypatch.setattr(reach, "MAX_DESCRIPTORS", each)
    monkeypatch.setattr(load, "MAX_DESCRIPTORS", 3 * each - 1)
    with pytest.raises(InvalidContent, match=f"^the images have more than {3 * each - 1} descriptors together: "):
        load_image(engine, wide_images())
    assert (names(engine), blobs(engine), all_manifests(engine.metadata)) == ({}, set(), {})
    monkeypatch.setattr(load, "MAX_DESCRIPTORS", 3 * each)
    assert load_image(engine, wide_images()) == [f"Loaded image: wide:{number}\n" for number in range(3)]


def test_a_push_plans_once_what_several_indexes_list(engine: Engine, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, planned, add = Layout(), itertools.count(), push_module._Plan.add
    level = [layout.image([make_layer(f"layer {number}")]) for number in range(6)]
    for depth in range(3):
        level = [layout.index(level, annotations={"place": f"{depth} {number}"}) for number in range(6)]
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, layout.index(level))
    monkeypatch.setattr(push_module._Plan, "add", lambda *arguments: next(planned) < 0 or add(*arguments))
    push(engine, name)
    assert served(registry) == layout.blobs
    assert next(planned) < 200  # the paths are 3,888


def described(number: int, size: int) -> Layout:
    """An index that says much about the image that it lists."""
    layout = Layout()
    image = on_platform(layout.image([make_layer()]), "linux/amd64")
    layout.tag(layout.index([{**image, "annotations": {"about": f"{number}".ljust(size)}}]), f"docker.io/library/described:{number}")
    return layout


def test_a_list_reads_few_indexes_at_a_time_that_say_much_about_what_they_list(engine: Engine) -> None:
    for number in range(9):
        load_image(engine, described(number, 250_000).to_tar())
    with engine.metadata.read() as tx:
        batches = list(tx.targets.batches(tx.targets.find(Selection())))
    assert [len(batch) for batch in batches] == [4, 4, 1]


def test_a_save_keeps_little_of_what_indexes_say_about_what_they_list(engine: Engine) -> None:
    for number in range(8):
        load_image(engine, described(number, 250_000).to_tar())
    kept = []
    for platforms in ([], [Platform("linux", "amd64"), Platform("linux", "arm64")]):
        with closing(save_images(engine, ["described"], platforms=platforms)) as saving:
            tracemalloc.start()
            next(saving)
            kept.append(sum(each.size for each in tracemalloc.take_snapshot().filter_traces([NOT_READING]).traces))
            tracemalloc.stop()
    assert max(kept) < 500_000


def test_what_a_manifest_says_at_length_about_its_content_is_not_recorded(engine: Engine) -> None:
    load_image(engine, described(0, 300_000).to_tar())
    load_image(engine, described(1, 200_000).to_tar())
    edges = [edge for facts in all_manifests(engine.metadata).values() if facts.kind is Kind.INDEX for edge in facts.edges]
    assert sorted(len(edge.child.annotations.get("about", "")) for edge in edges) == [0, 200_000]
    assert {edge.child.platform for edge in edges} == {Platform("linux", "amd64")}


def test_a_save_reads_a_referrer_once_for_all_its_subjects(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout()
    listed = [layout.image([], labels={"i": str(number)}) for number in range(MANIFESTS)]
    layout.tag(layout.index(listed), "docker.io/library/signed:1")
    manifest = layout.manifest(layout.add(b"{}", EMPTY), [])
    layout.manifests += [{**manifest, "annotations": {"io.containerd.manifest.subject": subject["digest"]}} for subject in listed]
    load_image(engine, layout.to_tar())
    read: list[Digest] = []

    def count(engine: Engine, digest: Digest) -> bytes:
        read.append(digest)
        return reading.read_document(engine, digest)

    monkeypatch.setattr("stowage.services.images.save.read_document", count)
    with closing(save_images(engine, ["signed:1"])) as saving:
        next(saving)
    assert read == [Digest.parse(manifest["digest"])]


def test_a_save_is_planned_no_further_when_its_client_has_left(engine: Engine) -> None:
    load_image(engine, several_indexes().to_tar())
    operation = Operation()
    operation.cancel()
    for asked in (["index"], ["absent"]):
        with closing(save_images(engine, asked)) as saving, pytest.raises(RegistryFailure, match="^context canceled$"):
            operation.run(partial(next, saving))

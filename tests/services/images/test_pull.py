"""Pulls from a registry in this process into a real engine."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, Forbidden, InvalidContent, InvalidReference, NotFound
from stowage.services.gc.leases import hold
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.intake.ingest import store_bytes
from stowage.services.metadata.records import Kind
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference, dangling_name
from stowage.services.progress import Detail, Progress
from tests.builders import Json, Layout, layers_of, make_config, make_layer, put_image, short, simple_layout
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry, Fault
from tests.services.images.pulls import first_line, is_empty, present, pull, target_of

STORAGES = ["folder", "s3"]


def texts(lines: list[Progress]) -> list[str]:
    return [f"{line.id}: {line.status}" if line.id else line.status for line in lines]


def sources(engine: Engine, layout: Layout) -> dict[str, list[str]]:
    """The repositories that are known to hold blobs of the layout."""
    with engine.metadata.read() as tx:
        return {str(digest): names for digest, names in tx.sources.names(map(Digest.parse, layout.blobs)).items()}


class TestReference:
    """What `fromImage` and `tag` mean together."""

    @pytest.mark.parametrize(
        ("image", "tag", "expected"),
        [
            pytest.param("debian", "", "docker.io/library/debian", id="a repository"),
            pytest.param("debian:", "", "docker.io/library/debian", id="a trailing colon"),
            pytest.param("debian", "trixie", "docker.io/library/debian:trixie", id="a tag"),
            pytest.param("debian:bookworm", "", "docker.io/library/debian:bookworm", id="a tag in the name"),
            pytest.param("debian:bookworm", "trixie", "docker.io/library/debian:trixie", id="the tag field counts"),
            pytest.param("debian", f"sha256:{'0' * 64}", f"docker.io/library/debian@sha256:{'0' * 64}", id="a digest as tag"),
            pytest.param("debian:trixie", f"sha256:{'0' * 64}", f"docker.io/library/debian@sha256:{'0' * 64}", id="a digest drops the tag"),
            pytest.param(f"debian@sha256:{'0' * 64}", "", f"docker.io/library/debian@sha256:{'0' * 64}", id="a digest in the name"),
        ],
    )
    def test_fields_make_a_reference(self, image: str, tag: str, expected: str) -> None:
        assert str(pull_reference(image, tag)) == expected

    @pytest.mark.parametrize(
        ("image", "tag", "kind", "words"),
        [
            pytest.param("Debian", "", InvalidReference, "must be lowercase", id="upper case"),
            pytest.param("debian::", "", InvalidReference, "invalid reference format", id="two colons"),
            pytest.param("debian", "a b", InvalidReference, "invalid tag format", id="bad tag"),
            pytest.param("debian", "sha256:abc", InvalidReference, "invalid tag format", id="short digest"),
            pytest.param("scratch", "1", Forbidden, "'scratch' is a reserved name", id="scratch"),
            pytest.param("docker.io/library/scratch", "", Forbidden, "'scratch' is a reserved name", id="scratch in full"),
        ],
    )
    def test_what_is_no_reference_is_refused(self, image: str, tag: str, kind: type[EngineError], words: str) -> None:
        with pytest.raises(kind, match=words):
            pull_reference(image, tag)


def test_a_pull_brings_an_image_and_tells_it_as_docker_does(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("one"), make_layer("two")])
    name = registry.publish(layout, image)
    one, two = map(short, layers_of(layout, image))
    lines = pull(engine, name)
    assert texts(lines[:3]) == ["1: Pulling from team/app", f"{one}: Pulling fs layer", f"{two}: Pulling fs layer"]
    assert sorted(texts(lines[3:5])) == sorted([f"{one}: Download complete", f"{two}: Download complete"])
    assert texts(lines[5:]) == [
        f"{one}: Pull complete",
        f"{two}: Pull complete",
        f"Digest: {image['digest']}",
        f"Status: Downloaded newer image for {name}:1",
    ]
    assert [line.detail for line in (lines[0], lines[1], lines[3], lines[-1])] == [None, Detail(), Detail(hide_counts=True), None]
    assert target_of(engine, f"{name}:1") == Digest.parse(image["digest"])
    assert present(engine, layout) == layout.blobs.keys()


def test_a_repeated_pull_asks_for_the_tag_and_nothing_else(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    index = layout.multi_platform()
    name = registry.publish(layout, index)
    pull(engine, name)
    registry.requests.clear()
    assert texts(pull(engine, name)) == [
        "1: Pulling from team/app",
        f"Digest: {index['digest']}",
        f"Status: Image is up to date for {name}:1",
    ]
    assert registry.asked() == ["HEAD 1"]


def test_another_name_for_the_same_image_transfers_no_blob(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name = registry.publish(layout, layout.manifests[0])
    registry.publish(layout, layout.manifests[0], tag="2")
    pull(engine, name)
    registry.requests.clear()
    lines = texts(pull(engine, name, "2"))
    assert lines[0] == "2: Pulling from team/app"
    assert lines[1:] == [f"Digest: {layout.manifests[0]['digest']}", f"Status: Downloaded newer image for {name}:2"]
    assert registry.asked() == ["HEAD 2"]
    assert target_of(engine, f"{name}:1") == target_of(engine, f"{name}:2") is not None


def test_what_a_broken_pull_of_another_platform_left_is_no_obstacle(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"), attested=False)
    name = registry.publish(layout, index)
    _, arm64 = json.loads(layout.blobs[index["digest"]])["manifests"]
    config = json.loads(layout.blobs[arm64["digest"]])["config"]
    with suppress(ConnectionError), hold(engine.metadata, engine.content, "pull", keep_on_failure=True) as lease:
        for digest in (index["digest"], arm64["digest"], config["digest"]):
            store_bytes(engine, lease, layout.blobs[digest])
        raise ConnectionError
    pull(engine, name)
    assert target_of(engine, f"{name}:1") == Digest.parse(index["digest"])
    pull(engine, name, platform=Platform(os="linux", architecture="arm64"))
    assert present(engine, layout) == layout.blobs.keys()


def test_a_shared_layer_is_not_fetched_again(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    first, second = layout.image([make_layer("base")]), layout.image([make_layer("base"), make_layer("top")])
    name = registry.publish(layout, first)
    registry.publish(layout, second, tag="2")
    pull(engine, name)
    registry.requests.clear()
    base, top = layers_of(layout, second)
    assert texts(pull(engine, name, "2"))[1:4] == [
        f"{short(base)}: Already exists",
        f"{short(top)}: Pulling fs layer",
        f"{short(top)}: Download complete",
    ]
    assert f"GET {base['digest']}" not in registry.asked()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("docker", [pytest.param(False, id="oci"), pytest.param(True, id="docker")])
def test_every_kind_of_layer_is_pulled(engine: Engine, registry: FakeRegistry, compression: str, docker: bool) -> None:
    layout = Layout()
    image = layout.image([make_layer("a", 3 << 20)], compression=compression, docker=docker)
    name = registry.publish(layout, image)
    pull(engine, name)
    layer = Digest.parse(layers_of(layout, image)[0]["digest"])
    with engine.metadata.read() as tx:
        assert tx.graph.layers([layer])[layer].diff_id == Digest.of(make_layer("a", 3 << 20))


def test_a_digest_is_pulled_under_its_own_name(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name, digest = registry.publish(layout, layout.manifests[0]), layout.manifests[0]["digest"]
    assert texts(pull(engine, name, digest))[0] == f"{name}@{digest}: Pulling from team/app"
    assert target_of(engine, f"{name}@{digest}") == Digest.parse(digest)


def test_a_digest_of_a_known_image_is_up_to_date(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name, digest = registry.publish(layout, layout.manifests[0]), layout.manifests[0]["digest"]
    pull(engine, name)
    assert texts(pull(engine, name, digest))[-1] == f"Status: Image is up to date for {name}@{digest}"


def test_a_bare_name_is_every_tag_that_is_one(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    for tag in ("2", "-no-tag", "1"):
        name = registry.publish(layout, layout.manifests[0], tag=tag)
    lines = texts(pull(engine, name + ":", ""))
    assert [line for line in lines if line.startswith("Status")] == [
        f"Status: Downloaded newer image for {name}:{tag}" for tag in ("2", "1")
    ]


def test_a_failure_among_all_tags_says_which(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name = registry.publish(layout, layout.manifests[0])
    registry.publish(layout, layout.manifests[0], tag="2")
    registry.faults["2"] = Fault.ABSENT
    with pytest.raises(NotFound, match=f'^error pulling {name}:2: failed to resolve reference "{name}:2"'):
        pull(engine, name, "")
    assert target_of(engine, f"{name}:1") is not None


class TestPlatforms:
    """The index stays the target; one platform's content comes with its attestation."""

    @pytest.fixture
    def layout(self) -> Layout:
        return Layout()

    @pytest.fixture
    def index(self, layout: Layout, registry: FakeRegistry) -> Json:
        index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
        registry.publish(layout, index)
        return index

    @pytest.mark.parametrize(
        ("platform", "position"), [pytest.param(None, 0, id="the engine's"), pytest.param("linux/arm64", 1, id="another")]
    )
    def test_one_platform_and_its_attestation_come(
        self, engine: Engine, registry: FakeRegistry, layout: Layout, index: Json, platform: str | None, position: int
    ) -> None:
        name = f"{registry.host}/team/app"
        pull(engine, name, platform=Platform.parse(platform) if platform else None)
        manifests = json.loads(layout.blobs[index["digest"]])["manifests"]
        chosen = [manifests[position], manifests[2 + position]]
        documents = [json.loads(layout.blobs[manifest["digest"]]) for manifest in chosen]
        expected = {part["digest"] for document in documents for part in [document["config"], *document["layers"]]}
        assert present(engine, layout) == expected | {index["digest"]} | {manifest["digest"] for manifest in chosen}
        assert target_of(engine, f"{name}:1") == Digest.parse(index["digest"])
        with engine.metadata.read() as tx:
            facts = tx.graph.manifest(Digest.parse(index["digest"]))
        assert facts is not None
        assert (facts.kind, [edge.child.digest for edge in facts.edges]) == (
            Kind.INDEX,
            [Digest.parse(item["digest"]) for item in manifests],
        )

    def test_a_second_platform_is_added_to_the_image(self, engine: Engine, registry: FakeRegistry, layout: Layout, index: Json) -> None:
        name = f"{registry.host}/team/app"
        pull(engine, name)
        lines = texts(pull(engine, name, platform=Platform.parse("linux/arm64")))
        assert any(line.endswith("Pulling fs layer") for line in lines)
        assert lines[-1] == f"Status: Image is up to date for {name}:1"
        assert present(engine, layout) == layout.blobs.keys()

    def test_a_platform_that_is_not_there_is_refused_before_the_first_line(
        self, engine: Engine, registry: FakeRegistry, index: Json
    ) -> None:
        with pytest.raises(NotFound) as raised:
            first_line(pull_image(engine, Reference.parse(f"{registry.host}/team/app:1"), platform=Platform.parse("linux/s390x")))
        words = "no matching manifest for linux/s390x in the manifest list entries: no match for platform in manifest: not found"
        assert str(raised.value) == words
        assert is_empty(engine)

    def test_a_nested_index_is_followed(self, engine: Engine, registry: FakeRegistry, layout: Layout, index: Json) -> None:
        outer = layout.index([index])
        registry.publish(layout, outer)
        pull(engine, f"{registry.host}/team/app")
        assert target_of(engine, f"{registry.host}/team/app:1") == Digest.parse(outer["digest"])

    def test_deep_nesting_is_refused(self, engine: Engine, registry: FakeRegistry, layout: Layout, index: Json) -> None:
        for _ in range(6):
            index = layout.index([index])
        registry.publish(layout, index)
        with pytest.raises(InvalidContent, match="nested too deeply"):
            pull(engine, f"{registry.host}/team/app")
        assert is_empty(engine)


def test_an_artifact_is_pulled_as_it_is(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    chart = layout.chart()
    pull(engine, registry.publish(layout, chart))
    assert present(engine, layout) == layout.blobs.keys()


def test_the_repository_is_known_to_hold_what_a_pull_used_of_it(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = registry.publish(layout, layout.multi_platform(("linux/amd64", "linux/arm64/v8")))
    pull(engine, name)
    assert sources(engine, layout) == {digest: [name] for digest in present(engine, layout)}


def test_what_a_mirror_sent_is_of_the_repository_that_was_named(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    registry.publish(layout, layout.manifests[0], "library/app")
    pull(replace(engine, registry=registry_client(insecure=("127.0.0.0/8",), mirrors=(registry.base,))), "app")
    assert sources(engine, layout) == {digest: ["docker.io/library/app"] for digest in layout.blobs}


def test_a_loaded_image_that_is_up_to_date_is_known_to_be_at_the_registry(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64",))
    name = registry.publish(layout, index)
    put_image(engine, f"{name}:1", layout, index)
    assert sources(engine, layout) == {}
    assert texts(pull(engine, name))[-1] == f"Status: Image is up to date for {name}:1"
    assert sources(engine, layout) == {digest: [name] for digest in layout.blobs}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/base", "http://[::1/base", ""])
def test_a_foreign_layer_that_the_registry_does_not_have_stays_absent(engine: Engine, registry: FakeRegistry, url: str) -> None:
    layout = Layout()
    foreign = layout.add(make_layer("base"), "application/vnd.docker.image.rootfs.foreign.diff.tar", urls=[url])
    own = layout.add(make_layer("own"), mediatypes.DOCKER_LAYER)
    diff_ids = [foreign["digest"], own["digest"]]
    config = layout.add_json(make_config(diff_ids, platform="windows/amd64"), mediatypes.DOCKER_CONFIG)
    name = registry.publish(layout, layout.manifest(config, [foreign, own], media_type=mediatypes.DOCKER_MANIFEST))
    del registry.blobs[foreign["digest"]]
    pull(engine, name)
    assert present(engine, layout) == layout.blobs.keys() - {foreign["digest"]}
    assert texts(pull(engine, name))[-1] == f"Status: Image is up to date for {name}:1"


def test_the_old_target_of_a_moved_tag_stays_as_a_dangling_image(engine: Engine, registry: FakeRegistry) -> None:
    old, new = simple_layout(label="old"), simple_layout(label="new")
    name = registry.publish(old, old.manifests[0])
    pull(engine, name)
    registry.publish(new, new.manifests[0])
    assert texts(pull(engine, name))[-1] == f"Status: Downloaded newer image for {name}:1"
    digest = Digest.parse(old.manifests[0]["digest"])
    assert target_of(engine, dangling_name(digest)) == digest
    registry.publish(old, old.manifests[0])
    pull(engine, name)
    assert target_of(engine, dangling_name(digest)) is None
    assert target_of(engine, f"{name}:1") == digest


def test_two_pulls_of_one_image_transfer_it_once(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("stalled", 2 << 20)], compression="none")
    name = registry.publish(layout, image)
    layer = layers_of(layout, image)[0]["digest"]
    registry.faults[layer] = Fault.WAITING
    first = threading.Thread(target=pull, args=(engine, name))
    second = threading.Thread(target=pull, args=(engine, name))
    first.start()
    registry.stalled.wait(10)
    second.start()
    registry.resume.set()
    first.join(30)
    second.join(30)
    assert registry.asked().count(f"GET {layer}") == 1
    assert present(engine, layout) == layout.blobs.keys()


def test_no_more_threads_than_the_limit_fetch_and_the_largest_layers_come_first(engine: Engine, registry: FakeRegistry) -> None:
    few = replace(engine, limits=replace(engine.limits, concurrent_downloads=1))
    layout = Layout()
    image = layout.image(
        [make_layer(name, size) for name, size in (("a", 20000), ("b", 1000), ("c", 40000), ("d", 30000))], compression="none"
    )
    name = registry.publish(layout, image)
    pull(few, name)
    layers = layers_of(layout, image)
    by_size = sorted(layers, key=lambda layer: layer["size"], reverse=True)
    assert by_size != layers
    asked = [line for line in registry.asked("GET") if line[4:] in {layer["digest"] for layer in layers}]
    assert asked[0] == f"GET {by_size[0]['digest']}"  # the others wait for the only place in the order in which their threads begin
    assert sorted(asked) == sorted(f"GET {layer['digest']}" for layer in layers)


def test_headers_go_along_with_every_request(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    pull(engine, registry.publish(layout, layout.manifests[0]), headers={"X-Meta-Team": "blue"})
    assert {request.headers.get("X-Meta-Team") for request in registry.requests} == {"blue"}

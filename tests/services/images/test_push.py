"""Pushes of a real engine to a registry in this process."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import (
    Conflict,
    InvalidReference,
    NotFound,
)
from stowage.services.images.delete import delete_image
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.images.push import push_image, push_reference
from stowage.services.images.tag import tag_image
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.progress import Detail, Progress
from stowage.services.registry.credentials import Credentials
from tests.builders import Layout, layers_of, make_layer, on_platform, partial_layout, put_image, short, simple_layout
from tests.fake_registry import TOKEN, FakeRegistry, Fault
from tests.fake_registry.uploads import UploadFault
from tests.services.images.pushes import push, served, texts, uploads

STORAGES = ["folder", "s3"]


class TestReference:
    @pytest.mark.parametrize(
        ("image", "tag", "expected"),
        [
            pytest.param("debian", "", "docker.io/library/debian", id="a repository"),
            pytest.param("debian", "trixie", "docker.io/library/debian:trixie", id="a tag"),
            pytest.param("debian:bookworm", "", "docker.io/library/debian:bookworm", id="a tag in the name"),
            pytest.param("debian:bookworm", "trixie", "docker.io/library/debian:trixie", id="the tag field counts"),
            pytest.param(f"debian@sha256:{'0' * 64}", "", f"docker.io/library/debian@sha256:{'0' * 64}", id="a digest"),
        ],
    )
    def test_a_name_and_a_tag_make_a_reference(self, image: str, tag: str, expected: str) -> None:
        assert str(push_reference(image, tag)) == expected

    @pytest.mark.parametrize(
        ("image", "tag", "words"),
        [
            pytest.param("Debian", "", "must be lowercase", id="upper case"),
            pytest.param("debian", "a b", "invalid tag format", id="bad tag"),
            pytest.param(f"debian@sha256:{'0' * 64}", "1", "cannot import digest reference", id="a digest and a tag"),
        ],
    )
    def test_what_is_no_reference_is_refused(self, image: str, tag: str, words: str) -> None:
        with pytest.raises(InvalidReference, match=words):
            push_reference(image, tag)


def test_a_push_brings_an_image_there_and_tells_it_as_docker_does(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("one"), make_layer("two")])
    name = f"{registry.host}/team/app"
    put_image(engine, f"{name}:1", layout, image)
    one, two = map(short, layers_of(layout, image))
    lines = push(engine, f"{name}:1")
    assert texts(lines[:3]) == [f"The push refers to repository [{name}]", f"{one}: Preparing", f"{two}: Preparing"]
    assert sorted(texts(lines[3:5])) == sorted([f"{one}: Pushed", f"{two}: Pushed"])
    assert lines[5:] == [
        Progress(f"1: digest: {image['digest']} size: {image['size']}"),
        Progress(detail=Detail(), aux={"Tag": "1", "Digest": image["digest"], "Size": image["size"]}),
    ]
    assert [line.detail for line in (lines[0], lines[1], lines[3])] == [None, Detail(), Detail()]
    assert served(registry) == layout.blobs
    assert registry.manifests["team/app", "1"].media_type == image["mediaType"]


def test_a_repeated_push_sends_nothing(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout)
    push(engine, name)
    registry.requests.clear()
    (layer,) = layers_of(layout, layout.manifests[0])
    assert f"{short(layer)}: Layer already exists" in texts(push(engine, name))
    assert uploads(registry) == []


def test_only_what_lacks_is_sent(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    first, second = layout.image([make_layer("base")]), layout.image([make_layer("base"), make_layer("top")])
    name = f"{registry.host}/team/app"
    put_image(engine, f"{name}:1", layout, first)
    put_image(engine, f"{name}:2", layout, second)
    push(engine, f"{name}:1")
    base, top = map(short, layers_of(layout, second))
    assert sorted(texts(push(engine, f"{name}:2"))[3:5]) == sorted([f"{base}: Layer already exists", f"{top}: Pushed"])


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("docker", [pytest.param(False, id="oci"), pytest.param(True, id="docker")])
def test_every_digest_stays_on_the_way_there_and_back(engine: Engine, registry: FakeRegistry, compression: str, docker: bool) -> None:
    layout = Layout()
    image = layout.image([make_layer("a", 3 << 20)], compression=compression, docker=docker)
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, image)
    push(engine, name)
    delete_image(engine, name)
    list(pull_image(engine, pull_reference(name, "")))
    with engine.metadata.read() as tx:
        record = tx.images.get(name)
        assert record is not None and record.target.digest == Digest.parse(image["digest"])
        assert {str(digest) for digest in tx.graph.all_blobs()} == layout.blobs.keys()


def test_an_index_comes_after_all_that_it_lists(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    index = layout.index([layout.index([on_platform(layout.image([make_layer("in")]), "linux/amd64")]), layout.multi_platform()])
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, index)
    push(engine, name)
    assert served(registry) == layout.blobs
    assert uploads(registry)[-1] == "PUT 1"


def test_an_artifact_is_pushed_as_it_is(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = f"{registry.host}/team/chart:1"
    put_image(engine, name, layout, layout.chart())
    push(engine, name)
    assert served(registry) == layout.blobs


def test_a_foreign_layer_is_not_pushed(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    raw = make_layer("foreign")
    foreign = layout.add(raw, "application/vnd.docker.image.rootfs.foreign.diff.tar")
    config = layout.add_json(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [foreign["digest"]]}}, mediatypes.DOCKER_CONFIG
    )
    image = layout.manifest(config, [foreign], media_type=mediatypes.DOCKER_MANIFEST)
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, image)
    lines = texts(push(engine, name))
    assert served(registry).keys() == layout.blobs.keys() - {foreign["digest"]}
    assert not [line for line in lines if short(foreign) in line]


def test_a_bare_name_is_every_tag_here(engine: Engine, registry: FakeRegistry) -> None:
    name = f"{registry.host}/team/app"
    for tag in ("2", "1"):
        put_image(engine, f"{name}:{tag}", simple_layout(label=tag))
    put_image(engine, f"{name}-not:1", simple_layout())
    assert [line.partition(" size")[0] for line in texts(push(engine, name)) if "digest: " in line] == [
        f"{tag}: digest: {simple_layout(label=tag).manifests[0]['digest']}" for tag in ("1", "2")
    ]
    assert sorted(registry.tags("team/app")) == ["1", "2"]


def test_a_digest_is_pushed_without_a_tag(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name = f"{registry.host}/team/app@{layout.manifests[0]['digest']}"
    put_image(engine, name, layout)
    lines = texts(push(engine, name))
    assert lines[-1].endswith(": Pushed")
    assert registry.tags("team/app") == []
    assert served(registry) == layout.blobs


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("nope:v", "tag does not exist: nope:v", id="tag"),
        pytest.param("nope", "An image does not exist locally with the tag: nope", id="repository"),
        pytest.param(f"nope@sha256:{'0' * 64}", f"tag does not exist: nope@sha256:{'0' * 64}", id="digest"),
    ],
)
def test_what_is_not_here_is_told_after_the_first_line(engine: Engine, name: str, words: str) -> None:
    lines = push_image(engine, Reference.parse(name))
    assert next(lines) == Progress("The push refers to repository [docker.io/library/nope]")
    with pytest.raises(NotFound) as raised:
        next(lines)
    assert str(raised.value) == words


class TestPlatforms:
    def test_a_platform_is_pushed_alone(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = Layout()
        name = f"{registry.host}/team/app:1"
        index = layout.multi_platform()
        put_image(engine, name, layout, index)
        lines = push(engine, name, platform=Platform.parse("linux/arm64"))
        arm64 = json.loads(layout.blobs[index["digest"]])["manifests"][1]
        assert lines[-2] == Progress(f"1: digest: {arm64['digest']} size: {arm64['size']}")
        assert registry.manifests["team/app", "1"].content == layout.blobs[arm64["digest"]]
        assert not [line for line in lines if line.aux and "manifestPushedInsteadOfIndex" in line.aux]

    def test_of_an_index_with_one_platform_here_the_manifest_is_pushed_with_a_note(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = partial_layout()
        index = layout.manifests[0]
        name = f"{registry.host}/team/app:1"
        put_image(engine, name, layout)
        lines = push(engine, name)
        amd64 = json.loads(layout.blobs[index["digest"]])["manifests"][0]
        assert lines[-3].aux == {
            "manifestPushedInsteadOfIndex": True,
            "originalIndex": {key: index[key] for key in ("mediaType", "digest", "size")},
            "selectedManifest": amd64,
        }
        assert lines[-3].detail == Detail()
        assert list(lines[-3].aux["selectedManifest"]) == ["mediaType", "digest", "size", "platform"]  # type: ignore[call-overload]
        assert lines[-1].aux == {"Tag": "1", "Digest": amd64["digest"], "Size": amd64["size"]}
        assert index["digest"] not in served(registry)

    @pytest.mark.parametrize(
        ("platforms", "lacks", "wanted", "preferred", "expected"),
        [
            pytest.param(["linux/amd64", "linux/arm64"], [], None, "linux/amd64", "index", id="all here"),
            pytest.param(["linux/amd64", "linux/arm64", "linux/arm/v7"], [2], None, "linux/amd64", "linux/amd64", id="the preferred"),
            pytest.param(["linux/arm64", "linux/arm/v7", "linux/arm/v5"], [0], None, "linux/arm/v5", "linux/arm/v5", id="an older variant"),
            pytest.param(["linux/arm64", "linux/arm/v7", "linux/arm/v5"], [1], None, "linux/arm/v7", "linux/arm/v5", id="what it can run"),
            pytest.param(["linux/arm64", "linux/arm/v5"], [0], None, "linux/amd64", "linux/arm/v5", id="the only one"),
            pytest.param(
                ["linux/amd64", "darwin/arm64", "windows/amd64"], [0], None, "linux/amd64",
                "multiple matching manifests found but no specific platform requested", id="none preferred",
            ),
            pytest.param(
                ["linux/amd64", "linux/arm/v7"], [], "linux/arm/v5", "linux/amd64",
                "image with reference {name} was found but does not provide the specified platform (linux/arm/v5)", id="not listed",
            ),
            pytest.param(
                ["linux/amd64", "linux/arm64"], [0], "linux/amd64", "linux/amd64",
                "image with reference {name} was found but does not provide the specified platform (linux/amd64)", id="not here",
            ),
        ],
    )  # fmt: skip
    def test_what_is_chosen_is_what_moby_chooses(
        self,
        engine: Engine,
        registry: FakeRegistry,
        platforms: list[str],
        lacks: list[int],
        wanted: str | None,
        preferred: str,
        expected: str,
    ) -> None:
        layout = Layout()
        index = layout.multi_platform(platforms, attested=False)
        listed = json.loads(layout.blobs[index["digest"]])["manifests"]
        layout.without(*(listed[number] for number in lacks))
        name = f"{registry.host}/team/app:1"
        put_image(engine, name, layout, index)
        chosen = replace(engine, platform=Platform.parse(preferred))
        options = {"platform": Platform.parse(wanted)} if wanted else {}
        if expected == "index" or expected in platforms:
            target = index if expected == "index" else listed[platforms.index(expected)]
            assert push(chosen, name, **options)[-1].aux == {"Tag": "1", "Digest": target["digest"], "Size": target["size"]}
        else:
            with pytest.raises((NotFound, Conflict)) as raised:
                push(chosen, name, **options)
            assert str(raised.value) == expected.format(name=name)

    def test_an_index_that_lists_an_absent_index_is_told_to_lack_content(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = Layout()
        inner = layout.index([])
        outer = layout.index([on_platform(layout.image([make_layer("a")]), "linux/amd64"), inner])
        layout.without(inner)
        name = f"{registry.host}/team/app:1"
        put_image(engine, name, layout, outer)
        lines = push_image(engine, Reference.parse(name))
        next(lines)
        assert next(lines).aux == {"contentMissing": True, "desc": outer}
        with pytest.raises(NotFound, match=f"content digest {inner['digest']}: not found"):
            next(lines)


class TestSources:
    def test_a_pushed_blob_is_mounted_into_another_repository(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = simple_layout()
        name = f"{registry.host}/team/one:1"
        put_image(engine, name, layout)
        push(engine, name)
        tag_image(engine, name, Reference.parse(f"{registry.host}/team/two:1"))
        self._forget(registry, "team/one")
        registry.requests.clear()
        (layer,) = layers_of(layout, layout.manifests[0])
        assert f"{short(layer)}: Mounted from team/one" in texts(push(engine, f"{registry.host}/team/two:1"))
        assert {request.query["from"][0] for request in registry.requests if request.method == "POST"} == {"team/one"}
        assert [path for path in uploads(registry) if path.startswith("PUT")] == ["PUT 1"]

    def test_a_pulled_blob_is_mounted_from_the_repository_that_is_named_most_alike(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = simple_layout()
        for repository in ("other/app", "team/app/base"):
            list(pull_image(engine, pull_reference(registry.publish(layout, layout.manifests[0], repository), "1")))
        tag_image(engine, f"{registry.host}/other/app:1", Reference.parse(f"{registry.host}/team/app/mine:1"))
        self._forget(registry, "team/app/base")
        assert [line for line in texts(push(engine, f"{registry.host}/team/app/mine:1")) if "Mounted from team/app/base" in line]

    @pytest.mark.parametrize("faults", [pytest.param([], id="ignored"), pytest.param([UploadFault.MOUNT_DENIED] * 2, id="denied")])
    def test_a_blob_that_cannot_be_mounted_is_sent(self, engine: Engine, registry: FakeRegistry, faults: list[UploadFault]) -> None:
        layout = simple_layout()
        name = f"{registry.host}/team/one:1"
        put_image(engine, name, layout)
        push(engine, name)
        tag_image(engine, name, Reference.parse(f"{registry.host}/team/two:1"))
        registry.blobs.clear()
        registry.uploads.faults = list(faults)
        lines = push(replace(engine, limits=replace(engine.limits, concurrent_uploads=1)), f"{registry.host}/team/two:1")
        assert [line.status for line in lines[1:3]] == ["Preparing", "Pushed"]
        assert served(registry) == layout.blobs

    def test_another_registry_is_no_source(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = simple_layout()
        with FakeRegistry().serve() as other:
            put_image(engine, f"{other.host}/team/one:1", layout)
            push(engine, f"{other.host}/team/one:1")
        tag_image(engine, f"{other.host}/team/one:1", Reference.parse(f"{registry.host}/team/two:1"))
        push(engine, f"{registry.host}/team/two:1")
        assert not [request for request in registry.requests if "from" in request.query]

    @pytest.mark.parametrize("platform", [pytest.param(None, id="an index"), pytest.param("linux/arm64", id="one platform of it")])
    def test_the_repository_is_known_to_hold_what_was_pushed(self, engine: Engine, registry: FakeRegistry, platform: str | None) -> None:
        layout = Layout()
        name = f"{registry.host}/team/app"
        put_image(engine, f"{name}:1", layout, layout.multi_platform(("linux/amd64", "linux/arm64")))
        push(engine, f"{name}:1", platform=Platform.parse(platform) if platform else None)
        with engine.metadata.read() as tx:
            known = tx.sources.names(map(Digest.parse, layout.blobs))
        assert {str(digest): names for digest, names in known.items()} == {digest: [name] for digest in served(registry)}

    def test_a_source_goes_with_its_blob(self, engine: Engine, registry: FakeRegistry) -> None:
        layout = simple_layout()
        name = f"{registry.host}/team/one:1"
        put_image(engine, name, layout)
        push(engine, name)
        digests = [Digest.parse(digest) for digest in layout.blobs]
        delete_image(engine, name)
        put_image(engine, name, layout)
        with engine.metadata.read() as tx:
            assert tx.sources.repositories(digests, registry=registry.host) == {}

    def _forget(self, registry: FakeRegistry, repository: str) -> None:
        """Leave the blobs where only a mount reaches them."""
        registry.uploads.mountable = {digest: (repository, content) for digest, content in registry.blobs.items()}
        registry.blobs.clear()


def test_credentials_and_headers_of_the_client_go_to_the_registry(engine: Engine) -> None:
    with FakeRegistry(auth="bearer", user="me:secret").serve() as registry:
        name = f"{registry.host}/team/app:1"
        put_image(engine, name)
        push(engine, name, credentials=Credentials("me", "secret"), headers={"X-Meta-Build": "7"})
    tokens = [request for request in registry.requests if request.path == "/token"]
    assert {scope for request in tokens for scope in request.query["scope"]} == {"repository:team/app:pull,push"}
    puts = [request for request in registry.requests if request.method == "PUT"]
    assert {(request.headers["Authorization"], request.headers["X-Meta-Build"]) for request in puts} == {(f"Bearer {TOKEN}", "7")}


def test_no_more_blobs_are_sent_at_once_than_the_limit_says(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, layout.image([make_layer(f"layer{number}", 1 << 20) for number in range(6)], compression="none"))
    push(replace(engine, limits=replace(engine.limits, concurrent_uploads=2)), name)
    assert 1 <= registry.uploads.most_at_once <= 2
    assert served(registry) == layout.blobs


def test_advances_say_how_much_of_a_layer_is_there(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    image = layout.image([make_layer("big", 64 << 20)], compression="none")
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout, image)
    registry.faults = {layers_of(layout, image)[0]["digest"]: Fault.ABSENT}
    details = [line.detail for line in push_image(engine, Reference.parse(name)) if line.status == "Pushing"]
    size = layers_of(layout, image)[0]["size"]
    assert all(detail and detail.total == size and 0 <= detail.current <= size for detail in details)

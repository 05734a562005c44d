"""One image, looked at."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Internal, NotFound
from stowage.services.filters import Filters
from stowage.services.images.delete import delete_image
from stowage.services.images.history import read_history
from stowage.services.images.inspect import inspect_image
from stowage.services.images.list import list_images
from stowage.services.images.tag import tag_image
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.timestamps import ZERO, Timestamp
from tests.builders import CREATED, Layout, load_image, partial_layout, put_image, simple_layout

SHOWN = Timestamp.parse(CREATED).unix


def test_an_image_shows_its_config_and_names(engine: Engine) -> None:
    digest = put_image(engine, "app:1", simple_layout(author="me", config={"Cmd": ["sh"], "Labels": {"a": "b"}}))
    tag_image(engine, "app:1", Reference.parse("app:2"))
    tag_image(engine, "app:1", Reference.parse("host:5000/other").tagged())
    image = inspect_image(engine, "app:2")
    assert image.repo_tags == ("app:1", "app:2", "host:5000/other:latest")
    assert image.repo_digests == (f"app@{digest}", f"host:5000/other@{digest}")
    assert (image.config.author, image.config.container.cmd, str(image.config.created)) == ("me", ("sh",), CREATED)
    assert (image.descriptor.digest, image.comment, image.manifests) == (digest, "buildkit.dockerfile.v0", ())


def test_the_last_tag_time_is_that_of_the_last_name(engine: Engine) -> None:
    put_image(engine, "app:1")
    later = dataclasses.replace(engine, clock=lambda: 4_000_000_000_000_000_000)
    tag_image(later, "app:1", Reference.parse("app:2"))
    assert inspect_image(engine, "app:1").last_tagged == Timestamp(4_000_000_000_000_000_000)


def test_a_dangling_image_has_no_names(engine: Engine) -> None:
    image = inspect_image(engine, str(put_image(engine, None)))
    assert (image.repo_tags, image.repo_digests) == ((), ())


def test_a_name_by_digest_is_both_a_tag_and_a_digest(engine: Engine) -> None:
    digest = put_image(engine, "app:1")
    by_digest = f"app@{digest}"
    put_image(engine, by_digest)
    image = inspect_image(engine, by_digest)
    assert (image.repo_tags, image.repo_digests) == (("app:1", by_digest), (by_digest,))


def test_the_repositories_are_those_that_hold_the_target_under_any_name(engine: Engine) -> None:
    layout = Layout()
    index = put_image(engine, "multi", layout, layout.multi_platform())
    (child, *_) = (each.descriptor.digest for each in inspect_image(engine, "multi", manifests=True).manifests)
    assert inspect_image(engine, "multi").repositories == ()
    with engine.metadata.write() as tx:
        tx.sources.add([index], registry="docker.io", repository="library/multi")
        tx.sources.add([child], registry="elsewhere", repository="child")
    tag_image(engine, "multi", Reference.parse("host:5000/other:1"))
    for name, platform in (("multi", None), ("host:5000/other:1", Platform("linux", "amd64"))):
        assert inspect_image(engine, name, platform=platform).repositories == ("docker.io/library/multi",)


def test_the_repositories_stay_when_the_image_comes_again_and_go_with_its_content(engine: Engine) -> None:
    digest = put_image(engine, "app:1")
    with engine.metadata.write() as tx:
        tx.sources.add([digest], registry="docker.io", repository="library/app")
    put_image(engine, "app:2")
    delete_image(engine, "app:1")
    assert inspect_image(engine, "app:2").repositories == ("docker.io/library/app",)
    delete_image(engine, "app:2")
    put_image(engine, "app:2")
    assert inspect_image(engine, "app:2").repositories == ()


def test_a_platform_is_shown_in_place_of_the_index(engine: Engine) -> None:
    layout = Layout()
    index = put_image(engine, "multi", layout, layout.multi_platform())
    host, arm = inspect_image(engine, "multi"), inspect_image(engine, "multi", platform=Platform("linux", "arm64"))
    assert (host.descriptor.digest, host.config.platform.architecture) == (index, "amd64")
    assert (arm.config.platform.architecture, arm.descriptor.platform) == ("arm64", Platform("linux", "arm64", "v8"))
    assert arm.repo_digests == (f"multi@{index}",)
    assert len(inspect_image(engine, "multi", manifests=True).manifests) == 6


def test_a_platform_that_is_not_listed_is_an_error(engine: Engine) -> None:
    put_image(engine, "app")
    words = r"^image with reference app was found but does not provide the specified platform \(linux/s390x\)$"
    with pytest.raises(NotFound, match=words):
        inspect_image(engine, "app", platform=Platform("linux", "s390x"))


def test_an_absent_platform_shows_an_empty_config(engine: Engine) -> None:
    layout = partial_layout()
    put_image(engine, "partial", layout, {**layout.manifests[0], "annotations": {}})
    image = inspect_image(engine, "partial", platform=Platform("linux", "arm64"))
    assert (image.config.platform, image.config.diff_ids, image.size, image.comment) == (Platform(), None, 0, "")


def test_a_chart_shows_an_empty_config_and_its_size(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "chart", layout, layout.chart())
    image = inspect_image(engine, "chart")
    assert (image.config.platform, image.size) == (Platform(), sum(map(len, layout.blobs.values())))


@pytest.mark.parametrize(
    ("fields", "created", "labels"),
    [
        pytest.param({"config": {"Cmd": "sh", "Labels": {"a": "b"}}}, SHOWN, '{"a":"b"}', id="cmd is one string"),
        pytest.param({"config": {"Env": "A=1"}}, SHOWN, "{}", id="env is one string"),
        pytest.param({"config": {"ExposedPorts": ["80/tcp"]}}, SHOWN, "{}", id="ports are a list"),
        pytest.param({"config": {"Labels": {"a": 1, "b": "2"}}}, SHOWN, '{"a":"","b":"2"}', id="a label is a number"),
        pytest.param({"created": ""}, ZERO.unix, "{}", id="created is empty"),
        pytest.param({"created": 1714979289}, ZERO.unix, "{}", id="created is a number"),
        pytest.param({"created": "2024-05-06T07:08:09", "config": {"Labels": {"a": "b"}}}, ZERO.unix, '{"a":"b"}', id="no zone"),
        pytest.param({"created": "yesterday"}, ZERO.unix, "{}", id="created is words"),
    ],
)
def test_a_config_that_only_containerd_reads_is_taken_and_listed(engine: Engine, fields: dict[str, Any], created: int, labels: str) -> None:
    layout = simple_layout("docker.io/library/odd:1", **fields)
    load_image(engine, layout.to_tar())
    assert all(engine.content.read(Digest.parse(digest)) == raw for digest, raw in layout.blobs.items())
    (listed,) = list_images(engine, filters=Filters())
    assert (listed.created, listed.labels) == (created, labels)
    assert len(read_history(engine, "odd:1") or ()) == 1
    with pytest.raises(Internal, match="^failed to read image config: could not deserialize image config: "):
        inspect_image(engine, "odd:1")
    assert inspect_image(engine, "odd:1", partly=True).config.platform == Platform("linux", "amd64")


def test_a_history_that_cannot_be_read_is_not_shown(engine: Engine) -> None:
    put_image(engine, "odd:1", simple_layout(history=[{"empty_layer": "no"}]))
    with pytest.raises(Internal, match="^could not deserialize image config: json: cannot unmarshal string into Go struct field"):
        read_history(engine, "odd:1")

"""The list of images, its order, and its filters."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound, InvalidParameter
from stowage.services.filters import Filters
from stowage.services.images import list as list_
from stowage.services.images.delete import delete_image
from stowage.services.images.list import UNKNOWN, ListedImage, list_images
from stowage.services.images.tag import tag_image
from stowage.services.metadata.records import ManifestDocument
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import read_manifests
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from tests.builders import Layout, load_image, make_layer, put_image, simple_layout
from tests.engines import ON_EVERY_DATABASE
from tests.rows import add_blobs, add_index, digest, image_facts

YEARS = {"old": "2020-01-01T00:00:00Z", "middle": "2022-01-01T00:00:00Z", "new": "2024-01-01T00:00:00Z"}


def listed(engine: Engine, filters: str = "") -> list[ListedImage]:
    return list(list_images(engine, filters=Filters.parse(filters)))


def tags(engine: Engine, filters: str = "") -> list[str]:
    return [tag for image in listed(engine, filters) for tag in image.repo_tags or ("<none>",)]


def name(engine: Engine, image: str, reference: str) -> None:
    tag_image(engine, image, Reference.parse(reference).tagged())


@pytest.fixture
def shelf(engine: Engine) -> Engine:
    """Three images of different years and labels, and one without a name or date."""
    labels = {"old": {"stage": "prod", "empty": ""}, "middle": {"stage": "dev"}, "new": None}
    for name, created in YEARS.items():
        put_image(engine, f"team/{name}:1", simple_layout(label=name, created=created, config={"Labels": labels[name]}))
    put_image(engine, None, simple_layout(label="nameless", created=None))
    return engine


def test_an_empty_store_lists_nothing(engine: Engine) -> None:
    assert listed(engine) == []


def test_images_come_newest_first(shelf: Engine) -> None:
    assert tags(shelf) == ["team/new:1", "team/middle:1", "team/old:1", "<none>"]


def test_an_image_is_listed_once_with_all_its_names(shelf: Engine) -> None:
    name(shelf, "team/old:1", "zoo:2")
    image = listed(shelf)[2]
    assert image.repo_tags == ("zoo:2", "team/old:1")
    assert image.repo_digests == (f"team/old@{image.id}",)
    assert (image.labels, image.containers, image.shared_size, image.manifests) == ('{"stage":"prod","empty":""}', 0, UNKNOWN, ())


def test_a_dangling_image_has_no_names(shelf: Engine) -> None:
    image = listed(shelf)[3]
    assert (image.repo_tags, image.repo_digests, image.created, image.labels) == ((), (), 0, "{}")


def test_a_chart_is_listed_without_a_platform(engine: Engine) -> None:
    layout = Layout()
    digest = put_image(engine, "chart", layout, layout.chart())
    (image,) = listed(engine)
    assert (image.repo_digests, image.labels, image.containers, image.created) == ((str(digest),), None, UNKNOWN, 0)
    assert image.size == sum(map(len, layout.blobs.values()))


def test_manifests_come_when_asked_for(shelf: Engine) -> None:
    images = list(list_images(shelf, filters=Filters(), manifests=True))
    assert [[each.descriptor.digest for each in image.manifests] for image in images] == [[image.id] for image in images]


def test_the_shared_size_is_what_another_image_also_has(engine: Engine) -> None:
    layout = Layout()
    layers = [make_layer("base"), make_layer("own")]
    for name, own in (("left", layers), ("right", layers[:1])):
        put_image(engine, name, layout, layout.image(own, author=name))
    put_image(engine, "alone")
    sizes = {image.repo_tags[0]: image.shared_size for image in list_images(engine, filters=Filters(), shared_size=True)}
    assert sizes["left:latest"] == sizes["right:latest"] > 0
    assert sizes["alone:latest"] == 0


def test_the_repositories_that_hold_a_target_come_when_asked_for(engine: Engine) -> None:
    for label in ("a", "b"):
        digest = put_image(engine, label, simple_layout(label=label))
    with engine.metadata.write() as tx:
        tx.sources.add([digest], registry="docker.io", repository="library/b")
    found = list_images(engine, filters=Filters(), shared_size=True, identity=True)
    assert {image.repo_tags[0]: (image.repositories, image.shared_size) for image in found} == {
        "a:latest": ((), 0),
        "b:latest": (("docker.io/library/b",), 0),
    }
    assert {image.repositories for image in listed(engine)} == {()}


def test_any_number_of_names_is_compared_but_only_some_patterns(shelf: Engine) -> None:
    names = [f"team/none{number}:1" for number in range(900)]
    assert tags(shelf, json.dumps({"reference": [*names, "team/old:1", "team/m*"]})) == ["team/middle:1", "team/old:1"]
    with pytest.raises(InvalidParameter, match=r"^invalid filter: more than 100 patterns; use fewer filters at a time$"):
        tags(shelf, json.dumps({"reference": [f"{name}*" for name in names]}))


@pytest.mark.parametrize(("name", "expected"), [("label", []), ("label!", ["team/new:1", "team/middle:1", "team/old:1", "<none>"])])
def test_there_may_be_as_many_labels_as_filters(shelf: Engine, name: str, expected: list[str]) -> None:
    assert tags(shelf, json.dumps({name: [f"key{number}" for number in range(999)]})) == expected


def test_a_manifest_that_comes_later_is_told_even_if_the_size_stays(engine: Engine) -> None:
    late = image_facts("late", ())
    with engine.metadata.write() as tx:
        add_blobs(tx, ["twin", "late", "late.config"])
        tx.graph.add_manifest(replace(late, digest=digest("twin")), b"{}")
        add_index(tx, "index", ["twin", "late"], name="docker.io/library/app:1")
    (before,) = list_images(engine, filters=Filters(), manifests=True)
    with engine.metadata.write() as tx:
        tx.graph.add_manifest(late, b"{}")
    (after,) = list_images(engine, filters=Filters(), manifests=True)
    assert [[each.available for each in image.manifests] for image in (before, after)] == [[True, False], [True, True]]
    assert before.size == after.size


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param('{"reference":["team/*"]}', ["new", "middle", "old"], id="familiar name"),
        pytest.param('{"reference":["team/old","team/n?w:1"]}', ["new", "old"], id="any of several"),
        pytest.param('{"reference":["docker.io/team/o*"]}', ["old"], id="canonical name"),
        pytest.param('{"reference":["*"]}', [""], id="a star stops at a slash, and takes the dangling as moby's does"),
        pytest.param('{"reference":["["]}', [], id="malformed pattern"),
        pytest.param('{"reference":{"team/old:1":true}}', ["old"], id="map form"),
        pytest.param('{"label":["stage"]}', ["middle", "old"], id="label"),
        pytest.param('{"label":["stage=prod"]}', ["old"], id="label value"),
        pytest.param('{"label":["stage=prod","empty"]}', ["old"], id="all labels"),
        pytest.param('{"label":["empty="]}', ["old"], id="empty label value"),
        pytest.param('{"label!":["stage"]}', ["new", ""], id="no label"),
        pytest.param('{"label!":["stage=prod"]}', ["new", "middle", ""], id="not that value"),
        pytest.param('{"label":["stage!=prod"]}', ["new", "middle", ""], id="unequal"),
        pytest.param('{"dangling":["true"]}', [""], id="dangling"),
        pytest.param('{"dangling":["0"]}', ["new", "middle", "old"], id="not dangling"),
        pytest.param('{"before":["team/new:1"]}', ["middle", "old"], id="before"),
        pytest.param('{"since":["team/old:1"],"before":["team/new:1"]}', ["middle"], id="between"),
        pytest.param('{"until":["1h"]}', [], id="stored long ago"),
        pytest.param('{"until":["-1h"]}', ["new", "middle", "old", ""], id="stored by then"),
        pytest.param('{"until":["0001-01-02"]}', [], id="stored before year 1 ended"),
        pytest.param('{"until":["9999-01-02"]}', ["new", "middle", "old", ""], id="stored before year 9999"),
    ],
)
def test_filters_choose(shelf: Engine, filters: str, expected: list[str]) -> None:
    assert tags(shelf, filters) == [f"team/{name}:1" if name else "<none>" for name in expected]


@pytest.mark.parametrize(("created", "is_oldest"), [("0001-01-01T00:00:00Z", True), ("9999-12-31T23:59:59Z", False)])
def test_dates_that_builders_write_instead_of_none_are_compared(shelf: Engine, created: str, is_oldest: bool) -> None:
    layout = Layout()
    put_image(shelf, "ko", layout, layout.image([make_layer("ko")], created=created))
    others = tags(shelf, '{"reference":["team/*"]}')
    older, newer = tags(shelf, '{"before":["ko"],"reference":["*/*"]}'), tags(shelf, '{"since":["ko"],"reference":["*/*"]}')
    assert (older, newer) == (([], others) if is_oldest else (others, []))


def test_a_filter_also_chooses_among_the_names_of_one_image(shelf: Engine) -> None:
    name(shelf, "team/old:1", "other")
    assert tags(shelf, '{"reference":["other"]}') == ["other:latest"]


def test_labels_of_an_attestation_do_not_count(engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer("one")], config={"Labels": {"stage": "prod"}})
    put_image(engine, "attested", layout, layout.index([image, layout.attestation(image)]))
    assert tags(engine, '{"label!":["stage"]}') == []
    assert tags(engine, '{"label":["stage"]}') == ["attested:latest"]


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        pytest.param('{"nosuch":["x"]}', "invalid filter 'nosuch'", id="name"),
        pytest.param('{"dangling":["banana"]}', "invalid filter 'dangling=[banana]'", id="neither"),
        pytest.param('{"dangling":["true","0"]}', "invalid filter 'dangling=[true 0]'", id="both"),
        pytest.param(
            '{"until":["banana"]}',
            "invalid value for 'until' filter: failed to parse value as time or duration: invalid seconds \"banana\": invalid syntax",
            id="until",
        ),
        pytest.param(
            '{"label":["' + "k" * 4096 + '=1"]}',
            "label key and value length (4097 bytes) greater than maximum size (4096 bytes), key: " + "k" * 64 + ": invalid argument",
            id="long label",
        ),
    ],
)
def test_filters_without_sense_are_refused_in_dockers_words(engine: Engine, filters: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        listed(engine, filters)
    assert str(caught.value) == words


@pytest.mark.parametrize("filters", ['{"before":["nope"]}', '{"since":["nope"]}'])
def test_the_image_to_compare_with_must_be_there(shelf: Engine, filters: str) -> None:
    with pytest.raises(ImageNotFound, match="^No such image: nope:latest$"):
        listed(shelf, filters)


@ON_EVERY_DATABASE
def test_a_list_that_is_being_read_does_not_show_an_image_that_comes_meanwhile(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_, "_PAGE", 1)
    for name, created in YEARS.items():
        put_image(engine, f"team/{name}:1", simple_layout(label=name, created=created))
    put_image(engine, "team/last:1", simple_layout(label="last", created="2023-01-01T00:00:00Z"))
    reading = list_images(engine, filters=Filters.parse('{"since": ["team/middle:1"]}'))
    assert next(reading).repo_tags == ("team/new:1",)
    delete_image(engine, "team/last:1")
    put_image(engine, "team/ancient:1", simple_layout(label="ancient", created="2019-01-01T00:00:00Z"))
    assert list(reading) == []


@pytest.mark.parametrize("wanted", ["a=b\0c", "a\0b=c", "a\0b"])
def test_labels_are_told_apart_whatever_characters_they_have(engine: Engine, wanted: str) -> None:
    labels = {"first": {"a": "b\0c"}, "second": {"a\0b": "c"}, "third": {"a": "b"}}
    for name, given in labels.items():
        put_image(engine, f"team/{name}:1", simple_layout(label=name, config={"Labels": given}))
    expected = {"a=b\0c": "first", "a\0b=c": "second", "a\0b": "second"}[wanted]
    assert tags(engine, json.dumps({"label": [wanted]})) == [f"team/{expected}:1"]
    assert sorted(tags(engine, json.dumps({"label!": [wanted]}))) == sorted(f"team/{name}:1" for name in labels if name != expected)


def test_an_image_is_looked_at_once_for_all_of_its_names(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = simple_layout("docker.io/library/many:0")
    for number in range(1, 20):
        layout.tag(layout.manifests[0], f"docker.io/library/many:{number}")
    load_image(engine, layout.to_tar())
    looked: list[Digest] = []

    def looking(tx: Transaction, target: Digest) -> dict[Digest, ManifestDocument]:
        looked.append(target)
        return read_manifests(tx, target)

    monkeypatch.setattr(list_, "read_manifests", looking)
    names = [f"many:{number}" for number in range(20)]
    assert list(list_images(engine, filters=Filters({"before": dict.fromkeys(names, True), "since": dict.fromkeys(names, True)}))) == []
    assert len(looked) == 1

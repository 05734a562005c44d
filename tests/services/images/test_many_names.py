"""What is asked of an image with many names costs what its names cost once, in short transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidParameter
from stowage.services.filters import Filters
from stowage.services.images import delete
from stowage.services.images.delete import Removal, delete_image, still_named
from stowage.services.images.prune import prune_images
from stowage.services.images.save import save_images
from stowage.services.images.tag import tag_image
from stowage.services.metadata.facts import to_record
from stowage.services.metadata.graph import Graph
from stowage.services.metadata.records import ImageRecord
from stowage.services.metadata.store import Transaction
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from tests.builders import ArchivedImage, Layout, docker_archive, load_image, make_layer, on_platform
from tests.engines import ON_EVERY_DATABASE
from tests.fake_registry import FakeRegistry
from tests.services.images.archives import document, names, save
from tests.services.images.pushes import push
from tests.statements import counted

NAMES = 450
"""More than two transactions name."""
FEW = 5
"""Records that one name of an image takes, whatever it is asked for."""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the records that are read, and the manifests that are asked for."""
    counter: Counter[str] = Counter()
    manifests = Graph.manifests

    def count_record(row: Sequence[Any]) -> ImageRecord:
        counter["records"] += 1
        return to_record(row)

    def count_manifests(graph: Graph, digests: set[Digest]) -> object:
        counter["manifests"] += 1
        return manifests(graph, digests)

    monkeypatch.setattr("stowage.services.metadata.images.to_record", count_record)
    monkeypatch.setattr(Graph, "manifests", count_manifests)
    return counter


def load_names(engine: Engine, label: str = "many", repository: str = "many") -> Digest:
    """Load an image with many names; returns its digest."""
    tags = tuple(f"{repository}:{number}" for number in range(NAMES))
    load_image(engine, docker_archive(ArchivedImage((make_layer(label),), tags)))
    return Digest.parse(names(engine)[str(Reference.parse(f"{repository}:0"))])


def last_actions(engine: Engine, position: int) -> Counter[str]:
    with engine.metadata.read() as tx:
        return Counter(event.action for event in tx.events.after(position, limit=10 * NAMES))


def position(engine: Engine) -> int:
    with engine.metadata.read() as tx:
        return tx.events.last()


@ON_EVERY_DATABASE
def test_a_save_reads_each_name_once_and_reports_it_in_short_transactions(engine: Engine, read: Counter[str]) -> None:
    load_names(engine)
    read.clear()
    before = position(engine)
    with counted() as sent:
        archive = save(engine, "many")
    assert len(document(archive, "index.json")["manifests"]) == NAMES
    assert read["records"] <= NAMES + FEW
    assert last_actions(engine, before) == {"save": NAMES}
    assert sent.writes >= NAMES // 200


def test_a_save_looks_at_what_many_names_have_in_common_once(engine: Engine, read: Counter[str]) -> None:
    layout = Layout()
    index = layout.index([on_platform(layout.image([make_layer(name)], platform=name), name) for name in ("linux/amd64", "linux/arm64")])
    for number in range(20):
        layout.tag(index, f"docker.io/library/many:{number}")
    load_image(engine, layout.to_tar())
    for platforms in [Platform("linux", "amd64")], [Platform("linux", "amd64"), Platform("linux", "arm64")]:
        read.clear()
        assert document(save(engine, "many", platforms=platforms), "manifest.json")[0]["RepoTags"] == sorted(f"many:{n}" for n in range(20))
        assert read["manifests"] <= FEW


@ON_EVERY_DATABASE
@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda image: ["many:1", "many", "library/many", "docker.io/library/many:1", "many"], id="by name"),
        pytest.param(lambda image: ["many", str(image), image.hex, image.short, f"many@{image}", f"many:2@{image}"], id="and by ID"),
    ],
)
def test_what_is_named_several_times_is_listed_as_often(engine: Engine, read: Counter[str], spell: Callable[[Digest], list[str]]) -> None:
    image = load_names(engine)
    asked = spell(image)
    read.clear()
    archive = save(engine, *asked)
    repositories = len({"many", "library/many"}.intersection(asked)) + (asked.count("many") - 1)
    named = repositories * NAMES + len({"many:1", "docker.io/library/many:1"}.intersection(asked))
    assert len(document(archive, "index.json")["manifests"]) == named + (len(asked) - 1 if str(image) in asked else 0)
    (entry,) = document(archive, "manifest.json")
    assert len(entry["RepoTags"]) == named
    assert read["records"] <= 3 * NAMES * repositories + FEW * len(asked)


def test_a_save_of_more_names_than_an_archive_may_have_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    load_names(engine)
    monkeypatch.setattr("stowage.services.images.save.MAX_ENTRIES", NAMES - 1)
    with pytest.raises(InvalidParameter, match=f"^an archive may have at most {NAMES - 1} names$"):
        next(save_images(engine, ["many"]))


def test_a_save_whose_index_no_load_would_read_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated names count each time, and so do annotations."""
    layout = Layout()
    layout.tag({**layout.image([make_layer()]), "annotations": {"about": "x" * 10_000}}, "docker.io/library/about:1")
    load_image(engine, layout.to_tar())
    monkeypatch.setattr("stowage.services.images.save.MAX_DOCUMENT_BYTES", 50_000)
    index = document(save(engine, "about:1", "about:1", "about:1", "about:1"), "index.json")
    assert [len(entry["annotations"]["about"]) for entry in index["manifests"]] == [10_000] * 4
    with pytest.raises(InvalidParameter, match=r"^the names and annotations of the images need about 5\d{4} bytes of index.json: "):
        next(save_images(engine, ["about:1"] * 5))


@pytest.mark.parametrize(
    "spell", [pytest.param(lambda image: "many:7", id="name"), str, lambda image: image.short, lambda image: f"many@{image}"]
)
def test_a_tag_of_an_image_does_not_read_its_other_names(engine: Engine, read: Counter[str], spell: Callable[[Digest], str]) -> None:
    image = load_names(engine)
    read.clear()
    tag_image(engine, spell(image), Reference.parse("other:1"))
    assert read["records"] <= 2 * FEW


@ON_EVERY_DATABASE
def test_names_that_move_to_another_image_do_not_read_those_that_stay(engine: Engine, read: Counter[str]) -> None:
    load_names(engine)
    read.clear()
    assert load_names(engine, "other") == Digest.parse(names(engine)["docker.io/library/many:449"])
    assert read["records"] <= FEW * NAMES


def test_a_push_of_an_image_does_not_read_its_other_names(engine: Engine, registry: FakeRegistry, read: Counter[str]) -> None:
    load_names(engine, repository=f"{registry.host}/team/many")
    read.clear()
    push(engine, f"{registry.host}/team/many:1")
    assert read["records"] <= FEW


@pytest.mark.parametrize(
    "remove",
    [
        pytest.param(lambda engine, image: delete_image(engine, str(image), force=True), id="delete"),
        pytest.param(lambda engine, image: prune_images(engine, filters=Filters.parse('{"dangling":["false"]}')), id="prune"),
    ],
)
def test_all_names_are_removed_in_short_transactions(
    engine: Engine, read: Counter[str], monkeypatch: pytest.MonkeyPatch, remove: Callable[[Engine, Digest], object]
) -> None:
    image = load_names(engine)
    for module in "delete", "prune":
        monkeypatch.setattr(f"stowage.services.images.{module}.REMOVED_NAMES", 100)
    read.clear()
    before = position(engine)
    with counted() as sent:
        remove(engine, image)
    assert sent.writes >= NAMES // 100
    assert names(engine) == {}
    actions = last_actions(engine, before)
    assert (actions["untag"], actions["delete"]) == (NAMES, 1)
    assert read["records"] <= 3 * NAMES


def test_a_name_that_got_another_image_meanwhile_is_not_removed(engine: Engine) -> None:
    load_names(engine)
    with engine.metadata.read() as tx:
        before = tx.images.in_repository("docker.io/library/many")
    load_image(engine, docker_archive(ArchivedImage((make_layer("other"),), ("many:1",))))
    delete_image(engine, "many:2")
    with engine.metadata.write() as tx:
        assert {record.name for record in before} - {record.name for record in still_named(tx, before)} == {
            "docker.io/library/many:1",
            "docker.io/library/many:2",
        }


def test_a_removal_that_is_reported_is_answered_if_others_removed_the_rest(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    load_image(engine, docker_archive(ArchivedImage((make_layer("few"),), ("few:1", "few:2", "few:3"))))
    image = Digest.parse(names(engine)["docker.io/library/few:1"])
    before = position(engine)

    def remove_last(tx: Transaction, records: Sequence[ImageRecord]) -> list[ImageRecord]:
        tx.images.delete(["docker.io/library/few:3"])
        return still_named(tx, records)

    monkeypatch.setattr(delete, "REMOVED_NAMES", 1)
    monkeypatch.setattr(delete, "still_named", remove_last)
    assert delete_image(engine, str(image), force=True) == [Removal("few:1"), Removal("few:2"), Removal(deleted=str(image))]
    assert last_actions(engine, before) == {"untag": 2, "delete": 1}

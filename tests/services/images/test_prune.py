"""What a prune removes, and what it reports."""

from __future__ import annotations

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import Conflict, InvalidParameter, Unavailable
from stowage.services.filters import Filters
from stowage.services.gc import collector
from stowage.services.gc.leases import hold
from stowage.services.images import prune
from stowage.services.images.delete import Removal
from stowage.services.images.prune import Pruned, prune_images
from stowage.services.images.tag import tag_image
from stowage.services.intake.ingest import store_bytes
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from tests.builders import Layout, put_image, simple_layout
from tests.listings import all_manifests, all_records

STORAGES = ["folder", "s3"]


def prune_all(engine: Engine, filters: str = '{"dangling":["false"]}') -> Pruned:
    return prune_images(engine, filters=Filters.parse(filters))


def stored_bytes(content: FilesystemStore) -> int:
    return sum(size for _, size in content.blobs())


@pytest.fixture
def shelf(engine: Engine) -> dict[str, Digest]:
    """Two named images of different stages and one without a name."""
    return {
        "prod": put_image(engine, "prod:1", simple_layout(label="prod", config={"Labels": {"stage": "prod"}})),
        "dev": put_image(engine, "dev:1", simple_layout(label="dev", config={"Labels": {"stage": "dev"}})),
        "": put_image(engine, None, simple_layout(label="nameless")),
    }


def removals(*digests: Digest, names: tuple[str, ...]) -> list[Removal]:
    return [Removal(untagged=name) for name in names] + [Removal(deleted=str(digest)) for digest in digests]


def test_an_empty_store_has_nothing_to_prune(engine: Engine) -> None:
    assert prune_all(engine) == Pruned(None, 0)


@pytest.mark.parametrize("filters", ["", "{}", '{"dangling":["1"]}', '{"dangling":{"true":true}}'])
def test_only_dangling_images_go_unless_told_otherwise(
    engine: Engine, content: FilesystemStore, shelf: dict[str, Digest], filters: str
) -> None:
    before = stored_bytes(content)
    pruned = prune_all(engine, filters)
    assert pruned == Pruned(removals(shelf[""], names=(str(shelf[""]),)), before - stored_bytes(content))
    assert [record.name for record in all_records(engine.metadata)] == ["docker.io/library/dev:1", "docker.io/library/prod:1"]


@pytest.mark.parametrize("batch", [1, 2, 200])
def test_every_image_goes_with_what_it_had(
    engine: Engine, content: FilesystemStore, shelf: dict[str, Digest], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("stowage.services.store.batches.BATCH", batch)
    before = stored_bytes(content)
    pruned = prune_all(engine)
    assert pruned.removals == [
        *removals(shelf["dev"], names=("dev:1",)),
        *removals(shelf["prod"], names=("prod:1",)),
        *removals(shelf[""], names=(str(shelf[""]),)),
    ]
    assert (pruned.freed, stored_bytes(content)) == (before, 0)


def test_an_image_goes_with_the_last_of_its_names(engine: Engine) -> None:
    digest = put_image(engine, "app:1")
    tag_image(engine, "app:1", Reference.parse("app:2"))
    assert prune_all(engine).removals == removals(digest, names=("app:1", "app:2"))


def test_an_index_goes_with_its_manifests_in_their_order(engine: Engine) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64",))
    digest = put_image(engine, "multi", layout, index)
    facts = all_manifests(engine.metadata)[digest]
    children = [edge.child.digest for edge in facts.edges]
    assert prune_all(engine).removals == removals(digest, *children, names=("multi:latest",))


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        pytest.param('{"dangling":["false"],"label":["stage=dev"]}', ["dev"], id="label"),
        pytest.param('{"dangling":["false"],"label!":["stage"]}', [""], id="no label"),
        pytest.param('{"dangling":["false"],"label":["stage"],"label!":["stage=prod"]}', ["dev"], id="both"),
        pytest.param('{"label":["stage"]}', [], id="no dangling image has it"),
        pytest.param('{"dangling":["false"],"until":["1h"]}', [], id="too young"),
        pytest.param('{"dangling":["false"],"until":["-1h"]}', ["dev", "prod", ""], id="old enough"),
    ],
)
def test_filters_choose(engine: Engine, shelf: dict[str, Digest], filters: str, gone: list[str]) -> None:
    told = prune_all(engine, filters).removals or []
    assert [removal.deleted for removal in told if removal.deleted] == [str(shelf[name]) for name in gone]
    assert len(all_records(engine.metadata)) == 3 - len(gone)


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        pytest.param('{"reference":["x"]}', "invalid filter 'reference'", id="not a prune filter"),
        pytest.param('{"dangling":["banana"]}', r"invalid filter 'dangling=\[banana\]'", id="neither"),
        pytest.param('{"until":["banana"]}', "invalid value for 'until' filter: .*invalid syntax", id="until"),
    ],
)
def test_filters_without_sense_remove_nothing(engine: Engine, shelf: dict[str, Digest], filters: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^{words}$"):
        prune_all(engine, filters)
    assert len(all_records(engine.metadata)) == len(shelf)


def break_off_a_pull(engine: Engine) -> None:
    """Leave a finished blob and a partial one behind."""
    with hold(engine.metadata, engine.content, "pull", keep_on_failure=True) as lease:
        store_bytes(engine, lease, b"finished")
        with engine.content.ingest("partial") as ingest:
            ingest.write(b"begun")
            ingest.keep()
        raise Unavailable("connection reset by peer")


def test_abandoned_content_counts_as_freed(engine: Engine, content: FilesystemStore) -> None:
    with pytest.raises(Unavailable):
        break_off_a_pull(engine)
    assert prune_all(engine) == Pruned(None, len(b"finished") + len(b"begun"))
    assert (stored_bytes(content), list(content.partials())) == (0, [])


def test_a_running_transfer_keeps_what_it_has(engine: Engine, content: FilesystemStore) -> None:
    with hold(engine.metadata, engine.content, "pull") as lease:
        store_bytes(engine, lease, b"finished")
        with content.ingest("partial", lease=lease.id) as ingest:
            ingest.write(b"begun")
            assert prune_all(engine) == Pruned(None, 0)
            ingest.commit()


def test_an_image_that_a_transfer_holds_is_untagged_but_not_deleted(engine: Engine, content: FilesystemStore) -> None:
    digest = put_image(engine, "app:1")
    with hold(engine.metadata, engine.content, "save") as lease:
        lease.add([digest])
        assert prune_all(engine) == Pruned([Removal(untagged="app:1")], 0)
    assert stored_bytes(content) == 0


def test_a_second_prune_is_refused_while_one_runs(engine: Engine, shelf: dict[str, Digest], monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    real = collector.sweep

    def sweep_while_another_comes(*arguments: object) -> object:
        with pytest.raises(Conflict) as caught:
            prune_all(engine)
        refused.append(str(caught.value))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(prune, "sweep", sweep_while_another_comes)
    prune_all(engine)
    assert refused == ["a prune operation is already running"]
    monkeypatch.undo()
    assert prune_all(engine) == Pruned(None, 0)

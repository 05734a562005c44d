"""What fills the disk: each byte counted once, and what a deletion frees, compared with what it does free."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound, InvalidParameter
from stowage.services.filters import Filters
from stowage.services.gc.leases import hold
from stowage.services.images.delete import delete_image
from stowage.services.images.files import list_files
from stowage.services.images.prune import prune_images
from stowage.services.images.tag import tag_image
from stowage.services.intake.ingest import store_bytes
from stowage.services.metadata.usage import Amount
from stowage.services.oci.mediatypes import OCI_MANIFEST
from stowage.services.oci.reference import Reference
from stowage.services.system.disk import read_disk, unique_bytes
from stowage.services.system.freed import MOST_IMAGES, count_dangling, count_freed
from tests.services.system.conftest import put


def on_disk(content: FilesystemStore) -> int:
    return sum(size for _, size in content.blobs())


def test_the_parts_add_up_to_what_is_on_disk(filled: Engine, content: FilesystemStore) -> None:
    picture = read_disk(filled, most=10)
    assert picture.stored == on_disk(content)
    assert picture.total == on_disk(content) + picture.partial.bytes + picture.derived["database"]
    assert picture.derived["database"] == filled.metadata.size()
    assert (picture.images, picture.dangling, picture.shared.count) == (4, 0, 2)
    assert [(each.name, each.users) for each in picture.layers] == [("base:1", 3), ("app:1", 2)]
    assert [each.repository.rpartition("/")[2] for each in picture.repositories] == ["app", "alone", "base"]
    assert picture.unique.bytes == sum(each.unique for each in picture.repositories) == sum(map(unique_bytes, picture.largest))
    assert [image.repo_tags for image in picture.largest] == [("app:2",), ("app:1",), ("alone:1",), ("base:1",)]
    assert len(read_disk(filled, most=1).largest) == 1


def test_lists_of_files_are_counted_apart_from_the_rest_of_the_database(filled: Engine) -> None:
    assert read_disk(filled, most=1).derived["lists of files"] == 0
    list_files(filled, "app:1")
    derived = read_disk(filled, most=1).derived
    with filled.metadata.read() as tx:
        assert derived["lists of files"] == tx.layer_files.bytes() > 1000
    assert sum(derived.values()) == filled.metadata.size()
    before = derived["lists of files"]
    delete_image(filled, "app:1")
    assert 0 < read_disk(filled, most=1).derived["lists of files"] < before


def test_an_empty_store_has_a_picture(engine: Engine) -> None:
    picture = read_disk(engine, most=10)
    assert (picture.images, picture.stored, picture.repositories, picture.layers, picture.largest) == (0, 0, (), (), ())


def test_what_no_image_needs_is_told_from_what_an_operation_keeps(filled: Engine) -> None:
    with hold(filled.metadata, filled.content, "test") as lease:
        store_bytes(filled, lease, b"x" * 700)
        kept = read_disk(filled, most=1)
        assert (kept.unneeded, kept.leased) == (Amount(), Amount(1, 700))
        lease.end()  # without a sweep, as if its holder had been killed
        left = read_disk(filled, most=1)
        assert (left.unneeded, left.leased) == (Amount(1, 700), Amount())
        assert prune_images(filled, filters=Filters()).freed == 700
    assert read_disk(filled, most=1).unneeded == Amount()


def test_a_partial_download_is_counted(filled: Engine) -> None:
    before = read_disk(filled, most=1).total
    with filled.content.ingest("abc") as ingest:
        ingest.write(b"y" * 900)
        ingest.keep()
    picture = read_disk(filled, most=1)
    assert picture.partial == Amount(1, 900)
    assert picture.total - picture.derived["database"] == before + 900 - picture.derived["database"]


@pytest.mark.parametrize(
    "names", [names for count in range(1, 5) for names in itertools.combinations(("base:1", "app:1", "app:2", "alone:1"), count)]
)
def test_a_deletion_frees_exactly_what_was_counted(filled: Engine, content: FilesystemStore, names: tuple[str, ...]) -> None:
    freed, before = count_freed(filled, names), on_disk(content)
    for name in names:
        delete_image(filled, name)
    assert before - on_disk(content) == freed.bytes
    assert freed.leased == 0


def test_what_the_selection_shares_counts_if_nobody_else_has_it(filled: Engine) -> None:
    apart = [count_freed(filled, [name]).bytes for name in ("app:1", "app:2")]
    together = count_freed(filled, ["app:1", "app:2"])
    assert together.bytes > sum(apart) + 30_000
    assert together.kept > 50_000
    assert count_freed(filled, ["app:1", "app:1"]) == count_freed(filled, ["app:1"])


def test_an_image_counts_with_all_its_names(filled: Engine) -> None:
    alone = count_freed(filled, ["alone:1"])
    tag_image(filled, "alone:1", Reference.parse("other:1"))
    assert count_freed(filled, ["alone:1"]) == count_freed(filled, ["alone:1", "other:1"]) == alone


def test_what_an_operation_keeps_does_not_come_free(filled: Engine, content: FilesystemStore) -> None:
    with filled.metadata.read() as tx:
        target = tx.images.by_target(count_freed(filled, ["alone:1"]).images[0])[0].target
    assert target.media_type == OCI_MANIFEST
    with hold(filled.metadata, filled.content, "test") as lease:
        lease.add([target.digest])
        freed, before = count_freed(filled, ["alone:1"]), on_disk(content)
        assert (freed.bytes, freed.leased > 5_000) == (0, True)
        delete_image(filled, "alone:1")
        assert on_disk(content) == before


def test_unknown_and_too_many_images_are_refused(filled: Engine) -> None:
    with pytest.raises(ImageNotFound, match="No such image: absent:latest"):
        count_freed(filled, ["app:1", "absent"])
    with pytest.raises(InvalidParameter, match="at most 1000 images"):
        count_freed(filled, ["app:1"] * (MOST_IMAGES + 1))


def test_images_that_are_gone_are_not_counted_where_they_may_be(filled: Engine) -> None:
    found = count_freed(filled, ["app:1", "absent"], present_only=True)
    assert found == replace(count_freed(filled, ["app:1"]), gone=1)


def test_images_without_a_name_are_counted(filled: Engine, content: FilesystemStore) -> None:
    assert count_dangling(filled).images == ()
    put(filled, None, {"base": 50_000, "nameless": 4_000})
    freed, before = count_dangling(filled), on_disk(content)
    prune_images(filled, filters=Filters())
    assert before - on_disk(content) == freed.bytes > 4_000

"""The scrub marks what is damaged, and nothing else; it names the images that are affected."""

from __future__ import annotations

import errno
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.gc.verify import FindingKind, verify_store
from stowage.services.oci.digest import Digest
from tests.builders import Json, Layout, digest_of, make_layer, put_image, simple_layout
from tests.damage import Spoil, blob_file, damages, flip, lose, shorten, verify

LAYER = make_layer("large", 200_000)
DIGEST = Digest.parse(digest_of(LAYER))


@pytest.fixture
def image(engine: Engine) -> Digest:
    layout = Layout()
    layout.tag(layout.image([LAYER], compression="none"))
    return put_image(engine, "team/app:1", layout)


class Opening(FilesystemStore):
    """A store that does something else when a blob is opened."""

    def __init__(self, root: Path, instead: Callable[[FilesystemStore, Digest], BinaryIO]) -> None:
        super().__init__(root)
        self._instead = instead

    def open(self, digest: Digest) -> BinaryIO:
        return self._instead(FilesystemStore(self._layout.root), digest)


def opening(engine: Engine, root: Path, instead: Callable[[FilesystemStore, Digest], BinaryIO]) -> Engine:
    return replace(engine, content=Opening(root, instead))


class Broken(io.RawIOBase):
    """A file on a disk that does not give its bytes."""

    def readinto(self, _buffer: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def readable(self) -> bool:
        return True


def broken(_store: FilesystemStore, _digest: Digest) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(Broken()))


@pytest.mark.parametrize("spoil", [lose, shorten, flip])
@pytest.mark.usefixtures("image")
def test_a_damaged_blob_is_marked_until_it_is_sound_again(engine: Engine, spoil: Spoil) -> None:
    file = blob_file(engine, DIGEST)
    content = file.read_bytes()
    spoil(file)
    damaged, affected = verify(engine)
    assert damages(engine) == {DIGEST: damaged.removeprefix(f"damage: blob {DIGEST} ")}
    assert verify(engine) == [damaged, affected]
    file.write_bytes(content)
    assert verify(engine) == []
    assert damages(engine) == {}


@pytest.mark.usefixtures("image")
def test_what_cannot_be_read_is_damage_and_no_mark(engine: Engine, tmp_path: Path) -> None:
    failing = opening(engine, tmp_path / "root", broken)
    reason = "the content store failed: [Errno 5] Input/output error"
    advice = "if that stays, delete the images that need it before you load or pull them again"
    assert f"damage: blob {DIGEST} cannot be read: {reason}; {advice}" in verify(failing)
    assert damages(engine) == {}
    assert verify(engine) == []


@pytest.mark.usefixtures("image")
def test_a_mark_stays_while_the_file_cannot_be_read(engine: Engine, tmp_path: Path) -> None:
    flip(blob_file(engine, DIGEST))
    verify(engine)
    marked = damages(engine)
    verify(opening(engine, tmp_path / "root", broken))
    assert damages(engine) == marked


@pytest.mark.usefixtures("image")
def test_a_file_that_is_replaced_while_it_is_read_is_looked_at_again(engine: Engine, tmp_path: Path) -> None:
    file = blob_file(engine, DIGEST)
    content = file.read_bytes()
    flip(file)

    def replaced(store: FilesystemStore, digest: Digest) -> BinaryIO:
        opened = store.open(digest)
        if digest == DIGEST and file.read_bytes() != content:
            (tmp_path / "new").write_bytes(content)
            (tmp_path / "new").rename(file)
        return opened

    assert verify(opening(engine, tmp_path / "root", replaced)) == []
    assert damages(engine) == {}


@pytest.mark.usefixtures("image")
def test_a_blob_that_a_writer_replaces_at_the_moment_is_damage_and_no_mark(engine: Engine) -> None:
    flip(blob_file(engine, DIGEST))
    with engine.content.ingest(str(DIGEST)) as ingest, ingest.locking():
        assert len(verify(engine)) == 2
    assert damages(engine) == {}


@pytest.mark.usefixtures("image")
def test_rows_that_are_wrong_are_no_mark_of_a_sound_file(engine: Engine, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "root/stowage.db")) as database, database:
        database.execute("UPDATE layer SET size = size - 1")
    kinds = [finding.kind for finding in verify_store(engine.metadata, engine.content, deep=True)]
    assert kinds == [FindingKind.DAMAGE, FindingKind.AFFECTED]
    assert damages(engine) == {}


@pytest.mark.parametrize("spoil", [shorten, flip])
def test_a_manifest_that_was_found_damaged_is_not_read_again(engine: Engine, image: Digest, tmp_path: Path, spoil: Spoil) -> None:
    spoil(blob_file(engine, image))
    opened: list[Digest] = []

    def counted(store: FilesystemStore, digest: Digest) -> BinaryIO:
        opened.append(digest)
        return store.open(digest)

    assert len(verify(opening(engine, tmp_path / "root", counted))) == 2
    assert opened.count(image) == (1 if spoil is flip else 0)


def test_every_image_that_damage_affects_is_named_once(engine: Engine) -> None:
    layout = Layout()
    images: list[Json] = [layout.image([LAYER, make_layer(label)], compression="none") for label in "abc"]
    index = layout.index([images[2]])
    put_image(engine, "team/app:1", layout, images[0])
    put_image(engine, "team/app:2", layout, images[0])
    put_image(engine, None, layout, images[1])
    put_image(engine, "localhost:5000/index", layout, index)
    put_image(engine, "sound", simple_layout())
    flip(blob_file(engine, DIGEST))
    lose(blob_file(engine, Digest.parse(images[0]["digest"])))
    affected = [line for line in verify(engine) if line.startswith("affected")]
    names = ["team/app:1", "team/app:2", "localhost:5000/index:latest", str(images[1]["digest"])]
    assert sorted(affected) == sorted(f"affected: image {name}: load or pull it again, or delete it" for name in names)

"""Answers that are kept while the image does not change."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound
from stowage.services.images.delete import delete_image
from stowage.services.images.history import read_history
from stowage.services.images.inspect import inspect_image
from stowage.services.images.tag import tag_image
from stowage.services.kept import Kept
from stowage.services.metadata.store import Transaction
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.store import answers
from stowage.services.store.answers import keep_answer
from tests.builders import Layout, put_image, simple_layout
from tests.engines import ON_EVERY_DATABASE, metadata_store


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements that databases get from here on."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(Database, "before_cursor_execute", note)
    yield seen
    event.remove(Database, "before_cursor_execute", note)


@pytest.mark.parametrize("read", [inspect_image, read_history])
def test_an_answer_is_the_same_object_until_the_image_changes(engine: Engine, read: Callable[[Engine, str], object]) -> None:
    digest = put_image(engine, "app:1")
    put_image(engine, "other:1", simple_layout(author="another"))
    answer, by_id = read(engine, "app:1"), read(engine, str(digest))
    tag_image(engine, "other:1", Reference.parse("other:2"))
    assert read(engine, "app:1") is answer
    assert read(engine, str(digest)) is by_id
    tag_image(engine, "app:1", Reference.parse("app:2"))
    assert read(engine, "app:1") is not answer
    assert read(engine, str(digest)) is not by_id


def test_names_and_repositories_are_those_of_now(engine: Engine) -> None:
    digest = put_image(engine, "app:1")

    def shown() -> list[tuple[str, ...]]:
        image = inspect_image(engine, "app:1")
        return [image.repo_tags, image.repositories]

    assert shown() == [("app:1",), ()]
    tag_image(engine, "app:1", Reference.parse("app:2"))
    assert shown() == [("app:1", "app:2"), ()]
    delete_image(engine, "app:2")
    with engine.metadata.write() as tx:
        tx.sources.add([digest], registry="r.io", repository="app")
    assert shown() == [("app:1",), ("r.io/app",)]
    put_image(engine, "app:1", simple_layout(author="another"))
    assert inspect_image(engine, "app:1").config.author == "another"
    delete_image(engine, "app:1")
    with pytest.raises(ImageNotFound):
        shown()


def test_sizes_are_those_of_what_is_present_now(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "multi", layout, layout.multi_platform())
    whole = inspect_image(engine, "multi", platform=Platform("linux", "amd64"))
    with engine.metadata.write() as tx:
        tx.graph.remove([whole.descriptor.digest])
    assert inspect_image(engine, "multi", platform=Platform("linux", "amd64")).size == 0 < whole.size


def test_every_question_has_its_own_answer(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "multi", layout, layout.multi_platform())
    seen = {
        platform: inspect_image(engine, "multi", platform=platform)
        for platform in (None, *map(Platform.parse, ("linux/amd64", "linux/arm64")))
    }
    assert len({image.descriptor.digest for image in seen.values()}) == 3
    assert inspect_image(engine, "multi").manifests == ()
    assert len(inspect_image(engine, "multi", manifests=True).manifests) > 1
    assert inspect_image(engine, "multi").manifests == ()


def test_names_of_one_image_do_not_share_an_answer(engine: Engine) -> None:
    put_image(engine, "app:1")
    put_image(engine, "app:2")
    assert keep_answer(engine, "app:1", "question", lambda _: ["one"]) == ["one"]
    assert keep_answer(engine, "app:2", "question", lambda _: ["two"]) == ["two"]


def test_an_answer_to_the_beginning_of_an_id_is_not_kept(engine: Engine) -> None:
    """A name that looks the same may come, and counts more."""
    digest = put_image(engine, "app:1")
    short = digest.hex[:12]

    assert inspect_image(engine, short).descriptor.digest == digest
    other = put_image(engine, short, simple_layout(author="another"))
    assert inspect_image(engine, short).descriptor.digest == other


def test_nothing_is_read_until_something_is_committed(engine: Engine, statements: list[str]) -> None:
    put_image(engine, "app:1")
    put_image(engine, "other:1", simple_layout(author="another"))
    answer = inspect_image(engine, "app:1")
    del statements[:]
    assert inspect_image(engine, "app:1") is answer
    assert statements == []
    tag_image(engine, "other:1", Reference.parse("other:2"))
    del statements[:]
    assert [inspect_image(engine, "app:1") is answer for _ in range(3)] == [True] * 3
    assert len(statements) == 1


@ON_EVERY_DATABASE
def test_what_another_process_commits_is_seen_at_once(engine: Engine, database_url: str) -> None:
    put_image(engine, "app:1")
    with closing(metadata_store(database_url)) as other, other.read() as tx:
        target = tx.images.by_id_prefix("")[0].target
    with closing(metadata_store(database_url)) as other:
        for number in range(2, 9):
            with other.write() as tx:
                tx.images.put(f"docker.io/library/app:{number}", target, number)
            assert len(inspect_image(engine, "app:1").repo_tags) == number
            assert inspect_image(engine, f"app:{number}").repo_tags == inspect_image(engine, "app:1").repo_tags


def test_what_is_committed_while_an_answer_is_made_is_in_the_next(engine: Engine) -> None:
    put_image(engine, "app:1")

    def read(tx: Transaction) -> tuple[str, ...]:
        names = tuple(record.name for record in tx.images.in_repository("docker.io/library/app"))
        if len(names) == 1:
            tag_image(engine, "app:1", Reference.parse("app:2"))
        return names

    assert len(keep_answer(engine, "app:1", "names", read)) == 1
    assert len(keep_answer(engine, "app:1", "names", read)) == 2


@pytest.mark.parametrize("repository", ["app", "registry.example.com/team/of/some/application"])
def test_an_answer_weighs_at_least_the_memory_that_it_takes(engine: Engine, monkeypatch: pytest.MonkeyPatch, repository: str) -> None:
    digest = put_image(engine, "app:1")
    with engine.metadata.write() as tx:
        target = tx.images.by_target(digest)[0].target
        for number in range(1000):
            tx.images.put(str(Reference.parse(f"{repository}:v{number}")), target, number)
    read_history(engine, "app:1")  # what is compiled and read first stays
    for read in (inspect_image, read_history):
        kept: Kept[object, object] = Kept(1 << 30)
        monkeypatch.setattr(answers, "_kept", kept)
        tracemalloc.start()
        read(engine, "app:1")
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken < kept.weight < 4 * taken

"""What a client calls an image, and which record that is."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound, InvalidReference, NotFound
from stowage.services.metadata.records import ImageRecord
from stowage.services.store.resolve import familiar_name, resolve_all, resolve_image
from tests.builders import Layout, make_layer, put_image


def resolve(engine: Engine, text: str) -> ImageRecord:
    with engine.metadata.read() as tx:
        return resolve_image(tx, text)


def names_of(engine: Engine, text: str) -> tuple[str | None, list[str]]:
    with engine.metadata.read() as tx:
        record, sharing = resolve_all(tx, text)
    return record.name if record else None, [each.name for each in sharing]


@pytest.fixture(scope="module")
def twins() -> tuple[str, Layout, Layout]:
    """Two images whose IDs begin with the same four digits, and these digits."""
    seen: dict[str, Layout] = {}
    for number in range(10_000):
        layout = Layout()
        layout.tag(layout.image([make_layer("same")], author=str(number)))
        prefix = layout.manifests[0]["digest"][7:11]
        if prefix in seen:
            return prefix, seen[prefix], layout
        seen[prefix] = layout
    raise AssertionError("no two IDs begin alike")


@pytest.mark.parametrize(
    "text",
    [
        "team/app:1",
        "docker.io/team/app:1",
        "index.docker.io/team/app:1",
        "team/app@{id}",
        "team/app:1@{id}",
        "team/app:nope@{id}",
        "{id}",
        "{hex}",
        "{short}",
        "sha256:{short}",
        "{four}",
    ],
)
def test_an_image_is_found_by_every_form_of_its_name_and_id(engine: Engine, text: str) -> None:
    digest = put_image(engine, "team/app:1")
    spelled = text.format(id=digest, hex=digest.hex, short=digest.short, four=digest.hex[:4])
    assert resolve(engine, spelled).name == "docker.io/team/app:1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("nope", "nope:latest", id="tag is latest"),
        pytest.param("docker.io/library/nope:1", "nope:1", id="familiar"),
        pytest.param("app", "app:latest", id="other tag"),
        pytest.param("abc", "abc:latest", id="three digits are no ID"),
        pytest.param("f" * 64, "sha256:" + "f" * 64, id="ID"),
        pytest.param("sha256:" + "f" * 64, "sha256:" + "f" * 64, id="sha256: ID"),
        pytest.param("nope:1@sha256:" + "f" * 64, "nope:1@sha256:" + "f" * 64, id="digest"),
        pytest.param("sha256:zz", "sha256:zz", id="a name that looks like an ID"),
    ],
)
def test_a_missing_image_is_named_as_docker_shows_it(engine: Engine, text: str, shown: str) -> None:
    put_image(engine, "app:1")
    for find in (resolve, names_of):
        with pytest.raises(ImageNotFound, match=f"^No such image: {shown}$"):
            find(engine, text)


def test_a_digest_does_not_cross_repositories(engine: Engine) -> None:
    digest = put_image(engine, "app:1")
    with pytest.raises(ImageNotFound):
        resolve(engine, f"other@{digest}")


def test_a_name_with_a_digest_is_not_a_registry_with_a_port(engine: Engine) -> None:
    digest = put_image(engine, "localhost:5000/app:1")
    with pytest.raises(ImageNotFound):
        resolve(engine, f"localhost@{digest}")


def test_an_upper_case_name_is_malformed(engine: Engine) -> None:
    with pytest.raises(InvalidReference, match="must be lowercase"):
        resolve(engine, "UPPER")


def test_a_beginning_of_two_ids_is_ambiguous(engine: Engine, twins: tuple[str, Layout, Layout]) -> None:
    prefix, left, right = twins
    first, second = put_image(engine, "app:1", left), put_image(engine, "app:2", right)
    for find in (resolve, names_of):
        with pytest.raises(NotFound, match="^ambiguous reference$"):
            find(engine, prefix)
    assert [resolve(engine, digest.short).target.digest for digest in (first, second)] == [first, second]


def test_a_name_comes_before_an_id_that_begins_alike(engine: Engine, twins: tuple[str, Layout, Layout]) -> None:
    prefix, layout, _ = twins
    put_image(engine, "other", layout)
    put_image(engine, prefix)
    assert resolve(engine, prefix).name == f"docker.io/library/{prefix}:latest"
    with pytest.raises(NotFound, match="^ambiguous reference$"):
        names_of(engine, prefix)


def test_a_name_that_is_the_beginning_of_its_own_id_is_not_ambiguous(engine: Engine, twins: tuple[str, Layout, Layout]) -> None:
    prefix, layout, _ = twins
    put_image(engine, prefix, layout)
    name = f"docker.io/library/{prefix}:latest"
    assert names_of(engine, prefix) == (name, [name])


def test_all_names_of_a_target_are_told_with_the_one_that_was_meant(engine: Engine) -> None:
    digest = put_image(engine, "app:1")
    put_image(engine, "app:2")
    names = ["docker.io/library/app:1", "docker.io/library/app:2"]
    assert names_of(engine, "app:2") == (names[1], names)
    assert names_of(engine, digest.short) == (None, names)
    assert names_of(engine, str(digest)) == (None, names)
    assert names_of(engine, f"other@{digest}") == (None, names)


def test_a_digest_of_another_algorithm_is_no_name_to_delete(engine: Engine) -> None:
    with engine.metadata.read() as tx, pytest.raises(InvalidReference, match="^invalid name reference$"):
        resolve_all(tx, "sha512:" + "a" * 128)


def test_a_dangling_image_is_shown_by_its_id(engine: Engine) -> None:
    digest = put_image(engine, None)
    assert familiar_name(resolve(engine, digest.short)) == str(digest)

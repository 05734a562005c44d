"""What is pushed where when many images go to another registry."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Conflict, InvalidReference, NotFound
from stowage.services.images.push_all import PushDestination, plan_pushes
from stowage.services.oci.reference import Reference
from tests.builders import put_image, simple_layout
from tests.fake_registry import FakeRegistry
from tests.services.images.archives import names
from tests.services.images.pushes import push, served


def plan(engine: Engine, to: str, *patterns: str) -> dict[str, str]:
    return {each.name.familiar: each.to.familiar for each in plan_pushes(engine, PushDestination.parse(to), patterns)}


@pytest.mark.parametrize(
    ("to", "name", "there"),
    [
        pytest.param("localhost:5000", "debian:trixie", "localhost:5000/library/debian:trixie", id="an official image"),
        pytest.param("localhost:5000/a/b/", "team/app", "localhost:5000/a/b/team/app:latest", id="a prefix and no tag"),
        pytest.param("localhost:5000/a", "localhost:5001/team/app:1", "localhost:5000/a/team/app:1", id="another registry"),
        pytest.param("localhost:5000/a", "localhost:5000/a/app:1", "localhost:5000/a/app:1", id="already below it"),
        pytest.param("localhost:5000/a", "localhost:5000/ab/app:1", "localhost:5000/a/ab/app:1", id="beside it"),
        pytest.param("docker.io/team", "localhost:5000/app:1", "team/app:1", id="Docker Hub"),
        pytest.param("[::1]:5000", "app:1", "[::1]:5000/library/app:1", id="an IPv6 address"),
    ],
)
def test_the_registry_is_replaced_and_the_path_stays(engine: Engine, to: str, name: str, there: str) -> None:
    put_image(engine, name)
    assert list(plan(engine, to).values()) == [there]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        pytest.param("team", "does not begin with a registry's address", id="a user of Docker Hub"),
        pytest.param("", "does not begin with a registry's address|not REGISTRY", id="nothing"),
        pytest.param("https://localhost:5000", r"not REGISTRY\[/PREFIX\]", id="a URL"),
        pytest.param("localhost:5000/Team", "must be lowercase", id="upper case"),
        pytest.param("localhost:5000/team:1", r"not REGISTRY\[/PREFIX\]", id="a tag"),
    ],
)
def test_what_is_no_destination_is_refused(to: str, words: str) -> None:
    with pytest.raises(InvalidReference, match=words):
        PushDestination.parse(to)


def test_a_name_that_becomes_too_long_is_refused() -> None:
    with pytest.raises(InvalidReference, match="255"):
        PushDestination.parse("localhost:5000/" + "a" * 200).rename(Reference.parse("b" * 100))


def test_patterns_choose_as_docker_images_does(engine: Engine) -> None:
    for name in ("debian:trixie", "debian:bookworm", "team/app:1", "localhost:5001/team/app:1"):
        put_image(engine, name, simple_layout(label=name))
    put_image(engine, None, simple_layout(label="dangling"))
    assert list(plan(engine, "localhost:5000", "team/*")) == ["team/app:1"]
    assert list(plan(engine, "localhost:5000", "*:trixie", "debian:b*")) == ["debian:bookworm", "debian:trixie"]
    assert list(plan(engine, "localhost:5000", "localhost:5001/*/*")) == ["localhost:5001/team/app:1"]
    for nothing in ("debain", "[", "team"):
        with pytest.raises(NotFound, match="no image matches"):
            plan(engine, "localhost:5000", "debian", nothing)


def test_all_named_images_are_pushed_without_a_pattern(engine: Engine) -> None:
    assert plan(engine, "localhost:5000") == {}
    put_image(engine, "debian:trixie")
    put_image(engine, None, simple_layout(label="dangling"))
    assert list(plan(engine, "localhost:5000")) == ["debian:trixie"]


def test_two_images_do_not_get_one_name(engine: Engine) -> None:
    put_image(engine, "team/app:1", simple_layout(label="one"))
    put_image(engine, "localhost:5001/team/app:1", simple_layout(label="two"))
    words = "team/app:1 and localhost:5001/team/app:1 would both become localhost:5000/team/app:1. Push them one after the other"
    with pytest.raises(Conflict, match=words):
        plan(engine, "localhost:5000")
    assert list(plan(engine, "localhost:5000", "team/*")) == ["team/app:1"]


def test_two_names_of_one_image_are_pushed_once(engine: Engine) -> None:
    put_image(engine, "team/app:1")
    put_image(engine, "localhost:5001/team/app:1")
    assert plan(engine, "localhost:5000") == {"team/app:1": "localhost:5000/team/app:1"}


def test_a_push_to_another_name_leaves_no_tag(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    put_image(engine, "team/app:1", layout)
    before = names(engine)
    lines = push(engine, "team/app:1", to=Reference.parse(f"{registry.host}/prefix/team/app:1"))
    assert lines[0].status == f"The push refers to repository [{registry.host}/prefix/team/app]"
    assert served(registry) == layout.blobs
    assert ("prefix/team/app", "1") in registry.manifests
    assert names(engine) == before

"""Another name for an image."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidParameter, NotFound
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference, dangling_name
from tests.builders import Layout, put_image, simple_layout
from tests.listings import all_records
from tests.services.images.archives import names


def test_an_image_gets_another_name(engine: Engine) -> None:
    digest = put_image(engine, "app:1")
    assert tag_image(engine, digest.short, Reference.parse("host:5000/team/app:2"))
    assert names(engine) == {"docker.io/library/app:1": str(digest), "host:5000/team/app:2": str(digest)}


def test_a_dangling_image_that_gets_a_name_dangles_no_more(engine: Engine) -> None:
    digest = put_image(engine, None)
    tag_image(engine, str(digest), Reference.parse("app:1"))
    assert names(engine) == {"docker.io/library/app:1": str(digest)}


def test_an_image_that_loses_its_only_name_dangles(engine: Engine) -> None:
    old, new = put_image(engine, "app:1"), put_image(engine, "other:1", simple_layout(label="other"))
    tag_image(engine, "other:1", Reference.parse("app:1"))
    assert names(engine) == {"docker.io/library/app:1": str(new), "docker.io/library/other:1": str(new), dangling_name(old): str(old)}


def test_a_name_that_an_image_has_already_changes_nothing(engine: Engine) -> None:
    put_image(engine, "app:1")
    before = all_records(engine.metadata)
    tag_image(engine, "app:1", Reference.parse("app:1"))
    assert all_records(engine.metadata) == before


def test_without_a_reference_nothing_is_looked_up(engine: Engine) -> None:
    assert not tag_image(engine, "nope", None)


def test_a_chart_can_be_tagged(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "chart:1", layout, layout.chart())
    tag_image(engine, "chart:1", Reference.parse("chart:2"))
    assert len(names(engine)) == 2


def test_the_name_of_a_digest_algorithm_is_refused(engine: Engine) -> None:
    put_image(engine, "app:1")
    with pytest.raises(InvalidParameter, match="^refusing to create an ambiguous tag using digest algorithm as name$"):
        tag_image(engine, "app:1", Reference.parse("sha256:abc"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("nope", "No such image: nope:latest", id="missing"),
        pytest.param("UPPER", r"invalid reference format: repository name \(library/UPPER\) must be lowercase", id="malformed"),
    ],
)
def test_whatever_is_wrong_with_the_image_is_not_found(engine: Engine, name: str, words: str) -> None:
    with pytest.raises(NotFound, match=f"^{words}$"):
        tag_image(engine, name, Reference.parse("app:1"))

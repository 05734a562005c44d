"""GET /ui/images, GET /ui/images/{name} and GET /ui/find; and the forms of pages with a mistake."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.images.layers import read_layers
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from tests.blueprints.page.pages import Ids, names, show
from tests.builders import Layout, make_layer, partial_layout, put_image


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [None, "team/app:2", "team/app:1", "base:1"]),
        ("?sort=created", ["base:1", "team/app:1", "team/app:2", None]),
        ("?sort=-size", [None, "team/app:2", "team/app:1", "base:1"]),
        ("?sort=unique", ["base:1", "team/app:1", "team/app:2", None]),
        ("?sort=name", ["base:1", "team/app:1", "team/app:2", None]),
        ("?sort=-name", [None, "team/app:2", "team/app:1", "base:1"]),
        ("?sort=nonsense", [None, "team/app:2", "team/app:1", "base:1"]),
        ("?reference=team/*", ["team/app:2", "team/app:1"]),
        ("?reference=team/*&sort=name", ["team/app:1", "team/app:2"]),
        ("?label=number=0", ["base:1"]),
        ("?dangling=true", [None]),
        ("?before=team/app:2", ["team/app:1", "base:1"]),
        ("?since=team/app:1&reference=team/app", ["team/app:2"]),
        ("?reference=absent", []),
        ("?page=7", [None, "team/app:2", "team/app:1", "base:1"]),
    ],
)
def test_the_list_is_sorted_and_filtered(client: FlaskClient, ids: Ids, query: str, found: list[str | None]) -> None:
    assert names(show(client, f"/ui/images{query}")) == [name or ids[None] for name in found]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?part=app", ["team/app:2", "team/app:1"]),
        ("?part=m/app:2", ["team/app:2"]),
        ("?part=docker.io/team", ["team/app:2", "team/app:1"]),
        ("?part=docker", []),
        ("?part=*", []),
        ("?part=_", []),
        ("?part=app&reference=team/*:1", ["team/app:1"]),
        ("?label!=number=0&sort=name", ["team/app:1", "team/app:2", None]),
        ("?until=2000-01-01", []),
        ("?until=0s&part=base", ["base:1"]),
    ],
)
def test_more_filters(client: FlaskClient, ids: Ids, query: str, found: list[str | None]) -> None:
    page = show(client, f"/ui/images{query}")
    assert names(page) == [name or ids[None] for name in found]
    assert 'name="q" value="app"' in page or not query.startswith("?part=app")
    assert "<details open>" in page and "<details>" in show(client, "/ui/images?reference=base")


def test_a_name_that_is_not_whole_can_be_looked_for_in_all_names(client: FlaskClient, ids: Ids) -> None:
    assert 'Docker compares whole names. <a href="?part=app">' in show(client, "/ui/images?reference=app")
    assert "whole names" not in show(client, "/ui/images?reference=*pp") + show(client, "/ui/images?label=app")
    assert "first digits, 8 or more" in show(client, "/ui/images?part=absent")


def test_a_long_list_comes_in_pages(client: FlaskClient, engine: Engine) -> None:
    for number in range(53):
        layout = Layout()
        put_image(engine, f"many:{number:02}", layout, layout.image([make_layer(str(number))]))
    first, second = show(client, "/ui/images?sort=name&reference=many"), show(client, "/ui/images?sort=name&reference=many&page=2")
    assert (len(names(first)), names(second)) == (50, ["many:50", "many:51", "many:52"])
    assert 'rel="next" href="?reference=many&amp;sort=name&amp;page=2"' in first and 'rel="prev"' in second


@pytest.mark.parametrize("query", ["?before=absent", "?reference=" + "*" * 2000, "?page=0", "?label=" + "x" * 5000])
def test_what_makes_no_sense_is_a_page_that_says_so(client: FlaskClient, ids: Ids, query: str) -> None:
    answer = client.get(f"/ui/images{query}")
    assert answer.status_code in (400, 404) and "<h1>" in answer.text


@pytest.mark.parametrize(
    ("path", "message", "kept"),
    [
        ("/ui/free?want=much%22&by=oldest", "To free must be a size such as 500MB or 1.5GB", 'name="want" value="much&#34;"'),
        ("/ui/free?want=much&by=oldest", "To free must be", '<option value="oldest" selected>'),
        ("/ui/images?before=absent&label=a&sort=-size", "No such image: absent:latest", 'name="before" value="absent"'),
        ("/ui/images?before=absent&label=a&sort=-size", "No such image", 'name="sort" value="-size"'),
        ("/ui/difference?left=base:1&right=absent&left-platform=linux/amd64", "No such image", 'name="left-platform" value="linux/amd64"'),
        ("/ui/difference?left=base:1&right=team/app:1&right-platform=%3Cb%3E", "&lt;b&gt;", 'name="right-platform" value="&lt;b&gt;"'),
        ("/ui/family?reference=team/*&of=absent", "No such image", 'name="reference" value="team/*"'),
    ],
)
def test_a_form_with_a_mistake_is_shown_again(client: FlaskClient, ids: Ids, path: str, message: str, kept: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404) and 'role="alert"' in answer.text
    assert message in answer.text and kept in answer.text


def test_an_error_of_another_page_has_no_form(client: FlaskClient) -> None:
    for path in ("/ui/absent", "/ui/images/absent"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.text.count("<form") == 1, "the one that finds"


def test_one_image_has_its_layers_its_config_and_its_digests(client: FlaskClient, ids: Ids) -> None:
    page = show(client, "/ui/images/team/app:1")
    assert "COPY layer0 /" in page and "COPY layer1 /" in page
    assert "also in" in page and "all 4 images" not in page
    assert ids["team/app:1"] in page and "nobody" in page and "number" in page
    assert f'data-copy="{ids["team/app:1"]}"' in page
    assert "/ui/delete" not in page and "/ui/tag" not in page
    for name in (ids["team/app:1"], ids["team/app:1"][7:19]):
        assert "COPY layer1 /" in show(client, f"/ui/images/{name}")


def test_an_image_has_the_name_that_was_asked_for(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    for number in range(6):
        tag_image(engine, "team/app:2", Reference.parse(f"aaa:{number}"))
    page = show(client, "/ui/images/team/app:2")
    assert '<h1><bdi class="name">team/<wbr>app<wbr>:2</bdi></h1>' in page and "<title>team/app:2 " in page
    assert 'also <a href="/ui/images/aaa:0">' in page and "2 more</a>" in page
    for link in ("/ui/files/team/app:2", "/ui/difference?right=team%2Fapp%3A2", "/ui/family?of=team%2Fapp%3A2"):
        assert f'href="{link}' in page
    assert '<h1><bdi class="name">team/<wbr>app<wbr>:2</bdi></h1>' in show(client, "/ui/files/team/app:2")
    assert '<h1><bdi class="name">aaa<wbr>:0</bdi></h1>' in show(client, f"/ui/images/{ids['team/app:2'][7:19]}")
    assert client.get("/ui/difference?right=team/app:2&previous=1").location == "/ui/difference?left=team%2Fapp%3A1&right=team%2Fapp%3A2"
    assert ">team/<wbr>app<wbr>:2</bdi>" in show(client, "/ui/family?of=team/app:2")
    assert ">team/<wbr>app<wbr>:2</bdi>" in show(client, "/ui/family?reference=team/*")
    assert ">aaa<wbr>:3</bdi>" in show(client, "/ui/family?reference=aaa:[345]")


def test_each_platform_can_be_shown(client: FlaskClient, engine: Engine) -> None:
    put_image(engine, "multi:1", partial_layout())
    page = show(client, "/ui/images/multi:1")
    assert 'href="?platform=linux%2Famd64"' in page and "not stored" in page and "https://spdx.dev/Document" in page
    assert "COPY layer0 /" in show(client, "/ui/images/multi:1?platform=linux/amd64")
    assert client.get("/ui/images/multi:1?platform=linux/s390x").status_code == 404


def test_what_docker_prints_is_found(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    image = ids["team/app:1"]
    layer = read_layers(engine, "team/app:1")[1]
    put_image(engine, "zipped:1", zipped := Layout(), zipped.image([make_layer("zipped")]))
    (compressed,) = read_layers(engine, "zipped:1")
    found = {
        "team/app:1": "/ui/images/team/app:1",
        f" {image[7:19]}\n": f"/ui/images/{image[7:19]}",
        image: f"/ui/images/{image}",
        f"team/app@{image}": f"/ui/images/team/app@{image}",
        layer.digest.hex[:12]: f"/ui/layers/{layer.digest}",
        f"sha256:{layer.digest.hex[:8]}": f"/ui/layers/{layer.digest}",
        str(layer.digest): f"/ui/layers/{layer.digest}",
        str(layer.digest).upper(): f"/ui/layers/{layer.digest}",
        str(compressed.diff_id): f"/ui/layers/{compressed.digest}",
        layer.digest.hex[:7]: f"/ui/images?part={layer.digest.hex[:7]}",
        "app": "/ui/images?part=app",
        "": "/ui/images?part=",
        "a*[&#<b>": "/ui/images?part=a%2A%5B%26%23%3Cb%3E",
    }
    for text, place in found.items():
        answer = client.get("/ui/find", query_string={"q": text})
        assert (answer.status_code, answer.location) == (302, place), text
        assert client.get(place).status_code == 200
    for page in ("/ui/", "/ui/images", "/ui/absent"):
        assert 'action="/ui/find" method="get" role="search"' in client.get(page).text

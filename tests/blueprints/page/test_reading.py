"""What the pages show of a store."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.images.layers import read_layers
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from tests.builders import Layout, make_layer, partial_layout, put_image

Ids = dict[str | None, str]


def show(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8"), answer.text
    return answer.text


def names(page: str) -> list[str]:
    """The images that the rows of a page lead to, in their order."""
    return re.findall(r'<th scope="row">\s*<a href="/ui/images/([^"]+)"', page)


def test_an_empty_store_has_pages(client: FlaskClient) -> None:
    assert "There are no images yet" in show(client, "/ui/")
    assert "No image matches." in show(client, "/ui/images")
    assert "There are no images with layers." in show(client, "/ui/family")
    assert "There is no such image." in show(client, "/ui/free")


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        pytest.param("http://127.0.0.1:2375", True, id="a loopback address"),
        pytest.param("http://localhost:2375", True, id="its name"),
        pytest.param("http://[::1]:2375", True, id="of IPv6"),
        pytest.param("http://localhost", False, id="a proxy"),
        pytest.param("https://localhost:2376", False, id="a proxy with TLS"),
    ],
)
def test_an_empty_store_says_how_to_begin(client: FlaskClient, base_url: str, shown: bool) -> None:
    page = client.get("/ui/", base_url=base_url).text
    assert "docker pull" in page and "docker load" in page
    assert "<svg" not in page.partition("<main")[2].replace('<svg class="swatch"', "") and "What can I delete?" not in page
    assert (f"export DOCKER_HOST=tcp://{base_url.partition('//')[2]}" in page) == shown
    assert "tcp://" not in client.get("/ui/", base_url=base_url, environ_overrides={"REMOTE_ADDR": ""}).text, "of a proxy at the socket"


def test_a_store_with_images_does_not_say_how_to_begin(client: FlaskClient, ids: Ids) -> None:
    page = show(client, "/ui/")
    assert "no images yet" not in page and "STOWAGE_LISTING_BYTES" in page


def test_the_overview_names_what_is_large_and_what_is_shared(client: FlaskClient, ids: Ids) -> None:
    page = show(client, "/ui/")
    assert "4 images" in page and "1 image has no name" in page
    assert 'href="/ui/images?reference=team/app&amp;sort=-unique"' in page.replace("%2F", "/")
    assert "base:1 +3" in page and "<title>base:1" in page
    assert "as in" in page and page.count('class="picture treemap') == 2


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


def test_the_beginning_of_a_digest_leads_to_its_layer(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    digest = read_layers(engine, "base:1")[0].digest
    assert client.get(f"/ui/layers/{digest.hex[:12]}").location == f"/ui/layers/{digest}"
    for text in (digest.hex[:7], "0123456789ab", "sha256:" + 64 * "0", "nonsense"):
        answer = client.get(f"/ui/layers/{text}")
        assert answer.status_code == 404 and f"there is no layer with the digest {text}" in answer.text


def test_what_is_no_layer_is_called_a_blob(client: FlaskClient, ids: Ids) -> None:
    page = show(client, f"/ui/layers/{ids['base:1']}")
    assert client.get(f"/ui/layers/{ids['base:1']}?page=9").location == f"/ui/layers/{ids['base:1']}?page=1"
    assert "<h1>Blob <code>" in page and "Images with this blob" in page


def test_a_layer_leads_to_its_images(client: FlaskClient, ids: Ids) -> None:
    page = show(client, "/ui/images/team/app:1")
    layer = re.findall(r'aria-label="Layer ([0-9a-f]+)"', page)[1]
    (layer,) = re.findall(rf'href="/ui/layers/(sha256:{layer}[0-9a-f]+)"', page)
    assert names(show(client, f"/ui/layers/{layer}")) == [ids["team/app:1"]]
    assert "more name" not in show(client, f"/ui/layers/{layer}")
    for tag in ("one", "two"):
        assert client.post(f"/images/team/app:1/tag?repo=team/app&tag={tag}").status_code == 201
    assert "and 2 more names" in show(client, f"/ui/layers/{layer}")


def test_the_family_is_a_tree(client: FlaskClient, engine: Engine) -> None:
    for name, layers in {"base:1": "a", "tools:1": "ab", "app:1": "abc", "other:1": "d"}.items():
        layout = Layout()
        put_image(engine, name, layout, layout.image(map(make_layer, layers)))
    page = show(client, "/ui/family")
    depths = [page[: page.index(f">{name}<wbr>:1</bdi>")].count("<ul>") for name in ("base", "tools", "app")]
    assert depths == [1, 2, 3]
    assert "other:1" not in show(client, "/ui/family?reference=tools")
    of = show(client, "/ui/family?of=tools:1")
    assert of.index("Built on") < of.index("base<wbr>:1") < of.index("tools<wbr>:1") < of.index("app<wbr>:1")


def test_more_children_than_fit_are_a_link_away(client: FlaskClient, engine: Engine) -> None:
    for number in range(15):
        layout = Layout()
        put_image(engine, f"app:{number:02}", layout, layout.image([make_layer("base"), make_layer(str(number))]))
    layout = Layout()
    put_image(engine, "base:1", layout, layout.image([make_layer("base")]))
    assert "and 3 more" in show(client, "/ui/family")
    assert "app:14" in show(client, "/ui/family?of=base:1")

"""GET /ui/difference and /stowage/difference: two images side by side."""

from __future__ import annotations

import html
import re

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.blueprints.page.test_files import text_of
from tests.builders import Layout, make_tar, on_platform, put_image

BASE = make_tar({"etc/conf": b"1"})
BOTH = "left=app:1&right=app:2"


@pytest.fixture(autouse=True)
def images(engine: Engine) -> None:
    for name, layer, label in (("app:1", {"a": b"1" * 10}, "<b>one"), ("app:2", {"a": b"2" * 10, "jvm/java": b"j" * 5000}, "\u202etwo")):
        layout, created = Layout(), f"202{name[-1]}-01-01T00:00:00Z"
        put_image(engine, name, layout, layout.image([BASE, make_tar(layer)], config={"Labels": {"v": label}}, created=created))


def test_both_sides(client: FlaskClient) -> None:
    found = client.get(f"/stowage/difference?{BOTH}").get_json()
    assert (found["Left"]["Name"], found["Right"]["Name"], found["Left"]["Platform"]) == ("app:1", "app:2", "linux/amd64")
    assert [len(found["Layers"][side]) for side in ("Same", "Left", "Right")] == [1, 1, 1]
    assert found["Settings"] == [{"Field": "Labels", "Key": "v", "Left": "<b>one", "Right": "\u202etwo"}]
    assert found["History"] == {"Same": 2, "Left": [], "Right": []}
    assert [(item["Path"], item["Change"], item["Size"]) for item in found["Files"]["Largest"]] == [("/jvm", "added", 5000)]
    assert [(item["Path"], item["SizeBefore"], item["Size"]) for item in found["Files"]["Items"]] == [("/jvm", 0, 5000), ("/a", 10, 10)]
    assert found["Files"]["Changes"]["Added"] == {"Files": 1, "SizeBefore": 0, "Size": 5000}
    assert found["Problem"] == ""
    shown = text_of(client, f"/ui/difference?{BOTH}")
    for part in ("app:1 → app:2", "+5kB", "/jvm/", "1 layer is the same", "<b>one", "\\u202etwo", "The first 2 steps are the same."):
        assert part in shown, part
    assert "<b>one" not in client.get(f"/ui/difference?{BOTH}").text


@pytest.mark.parametrize(
    ("query", "paths", "shown"),
    [
        ("view=flat", ["/jvm/java", "/a"], "/jvm/java"),
        ("path=jvm", ["/jvm/java"], "java"),
        ("search=java", ["/jvm/java"], "/jvm/java"),
        ("search=none", [], "No path contains it."),
        ("sort=name", ["/a", "/jvm"], "jvm/"),
    ],
)
def test_which_files(client: FlaskClient, query: str, paths: list[str], shown: str) -> None:
    found = client.get(f"/stowage/difference?{BOTH}&{query}").get_json()
    assert [item["Path"] for item in found["Files"]["Items"]] == paths
    assert shown in text_of(client, f"/ui/difference?{BOTH}&{query}").partition("Files that differ")[2]


@pytest.mark.parametrize(
    ("query", "status", "message", "shown"),
    [
        ("", 400, "left and right must name the images to compare", "Write the names of two images"),
        ("left=app:1", 400, "left and right must name the images to compare", "Compare app:1 with"),
        ("left=app:1&right=absent", 404, "No such image: absent:latest", None),
        (f"{BOTH}&right-platform=linux/arm", 404, None, None),
        (f"{BOTH}&view=every", 400, "view must be one of tree, flat, wasted", None),
        (f"{BOTH}&view=wasted", 400, "bytes are wasted in one image: view must be tree or flat", "Files that differ"),
    ],
)
def test_what_is_refused_for_scripts_may_be_asked_on_the_page(
    client: FlaskClient, query: str, status: int, message: str | None, shown: str | None
) -> None:
    answer, page = client.get(f"/stowage/difference?{query}"), client.get(f"/ui/difference?{query}")
    assert answer.status_code == status and (message is None or answer.get_json() == {"message": message})
    assert page.status_code == (200 if shown else status)
    assert (shown or message or "") in html.unescape(re.sub(r"<[^>]*>", "", page.text))


def test_an_image_and_itself_differ_in_nothing(client: FlaskClient) -> None:
    assert "No file has another size." in text_of(client, "/ui/difference?left=app:1&right=app:1")


def test_a_file_that_is_replaced_at_the_same_size_counts_in_the_layers(client: FlaskClient, engine: Engine) -> None:
    layers = [make_tar({"library": fill * 40_000}) for fill in (b"1", b"2")]
    for name, number in (("lib:1", 1), ("lib:2", 2)):
        layout = Layout()
        put_image(engine, name, layout, layout.image(layers[:number], compression="none"))
    shown = text_of(client, "/ui/difference?left=lib:1&right=lib:2")
    assert "±0 40kB → 40kB" in shown
    assert "+51.2kB 51.2kB → 102kB" in shown


def test_other_tags_of_a_repository_are_offered(client: FlaskClient) -> None:
    for query in ("left=app:1", "right=app:1", "right=app:1&previous=1"):
        page = client.get(f"/ui/difference?{query}").text
        assert 'href="/ui/difference?left=app%3A1&amp;right=app%3A2"' in page and "the one before" not in page
    page = client.get("/ui/difference?right=app:2").text
    assert 'href="/ui/difference?left=app%3A1&amp;right=app%3A2"' in page and "the one before" in page


def test_an_image_is_compared_with_the_one_before_it(client: FlaskClient, engine: Engine) -> None:
    for tag, created in (("3", "2023-01-01T00:00:00Z"), ("unknown", None)):
        layout = Layout()
        put_image(engine, f"app:{tag}", layout, layout.image([BASE, make_tar({tag: b"3"})], created=created))
    link = '<a href="/ui/difference?right=app%3A3&amp;previous=1">Compare</a>'
    assert link in client.get("/ui/images/app:3").text
    answer = client.get("/ui/difference?right=app%3A3&previous=1")
    assert (answer.status_code, answer.location) == (302, "/ui/difference?left=app%3A2&right=app%3A3")
    assert "app:2 → app:3" in text_of(client, answer.location or "")
    assert "Compare app:unknown with" in text_of(client, "/ui/difference?right=app:unknown&previous=1")


def test_most_of_what_differs_is_named(client: FlaskClient, engine: Engine) -> None:
    for name, members in (("place:1", {"srv/api/old": b"1" * 900}), ("place:2", {"srv/api/new": b"2" * 9000, "srv/web": b"3" * 100})):
        layout = Layout()
        put_image(engine, name, layout, layout.image([make_tar(members)]))
    query = "/ui/difference?left=place:1&right=place:2"
    assert "Most of it is in /srv/api: +8.1kB in 2 files." in text_of(client, query)
    assert 'href="?left=place%3A1&amp;right=place%3A2&amp;path=%2Fsrv%2Fapi#list"' in client.get(query).text
    assert "Most of it" not in text_of(client, "/ui/difference?left=place:1&right=place:1")


def test_two_platforms_of_one_image_have_names_of_their_own(client: FlaskClient, engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "multi", layout, layout.multi_platform())
    shown = text_of(client, "/ui/difference?left=multi&right=multi&right-platform=linux/arm64")
    assert "multi (linux/amd64) → multi (linux/arm64/v8)" in shown
    assert "app:1 → app:2" in text_of(client, "/ui/difference?left=app:1&right=app:2")
    both = text_of(client, "/ui/difference?left=multi&right=multi&platform=linux/arm64")
    assert "multi (linux/arm64/v8) → multi (linux/arm64/v8)" in both
    one = text_of(client, "/ui/difference?left=multi&right=multi&platform=linux/arm64&left-platform=linux/amd64")
    assert "multi (linux/amd64) → multi (linux/arm64/v8)" in one
    assert "app:1 (linux/amd64) → app:2" in text_of(client, "/ui/difference?left=app:1&right=app:2&left-platform=linux/amd64")


def test_links_keep_the_platform(client: FlaskClient, engine: Engine) -> None:
    for tag, created in (("1", "2023-01-01T00:00:00Z"), ("2", "2024-01-01T00:00:00Z")):
        layout = Layout()
        platforms = [on_platform(layout.image(platform=each, created=created), each) for each in ("linux/amd64", "linux/arm64")]
        put_image(engine, f"multi:{tag}", layout, layout.index(platforms))
    page = client.get("/ui/images/multi:2?platform=linux/arm64").text
    assert 'href="/ui/files/multi:2?platform=linux%2Farm64"' in page
    (link,) = re.findall(r'href="(/ui/difference[^"]+)"', page)
    answer = client.get(html.unescape(link))
    assert answer.location == "/ui/difference?left=multi%3A1&right=multi%3A2&platform=linux%2Farm64"
    shown = client.get(answer.location).text
    assert "right=multi%3A2&amp;right-platform=linux%2Farm64" in shown, "compare it with another"
    choice = client.get(html.unescape(link).replace("previous=1", "previous=0")).text
    assert "left=multi%3A1&amp;right=multi%3A2&amp;platform=linux%2Farm64" in choice
    failed = client.get("/ui/difference?left=multi:1&right=absent&platform=linux/arm64")
    assert failed.status_code == 404 and failed.text.count('value="linux/arm64"') == 2


def test_beyond_the_last_page_is_the_last_one(client: FlaskClient) -> None:
    answer = client.get("/ui/difference?left=app:1&right=app:2&view=flat&page=7", follow_redirects=True)
    assert "/jvm/java" in re.sub(r"<[^>]*>", "", answer.text).partition("Files that differ")[2]

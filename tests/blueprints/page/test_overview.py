"""GET /ui/ and GET /stowage/disk: what fills the disk."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.blueprints.page.pages import Ids, show


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


def test_the_disk_adds_up(client: FlaskClient, ids: Ids) -> None:
    disk = client.get("/stowage/disk").get_json()
    blobs = sum(disk[part]["Size"] for part in ("Unique", "Shared", "Unneeded", "Leased", "Partial"))
    assert disk["Total"] == blobs + sum(disk["Derived"].values())
    assert (disk["Images"], disk["Dangling"], disk["Shared"]["Count"]) == (4, 1, 1)
    assert [(each["Images"], each["Example"]) for each in disk["SharedLayers"]] == [(4, "base:1")]
    assert [each["Repository"] for each in disk["Repositories"]] == ["docker.io/team/app", "", "docker.io/library/base"]
    assert sorted(each["Id"] for each in disk["LargestImages"]) == sorted(ids.values())
    for each in disk["LargestImages"]:
        assert each["Size"] == each["SharedSize"] + each["UniqueSize"]
    assert len(client.get("/stowage/disk?limit=1").get_json()["LargestImages"]) == 1


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "1.5"])
def test_a_limit_is_a_number_in_its_range(client: FlaskClient, limit: str) -> None:
    answer = client.get(f"/stowage/disk?limit={limit}")
    assert (answer.status_code, answer.json) == (400, {"message": "limit must be a number from 1 to 1000"})


def test_the_facts_are_described(client: FlaskClient) -> None:
    paths = (client.get("/openapi.json").json or {})["paths"]
    for path in ("/stowage/disk", "/stowage/disk/freed", "/stowage/layers/{digest}", "/stowage/family"):
        assert paths[path]["get"]["servers"] == [{"url": "/"}]

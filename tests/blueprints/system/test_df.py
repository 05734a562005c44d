"""GET /system/df."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import put_image, simple_layout

LISTS = {"Images", "Containers", "Volumes", "BuildCache"}
USUAL: dict[str, object] = {"ContainerUsage": {}, "VolumeUsage": {}, "BuildCacheUsage": {}}
USAGES = {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}


def read_usage(client: FlaskClient, query: str = "", version: str = "1.56") -> Any:
    response = client.get(f"/v{version}/system/df?{query}")
    assert response.status_code == 200, response.get_json()
    return response.get_json()


@pytest.mark.parametrize(
    ("version", "query", "keys"),
    [
        pytest.param("1.24", "", LISTS, id="the oldest"),
        pytest.param("1.41", "type=image&type=banana", LISTS, id="no type below 1.42"),
        pytest.param("1.42", "type=container", {"Containers"}, id="one type"),
        pytest.param("1.51", "type=volume&type=build-cache&verbose=1", {"Volumes", "BuildCache"}, id="two types, no verbose below 1.52"),
        pytest.param("1.52", "", LISTS | USAGES, id="both shapes"),
        pytest.param("1.52", "verbose=1", USAGES, id="the new shape alone"),
        pytest.param("1.56", "verbose=1&type=image", {"ImageUsage"}, id="the new shape of one type"),
        pytest.param("1.56", "type=container", {"Containers", "ContainerUsage"}, id="both shapes of one type"),
        pytest.param("1.52", "verbose=0", USAGES, id="totals"),
        pytest.param("1.56", "verbose=&type=image", {"Images", "ImageUsage"}, id="an empty verbose is none"),
    ],
)
def test_each_version_has_its_shape(client: FlaskClient, version: str, query: str, keys: set[str]) -> None:
    usage = read_usage(client, query, version)
    assert usage.keys() == keys
    assert all(value == ([] if key in LISTS else {}) for key, value in usage.items())


@pytest.mark.parametrize("wrong", ["banana", "", "Image"])
def test_an_unknown_type_is_400(client: FlaskClient, wrong: str) -> None:
    response = client.get("/v1.42/system/df", query_string={"type": ["image", wrong]})
    assert (response.status_code, response.get_json()) == (400, {"message": f"unknown object type: {wrong}"})


def test_a_verbose_that_is_no_truth_is_400(client: FlaskClient) -> None:
    response = client.get("/v1.52/system/df?verbose=yes")
    assert (response.status_code, response.get_json()) == (400, {"message": "invalid value for verbose: yes"})


def test_images_are_counted_and_all_of_them_can_be_reclaimed(engine: Engine, client: FlaskClient) -> None:
    layout = simple_layout()
    put_image(engine, "app:1", layout)
    size = sum(map(len, layout.blobs.values()))
    usage = read_usage(client)
    assert usage["LayersSize"] == size
    totals = {"Reclaimable": size, "TotalCount": 1, "TotalSize": size}
    assert usage["ImageUsage"] == totals | {"Items": usage["Images"]}
    assert read_usage(client, "verbose=1") == USUAL | {"ImageUsage": totals | {"Items": usage["Images"]}}
    assert read_usage(client, "verbose=0") == USUAL | {"ImageUsage": totals}
    assert [(image["RepoTags"], image["Size"], image["SharedSize"]) for image in usage["Images"]] == [(["app:1"], size, 0)]


@pytest.mark.parametrize(("version", "virtual"), [("1.24", True), ("1.43", True), ("1.44", False), ("1.56", False)])
def test_only_the_virtual_size_of_an_image_depends_on_the_version(engine: Engine, client: FlaskClient, version: str, virtual: bool) -> None:
    put_image(engine, None)
    [image] = read_usage(client, version=version)["Images"]
    [newest] = client.get("/images/json?shared-size=1").get_json()
    assert image == newest | ({"VirtualSize": image["Size"]} if virtual else {})

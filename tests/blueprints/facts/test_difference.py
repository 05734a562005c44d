"""GET /stowage/difference."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, make_tar, put_image

BASE, ONE, TWO = make_tar({"etc/conf": b"1"}), make_tar({"a": b"1" * 10}), make_tar({"a": b"2" * 10, "jvm/java": b"j" * 500})


@pytest.fixture(autouse=True)
def images(engine: Engine) -> None:
    for name, layer, label in (("app:1", ONE, "one"), ("app:2", TWO, "two")):
        layout = Layout()
        put_image(engine, name, layout, layout.image([BASE, layer], config={"Labels": {"v": label}, "Env": ["A=1"]}))


def test_both_sides(client: FlaskClient) -> None:
    found = client.get("/stowage/difference?left=app:1&right=app:2").get_json()
    assert (found["Left"]["Name"], found["Right"]["Name"], found["Left"]["Platform"]) == ("app:1", "app:2", "linux/amd64")
    assert [len(found["Layers"][side]) for side in ("Same", "Left", "Right")] == [1, 1, 1]
    assert found["Settings"] == [{"Field": "Labels", "Key": "v", "Left": "one", "Right": "two"}]
    assert found["History"] == {"Same": 2, "Left": [], "Right": []}
    assert [(item["Path"], item["Change"], item["Size"]) for item in found["Files"]["Largest"]] == [("/jvm", "added", 500)]
    assert [(item["Path"], item["SizeBefore"], item["Size"]) for item in found["Files"]["Items"]] == [("/jvm", 0, 500), ("/a", 10, 10)]
    assert found["Files"]["Changes"]["Added"] == {"Files": 1, "SizeBefore": 0, "Size": 500}
    assert found["Problem"] == ""


@pytest.mark.parametrize(
    ("query", "paths"),
    [("view=flat", ["/jvm/java", "/a"]), ("path=jvm", ["/jvm/java"]), ("search=java", ["/jvm/java"]), ("sort=name", ["/a", "/jvm"])],
)
def test_which_files(client: FlaskClient, query: str, paths: list[str]) -> None:
    found = client.get(f"/stowage/difference?left=app:1&right=app:2&{query}").get_json()
    assert [item["Path"] for item in found["Files"]["Items"]] == paths


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "left and right must name the images to compare"),
        ("left=app:1", 400, "left and right must name the images to compare"),
        ("left=app:1&right=absent", 404, "No such image: absent:latest"),
        ("left=app:1&right=app:2&right-platform=linux/arm", 404, None),
        ("left=app:1&right=app:2&view=every", 400, "view must be one of tree, flat, wasted"),
        ("left=app:1&right=app:2&view=wasted", 400, "bytes are wasted in one image: view must be tree or flat"),
    ],
)
def test_errors(client: FlaskClient, query: str, status: int, message: str | None) -> None:
    response = client.get(f"/stowage/difference?{query}")
    assert response.status_code == status
    assert message is None or response.get_json() == {"message": message}

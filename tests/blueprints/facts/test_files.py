"""GET /stowage/images/{name}/files."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, Link, digest_of, layers_of, make_tar, put_image

PATH = "/stowage/images/team/app:1/files"
ABSENT_PLATFORM = "image with reference team/app:1 was found but does not provide the specified platform (linux/s390x)"
BASE: dict[str, bytes | Link | None] = {"etc/passwd": b"root", "big": b"b" * 900, "sh": Link("dash")}
LAYERS = [make_tar(BASE), make_tar({".wh.big": b"", "etc/passwd": b"more"})]


@pytest.fixture
def app_image(engine: Engine) -> dict[str, Any]:
    """The answer for team/app:1."""
    layout = Layout()
    image = layout.image(LAYERS)
    put_image(engine, "team/app:1", layout, image)
    first, second = layers_of(layout, image)
    nothing = {"Files": 0, "Size": 0}
    return {
        "Id": image["digest"],
        "Platform": "linux/amd64",
        "Content": {"Files": 2, "Size": 4},
        "Wasted": {"Files": 2, "Size": 904},
        "Layers": [
            {
                "Digest": first["digest"],
                "DiffId": digest_of(LAYERS[0]),
                "Size": first["size"],
                "UnpackedSize": len(LAYERS[0]),
                "CreatedBy": "COPY layer0 / # buildkit",
                "Content": {"Files": 2, "Size": 904},
                "Wasted": {"Files": 2, "Size": 904},
                "Added": {"Files": 3, "Size": 904},
                "Changed": nothing,
                "Attributes": nothing,
                "Same": nothing,
                "Removed": nothing,
                "Problem": "",
            },
            {
                "Digest": second["digest"],
                "DiffId": digest_of(LAYERS[1]),
                "Size": second["size"],
                "UnpackedSize": len(LAYERS[1]),
                "CreatedBy": "COPY layer1 / # buildkit",
                "Content": {"Files": 1, "Size": 4},
                "Wasted": nothing,
                "Added": nothing,
                "Changed": {"Files": 1, "Size": 4},
                "Attributes": nothing,
                "Same": nothing,
                "Removed": {"Files": 1, "Size": 900},
                "Problem": "",
            },
        ],
        "Layer": None,
        "Path": "/",
        "Total": 2,
        "Items": [
            {
                "Path": "/etc",
                "Kind": "directory",
                "Size": 4,
                "SizeBefore": 0,
                "Files": 1,
                "Change": None,
                "Layer": 0,
                "Mode": None,
                "Uid": None,
                "Gid": None,
                "Modified": None,
                "Link": "",
            },
            {
                "Path": "/sh",
                "Kind": "symlink",
                "Size": 0,
                "SizeBefore": 0,
                "Files": 1,
                "Change": None,
                "Layer": 0,
                "Mode": "0644",
                "Uid": 0,
                "Gid": 0,
                "Modified": 1700000000,
                "Link": "dash",
            },
        ],
        "Problem": "",
    }


def test_the_whole_answer(client: FlaskClient, app_image: dict[str, Any]) -> None:
    response = client.get(PATH)
    assert (response.status_code, response.get_json()) == (200, app_image)


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("view=flat", ["/etc/passwd", "/sh"]),
        ("path=/etc", ["/etc/passwd"]),
        ("search=SH", ["/sh"]),
        ("sort=-name", ["/sh", "/etc"]),
        ("offset=1&limit=5", ["/sh"]),
        ("view=wasted", ["/big", "/etc/passwd"]),
        ("layer=1", ["/big", "/etc"]),
        ("layer=1&view=flat&sort=name", ["/big", "/etc/passwd"]),
        ("platform=linux/amd64&limit=", ["/etc", "/sh"]),
    ],
)
@pytest.mark.usefixtures("app_image")
def test_parameters(client: FlaskClient, query: str, paths: list[str]) -> None:
    assert [item["Path"] for item in client.get(f"{PATH}?{query}").get_json()["Items"]] == paths


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (PATH + "?view=all", 400, "view must be one of tree, flat, wasted"),
        (PATH + "?limit=many", 400, "limit must be a number from 1 to 1000"),
        (PATH + "?limit=1001", 400, "limit must be a number from 1 to 1000"),
        (PATH + "?sort=color", 400, "sort must be one of name, size, growth, files, layer, with - in front for the largest first"),
        (PATH + "?platform=linux/s390x", 404, ABSENT_PLATFORM),
        (PATH + "?layer=9", 404, "image team/app:1 has no such layer; it has 2"),
        (PATH + "?path=/none", 404, "image team/app:1 has no file /none"),
        ("/stowage/images/absent/files", 404, "No such image: absent:latest"),
    ],
)
@pytest.mark.usefixtures("app_image")
def test_errors(client: FlaskClient, path: str, status: int, message: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.get_json()) == (status, {"message": message})


def test_what_is_no_archive_is_not_implemented(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    text = layout.add(b"{}", "text/plain")
    put_image(engine, "text", layout, layout.manifest(layout.add_json({}, "application/vnd.oci.empty.v1+json"), [text]))
    response = client.get("/stowage/images/text/files")
    assert response.status_code == 501
    assert response.get_json()["message"].endswith("it is not a tar archive")


def test_names_that_are_no_utf8_are_escaped(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    put_image(engine, "odd", layout, layout.image([make_tar([("caf\udce9\\/x", b"1"), ("link", Link("\udcff"))])]))
    items = client.get("/stowage/images/odd/files").get_json()["Items"]
    assert [(item["Path"], item["Link"]) for item in items] == [(r"/caf\xe9\\", ""), ("/link", r"\xff")]
    below = client.get("/stowage/images/odd/files", query_string={"path": items[0]["Path"]}).get_json()
    assert [item["Path"] for item in below["Items"]] == [r"/caf\xe9\\/x"]


def test_it_has_no_api_version(client: FlaskClient) -> None:
    assert client.get("/v1.45" + PATH).status_code == 404


@pytest.mark.parametrize(
    "path", ["/stowage/images/new/files", "/stowage/images/new/files?layer=0", "/stowage/difference?left=new&right=new"]
)
def test_a_look_ends_when_its_client_has_left_and_the_next_one_works(engine: Engine, client: FlaskClient, path: str) -> None:
    layout = Layout()
    put_image(engine, "new", layout, layout.image([make_tar({"seen by nobody": path.encode()})]))
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        response = client.get(path, environ_overrides={"gunicorn.socket": ours})
        assert response.json == {"message": "the client has disconnected"}
    assert client.get(path).status_code == 200

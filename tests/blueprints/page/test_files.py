"""GET /ui/files/{name} and GET /stowage/images/{name}/files."""

from __future__ import annotations

import html
import io
import re
import socket
import tarfile
from typing import Any

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, Link, digest_of, layers_of, make_tar, on_platform, put_image

BASE: dict[str, bytes | Link | None] = {
    "usr/lib/big": b"b" * 5000,
    "etc/passwd": b"root",
    "etc/<script>alert(1)<": b"x",
    "etc/\u202egnp.exe": b"y",
    "etc/caf\udce9": b"z",
    "etc/line\nbreak": b"",
    "sh": Link("<b>dash"),
}
NONE = "\N{EN DASH}"
UPPER: dict[str, bytes | Link | None] = {"usr/lib/.wh.big": b"", "etc/passwd": b"more than before"}


@pytest.fixture(autouse=True)
def app_image(engine: Engine) -> None:
    layout = Layout()
    steps = [{"created_by": "ADD <i>base"}, {"created_by": "RUN rm /usr/lib/big"}]
    put_image(engine, "app:1", layout, layout.image([make_tar(BASE), make_tar(UPPER)], history=steps))


def text_of(client: FlaskClient, path: str) -> str:
    """What a page shows, without its markup."""
    response = client.get(path)
    assert response.status_code == 200
    return html.unescape(re.sub(r"<[^>]*>", "", response.text))


def test_the_tree_the_layers_and_the_waste(client: FlaskClient) -> None:
    shown = text_of(client, "/ui/files/app:1")
    for part in ("usr/", "etc/", "ADD <i>base", "RUN rm /usr/lib/big", "5kB", "still seen"):
        assert part in shown, part
    assert 'href="?path=%2Fetc#list"' in client.get("/ui/files/app:1").text


def test_each_layer_of_an_image_leads_to_what_it_did(client: FlaskClient) -> None:
    page = client.get("/ui/images/app:1?platform=linux/amd64").text
    assert 'href="/ui/files/app:1?layer=2&amp;platform=linux%2Famd64"' in page
    assert client.get("/ui/files/app:1?layer=2&platform=linux%2Famd64").status_code == 200


def test_text_of_images_is_shown_as_text(client: FlaskClient) -> None:
    page = client.get("/ui/files/app:1?path=/etc").text
    assert "<script>alert" not in page and "\u202e" not in page and "<b>dash" not in page
    shown = text_of(client, "/ui/files/app:1?path=/etc")
    assert "<script>alert(1)<" in shown and "\\u202egnp.exe" in shown and "caf\\xe9" in shown and "line\\nbreak" in shown
    assert "<b>dash" in text_of(client, "/ui/files/app:1")


@pytest.mark.parametrize(
    ("query", "present", "absent"),
    [
        ("layer=2", "was 4B", "wasted bytes"),
        ("layer=2&view=flat", "/usr/lib/big", "etc/caf"),
        ("layer=2&view=flat", "removed", "stored again"),
        ("view=wasted", "/usr/lib/big", "/sh"),
        ("view=flat", "/etc/passwd", "usr/\n"),
        ("search=PASS", "/etc/passwd", "gnp.exe"),
        ("search=nothing%3Cb%3E", "No path contains it.", "passwd"),
        ("path=/usr/lib", "There is nothing in it.", "passwd"),
        ("path=/etc/passwd", "1 entry", "There is nothing in it."),
        ("path=/etc/passwd&view=flat", "16B", "There is nothing in it."),
        ("path=/etc/passwd&layer=2", "was 4B", "It changed nothing here."),
        ("path=/etc/passwd&view=wasted", "replaced", "No bytes are wasted."),
    ],
)
def test_views(client: FlaskClient, query: str, present: str, absent: str) -> None:
    shown = text_of(client, f"/ui/files/app:1?{query}")
    assert present in shown
    assert absent not in shown


@pytest.mark.parametrize(
    ("path", "heading", "message"),
    [
        ("/ui/files/absent", "There is no such image", "No such image: absent:latest"),
        ("/ui/files/app:1?layer=3", "It is not there", "image app:1 has no such layer; it has 2"),
        ("/ui/files/app:1?path=/none", "It is not there", "has no file /none"),
        ("/ui/files/app:1?platform=linux/s390x", "It is not there", "does not provide the specified platform"),
    ],
)
def test_what_is_not_there_is_not_found(client: FlaskClient, path: str, heading: str, message: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert f"<h1>{heading}</h1>" in response.text and message in response.text
    assert ('<a href="/ui/images/app:1">Back to' in response.text) == ("app:1" in path)


def test_the_way_back_from_a_mistake_keeps_the_platform(client: FlaskClient, engine: Engine) -> None:
    layout = Layout()
    platforms = [on_platform(layout.image([make_tar({"a": b""})], platform=each), each) for each in ("linux/amd64", "linux/arm64")]
    put_image(engine, "multi:1", layout, layout.index(platforms))
    for query in ("layer=9", "path=/none", "sort=color", "page=x"):
        page = client.get(f"/ui/files/multi:1?platform=linux/arm64&{query}").text
        assert '<a href="/ui/images/multi:1?platform=linux%2Farm64">Back to' in page, query
    for platform in ("linux/s390x", "%3Cb%3E", ""):
        assert '<a href="/ui/images/multi:1">Back to' in client.get(f"/ui/files/multi:1?layer=9&platform={platform}").text, platform


def test_many_files_are_paged(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    put_image(engine, "many", layout, layout.image([make_tar({f"{number:03}": b"" for number in range(250)})]))
    last = text_of(client, "/ui/files/many?page=3&sort=name")
    assert "Page 3 of 3" in last and "249" in last and "100" not in last.partition("Name")[2]


@pytest.mark.parametrize("path", ["/ui/files/many?sort=name&path=%2Fd", "/ui/difference?left=many&right=app%3A1&path=%2Fd"])
def test_beyond_the_end_is_the_last_page(engine: Engine, client: FlaskClient, path: str) -> None:
    layout = Layout()
    put_image(engine, "many", layout, layout.image([make_tar({f"d/{number:03}": b"" for number in range(250)})]))
    answer = client.get(f"{path}&page=9")
    assert answer.status_code == 302 and "Page 3 of 3" in text_of(client, answer.location)
    assert "layer=1" in client.get("/ui/files/many?layer=1&page=9").location


def test_an_artifact_without_files_says_so(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    text = layout.add(b"{}", "text/plain")
    put_image(engine, "text", layout, layout.manifest(layout.add_json({}, "application/vnd.oci.empty.v1+json"), [text]))
    response = client.get("/ui/files/text")
    assert response.status_code == 501
    assert "it is not a tar archive" in response.text
    answer = client.get("/stowage/images/text/files")
    assert answer.status_code == 501 and answer.get_json()["message"].endswith("it is not a tar archive")
    assert 'href="/ui/images/text:latest"' in response.text and "text<wbr>:latest</bdi></h1>" in response.text


def test_of_a_deep_directory_both_ends_are_shown(engine: Engine, client: FlaskClient) -> None:
    layout, deep = Layout(), "/".join(f"d{number}" for number in range(300))
    put_image(engine, "deep", layout, layout.image([make_tar({f"{deep}/f": b""}, tar_format=tarfile.GNU_FORMAT)]))
    page = client.get(f"/ui/files/deep?path=/{deep}").text
    assert "/d0/d1/…/d294/d295/d296/d297/d298/d299" in re.sub(r"<[^>]*>", "", page)
    assert len(page) < 30_000


def test_what_a_layer_stored_again_is_shown(engine: Engine, client: FlaskClient) -> None:
    def layer(uid: int, *names: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.uid, info.size = uid, 50_000
                archive.addfile(info, io.BytesIO(bytes(50_000)))
        return buffer.getvalue()

    layout = Layout()
    put_image(engine, "owned", layout, layout.image([layer(0, "d/a", "d/b"), layer(1000, "d/a")]))
    row = re.findall(r"<tr.*?</tr>", client.get("/ui/files/owned").text, re.DOTALL)[2]
    assert re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", row))).split()[-7:] == [*2 * [NONE], "50kB", "1", "file", *2 * [NONE]]
    assert "mode or owner" in text_of(client, "/ui/files/owned?layer=2")


def test_a_problem_names_layers_as_the_page_does(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    put_image(engine, "odd", layout, layout.image([make_tar({"a": b""}), b"no archive of files" * 100]))
    assert "layer 2 of 2: it is not a tar archive" in text_of(client, "/ui/files/odd")


PATH = "/stowage/images/team/app:1/files"
ABSENT_PLATFORM = "image with reference team/app:1 was found but does not provide the specified platform (linux/s390x)"
SMALL: dict[str, bytes | Link | None] = {"etc/passwd": b"root", "big": b"b" * 900, "sh": Link("dash")}
LAYERS = [make_tar(SMALL), make_tar({".wh.big": b"", "etc/passwd": b"more"})]


@pytest.fixture
def team_image(engine: Engine) -> dict[str, Any]:
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


def test_the_whole_answer_for_scripts(client: FlaskClient, team_image: dict[str, Any]) -> None:
    response = client.get(PATH)
    assert (response.status_code, response.get_json()) == (200, team_image)


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
@pytest.mark.usefixtures("team_image")
def test_parameters_of_scripts(client: FlaskClient, query: str, paths: list[str]) -> None:
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
@pytest.mark.usefixtures("team_image")
def test_errors_for_scripts(client: FlaskClient, path: str, status: int, message: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.get_json()) == (status, {"message": message})


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

"""What all of the page has in common: where it is, its headers, and what it does without permission."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.engine import Engine

PLACES = ("/ui/", "/ui/images", "/ui/family", "/ui/activity")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def client_with(engine: Engine, root: Path, **settings: str) -> FlaskClient:
    config = Config.from_environ({"STOWAGE_ROOT": str(root), **settings})
    return create_app(config, build=lambda _: engine).test_client()


@pytest.mark.parametrize("place", [*PLACES, "/ui", "/ui/static/page.css", "/ui/static/absent", "/ui/absent", "/ui/images/absent"])
def test_everything_under_the_path_has_the_headers_of_a_strict_page(client: FlaskClient, place: str) -> None:
    headers = client.get(place).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "same-origin")
    assert "Api-Version" not in headers


@pytest.mark.parametrize("place", PLACES)
def test_a_page_has_no_inline_script_or_style(client: FlaskClient, place: str) -> None:
    text = client.get(place).text
    assert "<style" not in text and "style=" not in text and "onclick" not in text
    assert all(part.startswith(' src="/ui/static/') for part in text.split("<script")[1:])


def test_the_root_stays_what_docker_answers(client: FlaskClient) -> None:
    assert (client.get("/").status_code, client.get("/").json) == (404, {"message": "page not found"})


def test_the_path_without_its_slash_leads_to_the_page(client: FlaskClient) -> None:
    assert (client.get("/ui").status_code, client.get("/ui").location) == (302, "/ui/")


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/ui/absent", "There is no such page"),
        ("/ui/images/absent", "There is no such image"),
        ("/ui/layers/absent", "There is no such layer"),
        ("/ui/images/-", "This cannot be understood"),
        ("/ui/prune", "This is not allowed"),
    ],
)
def test_an_error_is_headed_with_words_for_people(client: FlaskClient, path: str, heading: str) -> None:
    assert f"<h1>{heading}</h1>" in client.get(path).text


def test_a_browser_that_asks_another_host_reads_which_setting_names_it(engine: Engine, tmp_path: Path) -> None:
    headers = {"Host": "images.example.org"}
    answer = client_with(engine, tmp_path / "root").get("/ui/images", headers=headers)
    assert (answer.status_code, answer.content_type) == (403, "text/html; charset=utf-8")
    assert "STOWAGE_HOSTS lists further names of it" in answer.text and answer.headers["Content-Security-Policy"] == POLICY
    assert client_with(engine, tmp_path / "root").get("/stowage/disk", headers=headers).content_type == "application/json"
    off = client_with(engine, tmp_path / "root", STOWAGE_UI="off").get("/ui/images", headers=headers)
    assert (off.status_code, off.content_type) == (403, "application/json")


def test_an_unknown_image_is_a_page_that_says_so(client: FlaskClient) -> None:
    answer = client.get("/ui/images/a%3Cscript%3E")
    assert answer.status_code == 400 and answer.content_type == "text/html; charset=utf-8"
    assert "<script>" not in answer.text and "invalid reference format" in answer.text


@pytest.mark.parametrize(
    "path", ["/ui", *PLACES, "/ui/activity/events", "/ui/static/page.css", "/stowage/disk", "/stowage/transfers", "/stowage/transfers/x"]
)
def test_off_is_dockers_404(engine: Engine, tmp_path: Path, path: str) -> None:
    off = client_with(engine, tmp_path / "root", STOWAGE_UI="off")
    for answer in (off.get(path), off.delete(path)):
        assert (answer.status_code, answer.json) == (404, {"message": "page not found"})


def test_the_page_has_no_versions(client: FlaskClient) -> None:
    assert client.get("/v1.45/ui/").status_code == 404


def test_the_page_is_not_described_among_the_routes_for_programs(client: FlaskClient) -> None:
    assert [path for path in (client.get("/openapi.json").json or {})["paths"] if path.startswith("/ui")] == []


def test_a_file_that_the_browser_has_is_not_sent_again(client: FlaskClient) -> None:
    first = client.get("/ui/static/page.css")
    again = client.get("/ui/static/page.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")


@pytest.mark.parametrize(
    ("bind", "mode"),
    [
        ("unix:/tmp/a.sock", "read"),
        ("127.0.0.1:2375,[::1]:2375,localhost:1", "read"),
        ("unix:/tmp/a.sock,0.0.0.0:2375", "off"),
        ("", "read"),
    ],
)
def test_the_page_is_there_by_default_where_only_this_machine_comes(tmp_path: Path, bind: str, mode: str) -> None:
    config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path), "STOWAGE_BIND": bind, "STOWAGE_ALLOW_INSECURE_TCP": "1"} if bind else {})
    assert config.page == mode


@pytest.mark.parametrize("path", ["/ui/", "/ui/images", "/ui/static/page.css", "/stowage/disk", "/stowage/family"])
def test_heads_of_our_own_paths_can_be_asked_for(client: FlaskClient, path: str) -> None:
    full, head = client.get(path), client.head(path)
    assert (head.status_code, head.content_type, head.data) == (200, full.content_type, b"")
